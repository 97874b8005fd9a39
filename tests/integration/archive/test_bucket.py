"""The bucket on two real S3 servers that differ: rclone over a folder, and moto."""

from __future__ import annotations

import hashlib
import io
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_kie.archive.layout import ArchiveKeys, SongKeys
from airflow_kie.archive.pending import (
    list_pending,
    new_pending,
)
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import (
    ArchiveUnreadable,
    S3ArgumentsRefused,
    S3CredentialsWrong,
    S3NoSuchBucket,
    S3StoredWrong,
    S3Unreachable,
)
from airflow_kie.archive.song_folder import SongArchive
from answering_server import serving
from archived_song import content_of
from s3_servers import S3Server, rclone_s3

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def bucket(s3: S3Server, request: pytest.FixtureRequest) -> Bucket:
    name = "b-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    made = Bucket(s3.client(), name)
    made.create_on_loopback()
    return made


def put(bucket: Bucket, content: bytes, key: str, **more: Any) -> None:
    digest = hashlib.sha256(content).hexdigest()
    bucket.put_file(io.BytesIO(content), key, size=len(content), content_type="image/png", sha256=digest, **more)


@pytest.mark.parametrize("size", [1, 20_000_000], ids=["one part", "three parts"])
def test_a_file_is_stored_byte_for_byte_with_its_content_type(bucket: Bucket, size: int) -> None:
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    put(bucket, content, "music/a/cover-1.png")
    facts = bucket.head("music/a/cover-1.png")
    assert facts is not None
    assert (facts.size, facts.content_type) == (size, "image/png")
    assert facts.sha256 in (None, hashlib.sha256(content).hexdigest())
    assert content_of(bucket, "music/a/cover-1.png") == content


def test_a_wrong_stored_size_is_an_error_and_leaves_nothing_behind(bucket: Bucket) -> None:
    with pytest.raises(S3StoredWrong, match="4 bytes sent, 3 bytes stored"):
        bucket.put_file(io.BytesIO(b"abc"), "a", size=4, content_type="image/png", sha256="0" * 64)
    assert bucket.head("a") is None


@pytest.mark.parametrize(("etag", "asked"), [(None, 0), ('"of a file encrypted by KMS"', 1)])
def test_s3_is_asked_for_the_size_only_where_the_etag_is_not_the_md5_of_what_was_sent(
    s3: S3Server, bucket: Bucket, etag: str | None, asked: int
) -> None:
    client, heads = s3.client(), list[str]()
    client.meta.events.register("before-call.s3.HeadObject", lambda model, **_: heads.append(model.name))
    client.meta.events.register(
        "after-call.s3.PutObject", lambda parsed, **_: parsed.update({"ETag": etag} if etag else {})
    )
    put(Bucket(client, bucket.name), b"abc", "a")
    assert len(heads) == asked


def test_what_is_not_there_is_none_and_deleting_it_is_no_error(bucket: Bucket) -> None:
    assert bucket.head("nothing") is None
    assert content_of(bucket, "nothing") is None
    assert bucket.get_json("nothing") is None
    bucket.delete("nothing")


def test_json_is_written_as_readable_utf8(bucket: Bucket) -> None:
    bucket.put_json({"title": "Été 夏"}, "a.json")
    assert content_of(bucket, "a.json") == '{\n  "title": "Été 夏"\n}\n'.encode()
    assert bucket.get_json("a.json") == {"title": "Été 夏"}


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"<html>"])
def test_an_object_that_is_no_json_is_told_with_its_name(bucket: Bucket, content: bytes) -> None:
    bucket.put_bytes(content, "a.json", content_type="application/json")
    with pytest.raises(ArchiveUnreadable, match=r"s3://.*/a\.json is not JSON"):
        bucket.get_json("a.json")


def test_an_object_larger_than_expected_is_not_read_into_memory(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_bytes(b"1" * 101, "a", content_type="text/plain")
    assert len(bucket.get_version("a", max_bytes=50)[1]) == 51  # type: ignore[index]
    monkeypatch.setattr("airflow_kie.archive.s3.bucket._JSON_LIMIT", 100)
    with pytest.raises(ArchiveUnreadable, match="larger"):
        bucket.get_json("a")


def test_a_part_of_an_object_is_read_where_the_service_names_the_checksum_of_the_whole(bucket: Bucket) -> None:
    bucket.put_bytes(b"0123456789", "a", content_type="text/plain")
    found = bucket.get_version("a", max_bytes=65_536, Range="bytes=2-5")
    assert found is not None
    assert found[1] == b"2345"


def test_an_object_that_is_cut_off_is_an_error_and_not_a_shorter_object() -> None:
    head = b"HTTP/1.1 200 OK\r\nLast-Modified: Sun, 22 Nov 2026 12:00:00 GMT\r\nContent-Length: 1000\r\n\r\n"
    with serving(lambda _: head + b'{"at": 1}') as lying:
        server = S3Server(lying.url, "key", "secret")
        bucket = Bucket(server.client(retries={"max_attempts": 1}), "b")
        for read in (
            lambda: bucket.get_version("a", max_bytes=65_536),
            lambda: bucket.get_version("a", max_bytes=65_536, Range="bytes=0-999"),
            lambda: bucket.get_json("a"),
            lambda: bucket.read_facts("a"),
        ):
            with pytest.raises(S3Unreachable):
                read()


def test_a_listing_goes_over_all_pages(s3: S3Server, bucket: Bucket) -> None:
    for n in range(7):
        bucket.put_bytes(b"x" * n, f"p/{n}.json", content_type="application/json")
    bucket.put_bytes(b"x", "q/other.json", content_type="application/json")
    client = s3.client()
    client.meta.events.register("before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=3))
    found = list(Bucket(client, bucket.name).list("p/"))
    assert [(facts.key, facts.size) for facts in found] == [(f"p/{n}.json", n) for n in range(7)]


def test_a_moved_object_is_at_its_new_place_only(bucket: Bucket) -> None:
    bucket.put_bytes(b"song", "inbox/a.json", content_type="application/json")
    bucket.move("inbox/a.json", "inbox/done/a.json")
    assert content_of(bucket, "inbox/done/a.json") == b"song"
    assert bucket.head("inbox/a.json") is None


def test_a_probe_leaves_nothing_behind(bucket: Bucket) -> None:
    bucket.probe(ArchiveKeys("music").probe)
    assert list(bucket.list("")) == []


def test_a_missing_bucket_is_told_by_every_action_and_created_on_loopback_only(s3: S3Server) -> None:
    missing = Bucket(s3.client(), "not-made-yet")
    for action in (
        lambda: content_of(missing, "a"),
        lambda: missing.put_json({}, "a"),
        lambda: put(missing, b"x", "a"),
        lambda: list(missing.list("a")),
        lambda: missing.probe("_probe"),
    ):
        with pytest.raises(S3NoSuchBucket, match="not-made-yet"):
            action()
    assert missing.create_on_loopback() is True
    assert missing.create_on_loopback() is False
    bucket_of_others = Bucket(s3.client(), "never-made")
    bucket_of_others.client.meta._endpoint_url = "https://s3.eu-central-1.amazonaws.com"
    with pytest.raises(S3NoSuchBucket):
        bucket_of_others.create_on_loopback()
    assert "never-made" not in {b["Name"] for b in s3.client().list_buckets()["Buckets"]}


def test_an_argument_that_cannot_be_passed_on_is_refused_by_name(s3: S3Server) -> None:
    with pytest.raises(S3ArgumentsRefused, match="ContentTyp cannot be used; allowed: ACL,"):
        Bucket(s3.client(), "songs", {"ContentTyp": "x"})


def test_a_wrong_key_is_told_as_such(tmp_path: Path) -> None:
    with rclone_s3(tmp_path) as server:
        stranger = Bucket(S3Server(server.endpoint_url, "somebody", "else").client(), "songs")
        with pytest.raises(S3CredentialsWrong):
            stranger.put_json({}, "a")


def test_a_closed_endpoint_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = S3Server(f"http://127.0.0.1:{unused.getsockname()[1]}", "a", "b")
        with pytest.raises(S3Unreachable, match="PutObject on bucket songs, key a"):
            Bucket(closed.client(retries={"total_max_attempts": 1}), "songs").put_json({}, "a")


# --- pending records ----------------------------------------------------------------------------------------


def test_a_pending_record_is_noted_merged_listed_and_deleted(bucket: Bucket) -> None:
    archive, keys = ArchiveKeys("music"), SongKeys("music", "abc")
    assert SongArchive(bucket, keys).pending() is None
    heard = new_pending("abc", received_from="form", now=NOON)
    assert SongArchive(bucket, keys).merge_pending(heard) == heard
    SongArchive(bucket, keys).merge_pending(heard.changed(kie_conn_id="kie_label_b"))
    assert SongArchive(bucket, keys).merge_pending(heard.changed(title="Été")).kie_conn_id == "kie_label_b"
    assert [found.music_task_id for found, _ in list_pending(bucket, archive)] == ["abc"]
    bucket.delete(keys.pending)
    assert list(list_pending(bucket, archive)) == []


def test_noting_what_is_known_already_writes_nothing(s3: S3Server, bucket: Bucket) -> None:
    keys, heard = SongKeys("music", "abc"), new_pending("abc", received_from="form", now=NOON)
    SongArchive(bucket, keys).merge_pending(heard)
    client = s3.client()
    writes: list[str] = []
    client.meta.events.register("before-call.s3.PutObject", lambda model, **_: writes.append(model.name))
    SongArchive(Bucket(client, bucket.name), keys).merge_pending(heard)
    assert writes == []


@pytest.mark.parametrize("s3", ["moto"], indirect=True)  # rclone ignores conditions: there the later writer wins
def test_a_writer_that_is_overtaken_merges_with_what_is_there(s3: S3Server, bucket: Bucket) -> None:
    keys, heard = SongKeys("music", "abc"), new_pending("abc", received_from="form", now=NOON)
    client, rival = s3.client(), heard.changed(title="rival")
    overtaken: list[bool] = []

    def overwrite(**_: object) -> None:
        if not overtaken:
            overtaken.append(True)
            bucket.put_json(rival.to_json(), keys.pending)

    client.meta.events.register("before-call.s3.PutObject", overwrite)
    merged = SongArchive(Bucket(client, bucket.name), keys).merge_pending(heard.changed(kie_conn_id="mine"))
    assert (merged.title, merged.kie_conn_id) == ("rival", "mine")
    assert SongArchive(bucket, keys).pending() == merged


def test_a_damaged_pending_record_is_not_overwritten(bucket: Bucket) -> None:
    keys = SongKeys("music", "abc")
    bucket.put_bytes(b"{", keys.pending, content_type="application/json")
    with pytest.raises(ArchiveUnreadable, match=r"_pending/abc\.json"):
        SongArchive(bucket, keys).merge_pending(new_pending("abc", received_from="form", now=NOON))
    assert content_of(bucket, keys.pending) == b"{"


def test_the_record_of_another_song_is_not_taken_for_this_one(bucket: Bucket) -> None:
    keys = SongKeys("music", "abc")
    bucket.put_json(new_pending("other", received_from="form", now=NOON).to_json(), keys.pending)
    with pytest.raises(ArchiveUnreadable, match="another task"):
        SongArchive(bucket, keys).pending()
