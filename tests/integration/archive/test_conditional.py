"""Records are written and deleted only if nobody else has changed them, on every S3 service as far as it knows how."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.manifest import FileRecord, Manifest
from airflow_kie.archive.pending import Options, new_pending
from airflow_kie.archive.s3 import conditional
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.conditional import if_unchanged
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.song_folder import SongArchive
from archived_song import NOON
from s3_servers import S3Server


@pytest.fixture
def bucket(s3: S3Server, request: pytest.FixtureRequest) -> Bucket:
    made = Bucket(s3.client(), f"conditional-{abs(hash(request.node.nodeid)) % 10**9}")
    made.create_on_loopback()
    return made


def test_what_has_changed_since_it_was_read_is_neither_overwritten_nor_deleted(bucket: Bucket, s3: S3Server) -> None:
    knows_conditions = s3.root is None  # moto does, rclone ignores them
    assert bucket.put_json_if_unchanged({"n": 1}, "a.json", None)
    value, etag = bucket.get_json_and_etag("a.json")
    assert (value, bool(etag)) == ({"n": 1}, True)
    bucket.put_json({"n": 2}, "a.json")
    assert bucket.put_json_if_unchanged({"n": 3}, "a.json", etag) is not knows_conditions
    assert bucket.put_json_if_unchanged({"n": 4}, "a.json", None) is not knows_conditions
    assert bucket.delete_if_unchanged("a.json", etag) is not knows_conditions
    assert bucket.get_json("a.json") == ({"n": 2} if knows_conditions else None)


def test_what_has_not_changed_is_overwritten_and_deleted(bucket: Bucket) -> None:
    bucket.put_json({"n": 1}, "a.json")
    assert bucket.put_json_if_unchanged({"n": 2}, "a.json", bucket.get_json_and_etag("a.json")[1])
    value, etag = bucket.get_json_and_etag("a.json")
    assert value == {"n": 2}
    assert bucket.delete_if_unchanged("a.json", etag)
    assert bucket.get_json_and_etag("a.json") == (None, None)


def test_what_one_writer_asks_for_stays_when_another_writes_in_the_same_moment(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, rivals = SongKeys("songs", "abc"), [new_pending("abc", received_from="form", now=NOON)]
    written = Bucket.put_json_if_unchanged

    def after_a_rival(self: Bucket, value: object, key: str, etag: str | None) -> bool:
        if rivals:
            self.put_json(rivals.pop().to_json(), keys.pending)
        return written(self, value, key, etag)

    monkeypatch.setattr(Bucket, "put_json_if_unchanged", after_a_rival)
    asked = new_pending("abc", received_from="callback", now=NOON).changed(options=Options(audio=True))
    SongArchive(bucket, keys).merge_pending(asked)
    pending = SongArchive(bucket, keys).pending()
    assert pending is not None
    assert pending.options.audio


def file(kind: str) -> FileRecord:
    return FileRecord(
        key=f"songs/abc/{kind}-1.x",
        kind=kind,
        position=1,
        size=1,
        sha256="0" * 64,
        content_type="x/y",
        archived_at=NOON,
    )


@pytest.mark.parametrize("when", ["before it is written", "before it is read back"])
def test_two_writers_of_a_manifest_lose_nothing_of_each_other(
    bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    keys, written = SongKeys("songs", "abc"), Bucket.put_json_if_unchanged
    mine, theirs = (
        Manifest(music_task_id="abc", files=(file(kind),), created_at=NOON, updated_at=NOON)
        for kind in ("cover", "track")
    )
    rivals = [theirs]

    def beside_a_rival(self: Bucket, value: object, key: str, etag: str | None) -> bool:
        early = when == "before it is written"
        if rivals and early:
            self.put_json(rivals.pop().to_json(), key)
        done = written(self, value, key, etag)
        if rivals and not early:
            self.put_json(rivals.pop().to_json(), key)
        return done

    monkeypatch.setattr(Bucket, "put_json_if_unchanged", beside_a_rival)
    Manifest.update(bucket, keys, lambda stored: (stored or mine).merged_with(mine))
    stored, _ = Manifest.read(bucket, keys)
    ignores_conditions = s3.root is not None
    overwritten = ignores_conditions and when == "before it is written"  # `airflow kie verify` names such a file
    assert stored is not None
    assert [file.kind for file in stored.files] == (["cover"] if overwritten else ["cover", "track"])


@pytest.mark.parametrize("rival", [False, True])
def test_a_new_manifest_is_created_without_another_look_and_one_that_is_there_after_all_is_merged_with(
    bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch, rival: bool
) -> None:
    keys, read = SongKeys("songs", "abc"), Bucket.get_version
    mine, theirs = (
        Manifest(music_task_id="abc", files=(file(kind),), created_at=NOON, updated_at=NOON)
        for kind in ("cover", "track")
    )
    looked: list[str] = []

    def counted(self: Bucket, key: str, **options: Any) -> Any:
        looked.append(key)
        return read(self, key, **options)

    if rival:
        bucket.put_json(theirs.to_json(), keys.manifest)
    monkeypatch.setattr(Bucket, "get_version", counted)
    known = replace(bucket, creates_once=s3.root is None)  # moto honours conditions, rclone ignores them
    Manifest.update(known, keys, lambda stored: (stored or mine).merged_with(mine), is_new=True)
    assert (looked == []) is (known.creates_once and not rival)
    stored, _ = Manifest.read(bucket, keys)
    assert stored is not None
    assert [file.kind for file in stored.files] == (["cover", "track"] if rival else ["cover"])


def test_a_manifest_that_the_bucket_does_not_keep_is_an_error(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bucket, "put_json_if_unchanged", lambda *_: True)
    manifest = Manifest(music_task_id="abc", created_at=NOON, updated_at=NOON)
    with pytest.raises(ArchiveUnreadable, match=r"manifest\.json loses what is written to it"):
        Manifest.update(bucket, SongKeys("songs", "abc"), lambda stored: manifest)


def _refusal(status: int, code: str) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutObject")


def test_a_service_that_refuses_conditions_gets_the_request_without_one() -> None:
    asked: list[dict[str, Any]] = []

    def put_object(**arguments: Any) -> None:
        asked.append(arguments)
        if "IfMatch" in arguments:
            raise _refusal(501, "NotImplemented")

    assert if_unchanged(put_object, {"Key": "a"}, '"etag"')
    assert asked == [{"Key": "a", "IfMatch": '"etag"'}, {"Key": "a"}]


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (404, "NoSuchBucket"), (503, "SlowDown")])
def test_another_refusal_is_an_error(status: int, code: str) -> None:
    def put_object(**_: Any) -> None:
        raise _refusal(status, code)

    with pytest.raises(ClientError, match=code):
        if_unchanged(put_object, {"Key": "a"}, None)


@pytest.mark.parametrize(("conflicts", "created"), [(1, True), (5, True), (6, None)])
def test_an_object_that_another_client_is_writing_is_there_only_once_that_has_succeeded(
    conflicts: int, created: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id of a paid task was taken for recorded, and was nowhere when the other write failed."""
    monkeypatch.setattr(conditional, "PAUSE", 0.0)
    asked: list[Any] = []

    def put_object(**arguments: Any) -> None:
        asked.append(arguments["IfNoneMatch"])
        if len(asked) <= conflicts:
            raise _refusal(409, "ConditionalRequestConflict")

    try:
        assert if_unchanged(put_object, {"Key": "a"}, None, only_then=True) is created
    except ClientError:
        assert created is None
    assert asked == ["*"] * min(conflicts + 1, 6)


def test_an_object_is_moved_on_a_service_that_refuses_conditions(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_json({"n": 1}, "inbox/a.json")
    etag = bucket.get_json_and_etag("inbox/a.json")[1]
    for name in ("copy_object", "delete_object"):
        made = getattr(bucket.client, name)

        def without_conditions(made: Any = made, **arguments: Any) -> Any:
            if arguments.keys() & {"IfMatch", "CopySourceIfMatch"}:
                raise _refusal(501, "NotImplemented")
            return made(**arguments)

        monkeypatch.setattr(bucket.client, name, without_conditions)
    assert bucket.move("inbox/a.json", "inbox/done/a.json", etag=etag)
    assert (bucket.get_json("inbox/a.json"), bucket.get_json("inbox/done/a.json")) == (None, {"n": 1})
