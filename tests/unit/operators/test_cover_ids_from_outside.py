"""Ids of cover tasks that others name: KIE is asked whose they are, and a wrong one blocks no song."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_kie.operators.inbox import KieInboxOperator
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_task import StoredFiles, TaskRun
from kie_simulator.server import SimulatorServer


def music(kie: SimulatorServer) -> str:
    return kie.control.make_music("Velvet Harbour")[0].task_id


def cover_of(song: str, bucket: str | None = None) -> str:
    options: dict[str, Any] = {"bucket": bucket, "prefix": "songs", "poll_interval": 0.05, "deferrable": False}
    run = TaskRun(lambda: KieGenerateCoverOperator(task_id="generate_cover", music_task_id=song, **options))
    return str(run.attempt())


def start_by_event(song: str, **extra: Any) -> None:
    context = {"partition_key": song, "triggering_asset_events": {"music": [SimpleNamespace(extra=extra)]}}
    TaskRun(lambda: KieSongListOperator(task_id="song_list"), extra=context).execute()


def start_by_inbox(archive: StoredFiles, song: str, cover: str) -> None:
    archive.put("inbox/a.json", json.dumps({"music_task_id": song, "cover_task_id": cover}).encode())
    TaskRun(lambda: KieInboxOperator(task_id="read_inbox")).execute()
    start_by_event(song, received_from="inbox")


def start_by_form(song: str, cover: str) -> None:
    songs = [{"music_task_id": song, "cover_task_id": cover}]
    TaskRun(lambda: KieSongListOperator(task_id="song_list", songs=songs)).execute()


WAYS = ["inbox", "form", "event"]


def start(way: str, archive: StoredFiles, song: str, cover: str) -> None:
    if way == "inbox":
        start_by_inbox(archive, song, cover)
    elif way == "form":
        start_by_form(song, cover)
    else:
        start_by_event(song, cover_task_id=cover)


@pytest.mark.parametrize("way", WAYS)
def test_a_cover_of_another_song_is_struck_out_and_the_song_gets_its_own(
    kie: SimulatorServer, archive: StoredFiles, way: str
) -> None:
    other, song = music(kie), music(kie)
    wrong = cover_of(other)
    start(way, archive, song, wrong)
    own = cover_of(song, archive.bucket)
    assert own != wrong
    assert [task["task_id"] for task in kie.control.ledger("cover")] == [wrong, own]


@pytest.mark.parametrize("way", WAYS)
def test_a_cover_that_kie_does_not_know_is_not_used_and_the_song_gets_its_own(
    kie: SimulatorServer, archive: StoredFiles, way: str
) -> None:
    song = music(kie)
    start(way, archive, song, "f" * 32)
    assert cover_of(song, archive.bucket) == kie.control.ledger("cover")[0]["task_id"]


@pytest.mark.parametrize("way", WAYS)
def test_the_songs_own_cover_is_taken_and_nothing_is_paid(kie: SimulatorServer, archive: StoredFiles, way: str) -> None:
    song = music(kie)
    known = cover_of(song)
    kie.control.set(duplicate={"data": "null"})  # KIE would not name it
    start(way, archive, song, known)
    assert cover_of(song, archive.bucket) == known
    assert len(kie.control.ledger("cover")) == 1


def test_an_id_from_outside_comes_after_our_own(kie: SimulatorServer, archive: StoredFiles) -> None:
    song = music(kie)
    own = cover_of(song, archive.bucket)
    start_by_inbox(archive, song, "f" * 32)
    assert cover_of(song, archive.bucket) == own


@pytest.mark.parametrize("wrong", ["../x", " ", ["x"], {"x": 1}, "\ud83d", "x" * 200])
def test_an_event_with_an_id_that_is_none_starts_its_song(
    kie: SimulatorServer, archive: StoredFiles, wrong: Any
) -> None:
    song = music(kie)
    start_by_event(song, cover_task_id=wrong)
    assert archive.json(f"songs/_pending/{song}.json")["music_task_id"] == song
