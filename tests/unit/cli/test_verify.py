"""`airflow kie verify`: what is damaged, missing or unnamed is told by its key, and cron learns it by the exit code."""

from __future__ import annotations

import hashlib
import io
import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tenacity import wait_none

from airflow_kie.archive import verify
from airflow_kie.archive.layout import ArchiveKeys, TaskKeys
from airflow_kie.archive.manifest import FileRecord, Manifest, TaskManifest
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3AccessDenied
from airflow_kie.archive.verify import verify_archive
from airflow_kie.cli.verify import verify as command
from s3_servers import S3Server
from unused_ports import unused_port

SONGS = tuple(f"{number:032x}" for number in range(3))
KEYS = ArchiveKeys("songs")


@dataclass
class Archive:
    """An archive of three songs with a cover and lyrics each, and the command that verifies it."""

    bucket: Bucket
    capsys: pytest.CaptureFixture[str]
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.url = f"s3://{self.bucket.name}/songs"
        for song in SONGS:
            self.add(song)

    def add(self, song: str, keys: ArchiveKeys = KEYS) -> None:
        own = keys.song(song)
        now = datetime.now(UTC)
        files = []
        for key, kind, content_type in (
            (own.file("cover", 1, "png"), "cover", "image/png"),
            (own.file("lyrics", 1, "txt"), "lyrics", "text/plain"),
        ):
            body = f"{kind} of {song}".encode()
            self.bucket.put_bytes(body, key, content_type=content_type)
            files.append(
                FileRecord(key=key, kind=kind, position=1, size=len(body), sha256=hashlib.sha256(body).hexdigest(),
                           content_type=content_type, archived_at=now)
            )  # fmt: skip
        manifest = Manifest(music_task_id=song, files=tuple(files), created_at=now, updated_at=now)
        self.bucket.put_json(manifest.to_json(), own.manifest)

    def put(self, key: str, body: bytes = b"x", content_type: str = "image/png") -> None:
        self.bucket.put_bytes(body, key, content_type=content_type)

    def verify(self, archive: str | None = None, **options: Any) -> tuple[Any, str]:
        arguments = {"archive": archive or self.url, "since": None, "fast": False, "json": False} | options
        with pytest.raises(SystemExit) as ended:
            command(Namespace(**arguments))
        printed = self.capsys.readouterr()
        return ended.value.code, printed.out or printed.err

    def problems(self, **options: Any) -> list[str]:
        code, text = self.verify(json=True, **options)
        told = json.loads(text)
        assert code == (0 if told["whole"] else 1)
        return [f"{one['key'].rpartition('/')[2]}: {one['problem']}" for one in told["problems"]]


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands change how this process looks connections up, for one test."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")


@pytest.fixture
def stored_songs(bucket: str, s3_server: S3Server, capsys: pytest.CaptureFixture[str]) -> Archive:
    return Archive(Bucket(s3_server.client(), bucket), capsys)


@pytest.fixture(autouse=True)
def one_client(stored_songs: Archive, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Open the bucket that is open already: a new S3 client takes a second."""
    from airflow_kie.cli import arguments

    monkeypatch.setattr(arguments, "open_bucket", lambda aws_conn_id, name: stored_songs.bucket)
    yield


def test_a_whole_archive_is_said_to_be_whole(stored_songs: Archive) -> None:
    stored_songs.put("songs/_probe")
    stored_songs.put("inbox/dropped.json")
    stored_songs.put(KEYS.song(SONGS[0]).choice, b"{}")
    assert stored_songs.verify() == (0, "3 songs, 6 files, 0.0 MB: everything matches the manifests.\n")


def test_without_a_name_the_configured_archive_is_verified(stored_songs: Archive, monkeypatch: Any) -> None:
    stored_songs.url = ""
    assert json.loads(stored_songs.verify(json=True)[1])["archive"] == f"s3://{stored_songs.bucket.name}/songs"
    monkeypatch.setenv("AIRFLOW__KIE__PREFIX", "elsewhere")
    assert "/elsewhere has no songs" in stored_songs.verify()[1]
    monkeypatch.delenv("AIRFLOW__KIE__BUCKET")
    code, said = stored_songs.verify()
    assert (code, "No bucket is set in [kie], and no archive was given" in said) == (2, True)


DAMAGE = {
    "its content": (b"cover of 00000000000000000000000000000fff", "image/png", "its SHA-256 is", False),
    "its length": (b"shorter", "image/png", "it has 7 bytes, its manifest says 41", True),
    "its type": (f"cover of {SONGS[1]}".encode(), "text/html", "its content type is text/html", False),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_file_that_is_not_what_its_manifest_says_is_named(stored_songs: Archive, what: str) -> None:
    body, content_type, told, seen_when_fast = DAMAGE[what]
    stored_songs.put(KEYS.song(SONGS[1]).file("cover", 1, "png"), body, content_type)
    (problem,) = stored_songs.problems()
    assert problem.startswith(f"cover-1.png: {told}")
    assert bool(stored_songs.problems(fast=True)) is seen_when_fast


@pytest.mark.parametrize("fast", [False, True])
def test_a_file_that_is_missing_is_named(stored_songs: Archive, fast: bool) -> None:
    stored_songs.bucket.delete(KEYS.song(SONGS[1]).file("lyrics", 1, "txt"))
    assert stored_songs.problems(fast=fast) == ["lyrics-1.txt: it is missing"]


def test_what_a_listing_lacks_is_asked_for_before_it_counts_as_missing(stored_songs: Archive, monkeypatch: Any) -> None:
    whole = Bucket.list

    def late(bucket: Bucket, prefix: str) -> Iterator[Any]:
        return (facts for facts in whole(bucket, prefix) if not facts.key.endswith(("lyrics-1.txt", "manifest.json")))

    monkeypatch.setattr(Bucket, "list", late)
    assert stored_songs.problems(fast=True) == []


def test_a_file_that_no_manifest_names_is_named_unless_its_song_is_in_work(stored_songs: Archive) -> None:
    own = KEYS.song(SONGS[2])
    stored_songs.put(own.file("cover", 2, "png"))
    assert stored_songs.problems() == ["cover-2.png: no manifest names it"]
    stored_songs.put(own.pending, b"{}")
    code, text = stored_songs.verify()
    assert (code, "1 song being archived at the moment" in text) == (0, True)


def test_an_extra_that_no_manifest_names_yet_is_being_archived_for_an_hour(
    stored_songs: Archive, monkeypatch: Any
) -> None:
    stored_songs.put(f"{KEYS.song(SONGS[2]).folder}extras/vocals-1.mp3")
    code, text = stored_songs.verify()
    assert (code, "1 song being archived at the moment" in text) == (0, True)
    monkeypatch.setattr(verify, "LATELY", timedelta(hours=-1))
    assert stored_songs.problems() == ["vocals-1.mp3: no manifest names it"]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("what", ["archived again", "deleted"])
def test_a_song_that_changes_after_it_was_listed_is_not_damaged(
    stored_songs: Archive, monkeypatch: Any, what: str, fast: bool
) -> None:
    own, listed = KEYS.song(SONGS[1]), Bucket.list

    def list_then_change(bucket: Bucket, prefix: str) -> Iterator[Any]:
        found = list(listed(bucket, prefix))
        monkeypatch.setattr(Bucket, "list", listed)
        bucket.delete(own.file("lyrics", 1, "txt"))
        if what == "deleted":
            bucket.delete(own.file("cover", 1, "png"))
            bucket.delete(own.manifest)
            return iter(found)
        body = b"another cover"
        bucket.put_bytes(body, own.file("cover", 1, "png"), content_type="image/png")
        file = FileRecord(key=own.file("cover", 1, "png"), kind="cover", position=1, size=len(body),
                          sha256=hashlib.sha256(body).hexdigest(), content_type="image/png",
                          archived_at=datetime.now(UTC))  # fmt: skip
        now = datetime.now(UTC)
        new = Manifest(music_task_id=SONGS[1], files=(file,), created_at=now, updated_at=now)
        Manifest.update(bucket, own, lambda stored: stored if stored and stored.files == new.files else new)
        return iter(found)

    monkeypatch.setattr(Bucket, "list", list_then_change)
    assert stored_songs.problems(fast=fast) == []


@pytest.mark.parametrize("name", ["readme.txt", SONGS[0], "with space", "a/b"])
def test_an_object_that_stands_beside_the_songs_is_named(stored_songs: Archive, name: str) -> None:
    stored_songs.put(f"songs/{name}")
    (problem,) = stored_songs.problems()
    assert problem.startswith(f"{name.rpartition('/')[2]}: ")


def test_what_the_pipeline_keeps_beside_the_songs_is_no_stray(stored_songs: Archive) -> None:
    paid = f"{KEYS.paid_requests}kie_default/suno.cover/{'0' * 32}/1.intent"
    raw, pending = KEYS.raw("kie_default", "suno.cover"), f"{KEYS.pending}{'f' * 32}.json"
    for key in (KEYS.probe, KEYS.inbox_taken, raw, pending, paid):
        stored_songs.put(key, b"{}", "application/json")
    assert stored_songs.problems() == []


def test_a_song_without_a_manifest_is_wrong_unless_it_is_in_work(stored_songs: Archive) -> None:
    own = KEYS.song(SONGS[0])
    stored_songs.bucket.delete(own.manifest)
    assert [problem.partition(":")[0] for problem in stored_songs.problems()] == ["cover-1.png", "lyrics-1.txt"]
    stored_songs.put(own.pending, b"{}")
    assert stored_songs.problems() == []


def test_a_manifest_that_cannot_be_read_is_wrong_and_the_other_songs_are_still_verified(stored_songs: Archive) -> None:
    stored_songs.put(KEYS.song(SONGS[0]).manifest, b"{")
    stored_songs.bucket.delete(KEYS.song(SONGS[2]).file("lyrics", 1, "txt"))
    told = stored_songs.problems()
    assert [problem.partition(":")[0] for problem in told] == ["manifest.json", "lyrics-1.txt"]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("key", ["", "songs/another/cover-1.png", f"{KEYS.song(SONGS[1]).folder}{'x' * 2000}"])
def test_a_manifest_that_names_what_cannot_be_a_file_of_its_song_stops_no_other_song(
    stored_songs: Archive, key: str, fast: bool
) -> None:
    own = KEYS.song(SONGS[1])
    manifest = stored_songs.bucket.get_json(own.manifest)
    manifest["files"][0]["key"] = key
    stored_songs.bucket.put_json(manifest, own.manifest)
    stored_songs.bucket.delete(own.file("cover", 1, "png"))
    stored_songs.bucket.delete(KEYS.song(SONGS[2]).file("lyrics", 1, "txt"))
    named, missing = stored_songs.problems(fast=fast)
    assert named.startswith(f"manifest.json: it names {key[:20]!r}"[:-1])
    assert missing == "lyrics-1.txt: it is missing"


def test_since_leaves_older_songs_alone(stored_songs: Archive) -> None:
    stored_songs.bucket.delete(KEYS.song(SONGS[0]).file("lyrics", 1, "txt"))
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    assert stored_songs.problems(since=tomorrow) == []
    assert len(stored_songs.problems(since="2020-01-01")) == 1


def test_a_prefix_may_hold_signs_that_divide_an_address(stored_songs: Archive) -> None:
    stored_songs.add(SONGS[0], ArchiveKeys("team #1?/songs"))
    code, text = stored_songs.verify(f"s3://{stored_songs.bucket.name}/team #1?/songs/")
    assert (code, text) == (0, "1 song, 2 files, 0.0 MB: everything matches the manifests.\n")


def test_an_archive_may_be_a_buckets_root(stored_songs: Archive) -> None:
    stored_songs.add(SONGS[0], ArchiveKeys(""))
    for folder in ("songs", "inbox"):
        for facts in list(stored_songs.bucket.list(f"{folder}/")):
            stored_songs.bucket.delete(facts.key)
    stored_songs.put("inbox/dropped.json")
    code, text = stored_songs.verify(f"s3://{stored_songs.bucket.name}")
    assert (code, text) == (0, "1 song, 2 files, 0.0 MB: everything matches the manifests.\n")


@pytest.mark.parametrize("archive", ["songs", "s3://", "s3://bucket/a/../b", "https://bucket/songs"])
def test_what_is_no_archive_is_not_taken_for_an_empty_one(stored_songs: Archive, archive: str) -> None:
    code, text = stored_songs.verify(archive)
    assert code == 2
    assert "could not be read" in text


def test_an_empty_place_and_a_date_that_is_none_are_exit_code_2(stored_songs: Archive) -> None:
    assert stored_songs.verify(f"s3://{stored_songs.bucket.name}/elsewhere")[0] == 2
    assert stored_songs.verify(since="last week")[0] == stored_songs.verify(since="")[0] == 2


def test_an_archive_in_which_every_song_is_still_owed_is_not_damaged(stored_songs: Archive) -> None:
    name, keys = f"s3://{stored_songs.bucket.name}/new", ArchiveKeys("new")
    stored_songs.put(keys.probe)
    assert stored_songs.verify(name)[0] == 2
    for song in SONGS[:2]:
        stored_songs.put(keys.song(song).pending, b"{", "application/json")
    assert stored_songs.verify(name) == (0, "No song is archived here yet; 2 songs are pending.\n")
    assert json.loads(stored_songs.verify(name, json=True)[1])["songs"] == 0
    stored_songs.put(keys.song(SONGS[0]).file("cover", 1, "png"))
    code, text = stored_songs.verify(name)
    assert (code, "1 song being archived at the moment" in text) == (0, True)


def test_owed_songs_that_cannot_be_listed_are_exit_code_2(stored_songs: Archive, monkeypatch: Any) -> None:
    whole = Bucket.list

    def refused(bucket: Bucket, prefix: str) -> Iterator[Any]:
        if prefix.endswith("_pending/"):
            raise S3AccessDenied("ListObjectsV2")
        return whole(bucket, prefix)

    monkeypatch.setattr(Bucket, "list", refused)
    code, text = stored_songs.verify(f"s3://{stored_songs.bucket.name}/new")
    assert (code, "S3 denied access" in text) == (2, True)


def test_a_bucket_that_cannot_be_reached_is_exit_code_2(stored_songs: Archive, monkeypatch: Any) -> None:
    from airflow_kie.cli import arguments

    monkeypatch.setattr(verify._RETRYING, "wait", wait_none())
    nowhere = S3Server(f"http://127.0.0.1:{unused_port()}", "a", "b").client(retries={"max_attempts": 0})
    monkeypatch.setattr(arguments, "open_bucket", lambda aws_conn_id, name: Bucket(nowhere, name))
    code, text = stored_songs.verify()
    assert code == 2
    assert "S3 could not be reached" in text


class Terminal(io.StringIO):
    """A standard error at which a person looks."""

    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_where_a_person_looks_and_nowhere_else(stored_songs: Archive, monkeypatch: Any) -> None:
    stored_songs.bucket.delete(KEYS.song(SONGS[1]).file("lyrics", 1, "txt"))
    with pytest.raises(SystemExit):
        command(Namespace(archive=stored_songs.url, since=None, fast=True, json=False))
    unseen = stored_songs.capsys.readouterr()
    assert "verifying" not in unseen.err
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with pytest.raises(SystemExit):
        command(Namespace(archive=stored_songs.url, since=None, fast=True, json=False))
    assert "verifying" in terminal.getvalue()
    assert stored_songs.capsys.readouterr().out == unseen.out


def test_only_a_few_songs_are_held_in_memory_at_a_time(stored_songs: Archive, monkeypatch: Any) -> None:
    listed: list[str] = []
    whole = Bucket.list

    def counted(bucket: Bucket, prefix: str) -> Iterator[Any]:
        for facts in whole(bucket, prefix):
            listed.append(facts.key)
            yield facts

    monkeypatch.setattr(Bucket, "list", counted)
    monkeypatch.setattr(verify, "_AHEAD", 1)
    next(iter(verify_archive(stored_songs.bucket, KEYS, fast=True)))
    assert len(listed) <= 4, "the first song, and the first key of the next one"


# --- results of other tasks ---


def a_task(stored_songs: Archive, *, manifest: bool = True, body: bytes = b"a clip") -> TaskKeys:
    own = KEYS.task("veo.generate", "veo_task_1")
    stored_songs.put(own.file("video", 1, "mp4"), body, "video/mp4")
    file = FileRecord(key=own.file("video", 1, "mp4"), kind="video", position=1, size=6,
                      sha256=hashlib.sha256(b"a clip").hexdigest(), content_type="video/mp4",
                      archived_at=datetime.now(UTC))  # fmt: skip
    now = datetime.now(UTC)
    known = TaskManifest(operation=own.operation, task_id=own.task_id, files=(file,), created_at=now, updated_at=now)
    if manifest:
        stored_songs.bucket.put_json(known.to_json(), own.manifest)
    return own


def test_results_of_other_tasks_are_verified_too(stored_songs: Archive) -> None:
    a_task(stored_songs)
    assert stored_songs.verify() == (0, "3 songs, 1 other task, 7 files, 0.0 MB: everything matches the manifests.\n")
    assert json.loads(stored_songs.verify(json=True)[1])["tasks"] == 1


@pytest.mark.parametrize("fast", [False, True])
def test_a_result_that_is_not_what_its_manifest_says_is_named(stored_songs: Archive, fast: bool) -> None:
    a_task(stored_songs, body=b"cut")
    assert stored_songs.problems(fast=fast) == ["video-1.mp4: it has 3 bytes, its manifest says 6"]


def test_results_without_a_manifest_are_wrong_once_nobody_can_be_archiving_them(
    stored_songs: Archive, monkeypatch: Any
) -> None:
    a_task(stored_songs, manifest=False)
    assert stored_songs.problems() == []
    monkeypatch.setattr(verify, "LATELY", timedelta(hours=-1))
    assert stored_songs.problems() == ["video-1.mp4: it has no manifest, and is not being archived"]


@pytest.mark.parametrize("name", ["readme.txt", "veo.generate/readme.txt", "No Such/a/x.mp4", "veo.generate/_x/a.mp4"])
def test_an_object_beside_the_results_is_named(stored_songs: Archive, name: str) -> None:
    stored_songs.put(f"songs/_tasks/{name}")
    (problem,) = stored_songs.problems()
    assert problem.startswith(f"{name.rpartition('/')[2]}: it ")


def test_a_bucket_with_results_and_no_song_is_an_archive(stored_songs: Archive) -> None:
    for facts in stored_songs.bucket.list("songs/"):
        stored_songs.bucket.delete(facts.key)
    a_task(stored_songs)
    assert stored_songs.verify() == (0, "0 songs, 1 other task, 1 file, 0.0 MB: everything matches the manifests.\n")


def test_what_kie_says_of_its_models_is_a_record_of_the_archive(stored_songs: Archive) -> None:
    stored_songs.put(KEYS.catalogue, b"{}", "application/json")
    assert stored_songs.problems() == []
