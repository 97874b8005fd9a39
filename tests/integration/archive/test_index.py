"""The index of an archive on a real S3 server: nothing gets lost between writers, compaction and rebuild."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_kie.archive.index import segments
from airflow_kie.archive.index.entry import IndexEntry, entry_of
from airflow_kie.archive.index.segments import MANY, SETTLED, Index
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.manifest import FileRecord, Manifest, SongRecord, TaskManifest
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.verify import verify_archive
from archived_kinds import all_archived
from index_writer import write_lines
from s3_servers import moto_s3, rclone_s3

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def index() -> Iterator[Index]:
    with moto_s3() as s3:
        s3.client().create_bucket(Bucket="songs")
        yield Index(Bucket(s3.client(), "songs"), ArchiveKeys("music"))


def entry(number: int, **known: object) -> IndexEntry:
    return IndexEntry(id=f"song{number}", operation="suno.music", archived_at=NOW, updated_at=NOW).changed(**known)


def later() -> datetime:
    """Return a time at which what is written now can be compacted."""
    return datetime.now(UTC) + SETTLED + timedelta(minutes=1)


def lines(index: Index) -> dict[str, IndexEntry]:
    return {one.id: one for one in index._merged(index.segments())}


def manifest(song: str) -> Manifest:
    key = ArchiveKeys("music").song(song).file("cover", 1, "png")
    file = FileRecord(
        key=key, kind="cover", position=1, size=3, sha256="0" * 64, content_type="image/png", archived_at=NOW
    )
    return Manifest(
        music_task_id=song,
        song=SongRecord(title="Été", model="V6", prompt="p" * 2000),
        files=(file,),
        available=all_archived(file),
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.fixture(scope="module")
def writers() -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("forkserver")  # of a process without threads
    context.set_forkserver_preload(["index_writer"])
    with ProcessPoolExecutor(8, mp_context=context) as pool:
        yield pool


def test_200_songs_archived_at_once_from_8_processes_are_200_lines_also_while_it_is_compacted(
    tmp_path: Path, writers: ProcessPoolExecutor
) -> None:
    with rclone_s3(tmp_path) as s3:  # a server of its own, with files on disk
        s3.client().create_bucket(Bucket="songs")
        index = Index(Bucket(s3.client(), "songs"), ArchiveKeys("music"))
        written = [writers.submit(write_lines, s3, "music", range(start, 200, 8)) for start in range(8)]
        compacted = 0
        while not all(one.done() for one in written) or not compacted:
            compacted += index.compact(later())
        assert [one.exception() for one in written] == [None] * 8
        assert set(lines(index)) == {f"song{number}" for number in range(200)}
        assert sum(len(index.read(key) or ()) for key in index.segments()) >= 200


def test_a_batch_is_one_object_a_month(index: Index) -> None:
    index.add([entry(number) for number in range(50)])
    assert len(index.segments()) == 1
    index.add([entry(51), entry(52, archived_at=NOW - timedelta(days=40))])
    assert [key.split("/")[2] for key in index.segments()] == ["2026-11", "2026-11", "2026-10"]


def test_of_two_lines_of_one_song_the_later_one_holds_whichever_was_written_first(index: Index) -> None:
    index.add([entry(1, title="new", updated_at=NOW + timedelta(hours=1))])
    index.add([entry(1, title="old")])
    assert lines(index)["song1"].title == "new"


def test_compaction_loses_nothing_and_leaves_one_object(index: Index) -> None:
    for number in range(MANY):
        index.add([entry(number)])
    assert index.compact() == 0  # too young: another process may not see them yet
    assert index.compact(later()) == MANY
    assert len(index.segments()) == 1
    assert len(lines(index)) == MANY
    assert index.compact(later()) == 0


def test_a_large_object_is_not_compacted_again(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SMALL_BYTES", 1500)
    index.add([entry(number) for number in range(50)])
    (large,) = index.segments()
    for number in range(50, 50 + MANY):
        index.add([entry(number)])
    assert index.compact(later()) == MANY
    assert large in index.segments() and len(index.segments()) == 2
    assert len(lines(index)) == 50 + MANY


def test_a_compaction_that_dies_before_it_deletes_does_no_harm(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(MANY):
        index.add([entry(number)])

    def die(self: Bucket, key: str) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched, pytest.raises(ConnectionError):
        patched.setattr(Bucket, "delete", die)
        index.compact(later())
    assert len(lines(index)) == MANY
    index.compact(later())
    assert (len(index.segments()), len(lines(index))) == (1, MANY)


def test_an_index_is_made_anew_from_the_manifests_and_says_what_is_gone(index: Index) -> None:
    bucket, keys = index.bucket, index.keys
    for song in ("one", "two"):
        bucket.put_json(manifest(song).to_json(), keys.song(song).manifest)
    task = TaskManifest(operation="market", task_id="t1", created_at=NOW, updated_at=NOW)
    bucket.put_json(task.to_json(), keys.task("market", "t1").manifest)
    bucket.put_bytes(b"{", keys.song("damaged").manifest, content_type="application/json")
    bucket.put_bytes(b"{", keys.song("two").choice, content_type="application/json")
    index.add([entry(9, title="gone", prompt="secret words")])
    assert index.rebuild() == 3
    found = lines(index)
    assert {name for name, one in found.items() if not one.deleted} == {"one", "two", "t1"}
    assert found["song9"].deleted
    assert found["song9"].title is None and found["song9"].words == "song9 suno.music"  # nothing of its text stays
    assert (found["one"].title, found["one"].media, len(found["one"].prompt or "")) == ("Été", ("image",), 500)
    assert found["t1"].operation == "market"


def test_a_song_whose_manifest_is_damaged_keeps_its_line_in_an_index_that_is_made_anew(index: Index) -> None:
    index.add([entry(1, title="Still here")])
    index.bucket.put_bytes(b"{", index.keys.song("song1").manifest, content_type="application/json")
    assert index.rebuild() == 1
    assert (lines(index)["song1"].title, lines(index)["song1"].deleted) == ("Still here", False)


def test_a_damaged_line_hides_no_other(index: Index) -> None:
    index.add([entry(1), entry(2)])
    (key,) = index.segments()
    text = index.bucket.client.get_object(Bucket="songs", Key=key)["Body"].read()
    index.bucket.put_bytes(text + b'{"id": 3}\n\xff\n', key, content_type="application/x-ndjson")
    assert set(lines(index)) == {"song1", "song2"}


def test_every_line_is_flat_json_for_other_programs(index: Index) -> None:
    index.add([entry_of(manifest("one"))])
    (key,) = index.segments()
    (line,) = index.bucket.client.get_object(Bucket="songs", Key=key)["Body"].read().decode().splitlines()
    known = json.loads(line)
    assert (known["id"], known["title"], known["archived_at"]) == ("one", "Été", "2026-11-20T12:00:00.000Z")
    assert known["files"][0]["name"] == "cover-1.png"


def test_the_index_is_no_stray_of_the_archive(index: Index) -> None:
    index.add([entry(1)])
    assert list(verify_archive(index.bucket, index.keys, fast=True)) == []
