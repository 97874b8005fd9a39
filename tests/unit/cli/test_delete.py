"""`airflow kie delete`: what it lists, what it deletes of songs, tasks and parts of songs, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_database import dag, stored
from airflow_kie.archive.index.entry import entry_of
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.manifest import FileRecord, Manifest
from airflow_kie.archive.pending import Failure, Working
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3AccessDenied
from airflow_kie.archive.verify import verify_archive
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator
from airflow_task import StoredFiles, TaskRun
from cli_songs import COVER, KEYS, NOW, OTHER, SONG, Songs, run_of
from kie_simulator.server import SimulatorServer

WAV = "a" * 32


@pytest.fixture
def whole(songs: Songs, archive: StoredFiles) -> Songs:
    """Give two archived songs, the first with an extra, a choice and objects of the inbox, all in the index."""
    index = Index(songs.bucket, KEYS)
    for song in (SONG, OTHER):
        songs.archived(song)
        own = KEYS.song(song)
        manifest = Manifest.read(songs.bucket, own)[0]
        assert manifest
        cover, wav = manifest.files[0], own.folder + "extras/wav-1.wav"
        files = (cover.changed(task_id=COVER), of_wav(cover, wav, song))
        manifest = manifest.changed(files=files)
        songs.bucket.put_json(manifest.to_json(), own.manifest)
        for key in (cover.key, wav):
            archive.put(key, b"7 bytes")
        index.add([entry_of(manifest)])
    archive.put(KEYS.song(SONG).choice, b"{}")
    archive.put("inbox/done/alone.json", json.dumps({"music_task_id": SONG}).encode())
    archive.put("inbox/done/both.csv", f"music_task_id\n{SONG}\n{OTHER}\n".encode())
    archive.put("inbox/rejected/bad.json", json.dumps(SONG).encode())
    archive.put("inbox/rejected/bad.json.reason.txt", b"why")
    archive.put(KEYS.inbox_order("0" * 32), json.dumps({"songs": [{"music_task_id": SONG}]}).encode())
    archive.put(KEYS.raw("kie_default", "suno.cover"), json.dumps({"taskId": SONG}).encode())
    return songs


def of_wav(cover: FileRecord, key: str, song: str) -> FileRecord:
    task_id = WAV if song == SONG else "b" * 32
    return cover.changed(key=key, kind="wav", content_type="audio/wav", task_id=task_id, audio_id="t")


def listed(songs: Songs) -> set[str]:
    return {facts.key for facts in songs.bucket.list("")}


def in_index(songs: Songs) -> dict[str, bool]:
    """Return the ids of which the index has lines, and whether they are deleted."""
    index = Index(songs.bucket, KEYS)
    return {entry.id: entry.deleted for _, lines in index.read_many(index.segments()) for entry in lines}


def test_without_yes_everything_is_listed_and_nothing_is_deleted(whole: Songs) -> None:
    whole.owed(SONG, last_failure=Failure(reason="timeout", message="said", at=NOW))
    before = listed(whole)
    told = whole.delete(SONG)
    assert told.code == 0
    assert listed(whole) == before
    lines = told.out.splitlines()
    assert lines[0] == f"Song {SONG}:"
    assert lines[-1] == "Nothing was deleted. To delete it, pass --yes."
    name = whole.bucket.name
    deleted = {line.partition(",")[0].removeprefix(f"  delete s3://{name}/") for line in lines if "  delete s3" in line}
    assert deleted == {
        *(f"songs/{SONG}/{file}" for file in ("manifest.json", "cover-1.png", "extras/wav-1.wav", "choice.json")),
        f"songs/_pending/{SONG}.json",
        "inbox/done/alone.json",
        "inbox/rejected/bad.json",
        "inbox/rejected/bad.json.reason.txt",
        f"songs/_inbox/{'0' * 32}.json",
        "songs/_raw/suno.cover.kie_default.json",
    }
    remains = "\n".join(line for line in lines if line.startswith("  remains: "))
    assert f"s3://{name}/inbox/done/both.csv names other songs too" in remains
    assert "KIE's own copies, for 14 days" in remains
    assert f"in the ledger of paid requests, s3://{name}/songs/_paid/" in remains
    assert "such as timestamped lyrics, in _answers/ there, until you delete them" in remains
    assert "run event__7 of DAG music_cover in Airflow" in remains


def test_with_yes_the_song_is_gone_and_every_other_one_is_as_it_was(whole: Songs) -> None:
    before = listed(whole)
    assert whole.delete(SONG, yes=True).code == 0
    gone = before - listed(whole)
    assert {key for key in gone if not key.startswith("songs/_index/")} == {
        *(f"songs/{SONG}/{file}" for file in ("manifest.json", "cover-1.png", "extras/wav-1.wav", "choice.json")),
        *("inbox/done/alone.json", "inbox/rejected/bad.json", "inbox/rejected/bad.json.reason.txt"),
        *(f"songs/_inbox/{'0' * 32}.json", "songs/_raw/suno.cover.kie_default.json"),
    }
    assert in_index(whole) == {SONG: True, OTHER: False}
    texts = b"".join(whole.bucket.get_version(key, max_bytes=9999)[1] for key in Index(whole.bucket, KEYS).segments())  # type: ignore[index]
    assert texts.count(b"Velvet Harbour") == 1  # of the other song: title and prompt are in no older object either
    assert not [song for song in verify_archive(whole.bucket, KEYS, fast=True) if song.problems]
    again = whole.delete(SONG)
    assert (again.code, "Nothing of" in again.err) == (1, True)


@pytest.mark.parametrize(("task", "kind"), [(WAV, "wav"), (COVER, "cover")])
def test_a_part_of_a_song_leaves_its_manifest_and_the_rest_stays(whole: Songs, task: str, kind: str) -> None:
    before = listed(whole)
    told = whole.delete(task, yes=True)
    assert (told.code, told.err) == (0, "")
    assert f"Song {SONG}, a part of which was made by KIE task {task}:" in told.out
    manifest = Manifest.read(whole.bucket, KEYS.song(SONG))[0]
    assert manifest is not None
    assert kind not in {file.kind for file in manifest.files} | {known.kind for known in manifest.available}
    assert len(manifest.files) == 1
    gone = {key for key in before - listed(whole) if not key.startswith("songs/_index/")}
    assert {key.rpartition("/")[2] for key in gone} == {"wav-1.wav" if kind == "wav" else "cover-1.png"}
    assert not [song for song in verify_archive(whole.bucket, KEYS, fast=True) if song.problems]
    assert in_index(whole) == {SONG: False, OTHER: False}


MADE: dict[str, dict[str, Any]] = {
    "veo.generate": {"prompt": "a fox", "model": "veo3_fast"},
    "market": {"model": "z-image", "input": {"prompt": "a fox", "aspect_ratio": "1:1"}},
}


@pytest.mark.parametrize("operation", MADE)
def test_the_result_of_another_task_is_deleted_and_the_same_request_pays_for_nothing(
    kie: SimulatorServer, songs: Songs, archive: StoredFiles, operation: str
) -> None:
    kie.control.set(task_seconds=0)

    def make(run: str) -> str:
        known = {"operation": operation, "request": MADE[operation], "idempotency_key": "fox", "poll_interval": 0.05}
        made: str = TaskRun(lambda: KieTaskOperator(task_id=run, deferrable=False, **known)).attempt()
        place = {"bucket": songs.bucket.name, "prefix": "songs"}
        transfer = {"task_id": "archive", "operation": operation, "kie_task_id": made}
        TaskRun(lambda: KieResultsToS3Operator(**transfer, **place)).attempt()
        return made

    made = make("monday")
    ledger = {key for key in listed(songs) if "/_paid/" in key}
    told = songs.delete(made, yes=True)
    assert (told.code, f"KIE task {made} ({operation}):" in told.out.splitlines()) == (0, True)
    assert "remains: KIE's own copies until 20" in told.out
    assert not [key for key in listed(songs) if "/_tasks/" in key]
    assert {key for key in listed(songs) if "/_paid/" in key} == ledger
    assert in_index(songs) == {made: True}
    assert make("tuesday") == made
    assert len(kie.control.ledger()) == 1
    assert in_index(songs)[made] is True or [key for key in listed(songs) if "/_tasks/" in key]


@dataclass
class Busy:
    """A song with a run, and how the command is told of it."""

    songs: Songs

    def refused(self) -> str:
        before = listed(self.songs)
        told = self.songs.delete(SONG, yes=True)
        assert (told.code, listed(self.songs)) == (1, before)
        return told.err


@pytest.fixture
def busy(whole: Songs) -> Iterator[Busy]:
    yield Busy(whole)


def test_a_song_that_a_run_works_on_is_not_deleted(busy: Busy) -> None:
    with stored(dag("music_cover"), run_of(SONG, "running")):
        assert "Nothing was deleted: run event__1 of music_cover works on it" in busy.refused()
    with stored(dag("music_cover"), run_of("", "running", "event__7")):
        assert "run event__7 of music_cover, which has archived it, is still active" in busy.refused()
    busy.songs.owed(SONG, working=Working(dag_id="music_cover", run_id="manual__1"))
    with stored(dag("music_cover"), run_of("", "queued", "manual__1")):
        assert "run manual__1 of music_cover works on it" in busy.refused()


def test_a_removal_that_breaks_off_goes_on_when_it_is_run_again(whole: Songs, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = Bucket.delete

    def refuse(bucket: Bucket, key: str) -> None:
        if key.endswith("wav-1.wav"):
            raise S3AccessDenied("DeleteObject on bucket b, key k: AccessDenied")
        delete(bucket, key)

    monkeypatch.setattr(Bucket, "delete", refuse)
    told = whole.delete(SONG, yes=True)
    assert (told.code, told.err.startswith("Not everything could be deleted:")) == (1, True)
    monkeypatch.setattr(Bucket, "delete", delete)
    assert whole.delete(SONG, yes=True).code == 0
    assert not [key for key in listed(whole) if SONG in key and not key.startswith("songs/_index/")]


def test_a_removal_of_a_part_that_breaks_off_goes_on_when_it_is_run_again(
    whole: Songs, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.put(f"{KEYS.song(SONG).folder}notes.txt")

    def refuse(bucket: Bucket, key: str) -> None:
        raise S3AccessDenied("DeleteObject on bucket b, key k: AccessDenied")

    with monkeypatch.context() as denied:
        denied.setattr(Bucket, "delete", refuse)
        assert "Run the command again to continue." in whole.delete(WAV, yes=True).err
    before = listed(whole)
    assert whole.delete(WAV, yes=True).code == 0
    assert {key.rpartition("/")[2] for key in before - listed(whole)} == {"wav-1.wav"}
    assert whole.delete(WAV).code == 1


def test_a_part_that_is_gone_takes_nothing_with_it_that_a_run_is_archiving_now(
    whole: Songs, archive: StoredFiles
) -> None:
    assert whole.delete(WAV, yes=True).code == 0
    archive.put(f"{KEYS.song(SONG).folder}extras/vocals-1.mp3")  # its manifest comes last
    assert whole.delete(WAV, yes=True).code == 1
    assert f"{KEYS.song(SONG).folder}extras/vocals-1.mp3" in listed(whole)


def test_a_folder_of_something_else_is_no_result(whole: Songs, archive: StoredFiles) -> None:
    archive.put("songs/release/Two songs/track-01.wav")
    archive.put("backups/monday.tar")
    archive.put(f"{KEYS.song(SONG).folder}notes.txt")
    before = listed(whole)
    for name, place in (("release", None), ("backups", f"s3://{whole.bucket.name}")):
        assert whole.delete(name, yes=True, archive=place).code == 1
    assert listed(whole) == before
    told = whole.delete(SONG, yes=True)
    assert "notes.txt is not a file of this archive" in told.out
    assert f"{KEYS.song(SONG).folder}notes.txt" in listed(whole)


def test_a_release_that_is_made_of_it_is_named_and_stays(whole: Songs, archive: StoredFiles) -> None:
    known = {"schema_version": 1, "name": "Two", "songs": [SONG], "files": [], "delivered_at": "2026-11-22T10:00:00Z"}
    archive.put("songs/release/Two/manifest.json", json.dumps(known).encode())
    told = whole.delete(SONG, yes=True)
    assert f"s3://{whole.bucket.name}/songs/release/Two/, a release that is made of it" in told.out
    assert "songs/release/Two/manifest.json" in listed(whole)


def test_what_is_no_id_is_a_sentence(songs: Songs) -> None:
    told = songs.delete("not an id")
    assert (told.code, "not an id" in told.err) == (1, True)


def test_folders_that_a_console_has_made_hide_nothing_that_the_inbox_has_of_a_song(whole: Songs) -> None:
    for number in range(40):
        whole.bucket.put_bytes(b"", f"inbox/{number:02}/", content_type="application/x-directory")
    assert "/inbox/done/alone.json" in whole.delete(SONG).out
