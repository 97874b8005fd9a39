"""`airflow kie forget`: a song that nobody is owed any more, and what is said before its record is deleted."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from airflow_database import dag, stored
from airflow_kie.archive.pending import Failure, Working
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.cli import backlog
from cli_songs import KEYS, NOW, OTHER, SONG, Songs, run_of


def owed(songs: Songs, song: str) -> bool:
    return SongArchive(songs.bucket, KEYS.song(song)).pending() is not None


def test_a_song_is_forgotten_and_no_other_one(songs: Songs) -> None:
    songs.owed(SONG, title="Typo", last_failure=Failure(reason="task_unknown", message="said", at=NOW))
    songs.owed(OTHER)
    told = songs.forget(SONG)
    assert told.code == 0
    stays = "Its paid tasks stay in the ledger."
    assert told.out.splitlines()[0] == f"{SONG} Typo: task_unknown. {stays}"
    assert (owed(songs, SONG), owed(songs, OTHER)) == (False, True)
    again = songs.forget(SONG)
    assert (again.code, "is not pending" in again.err) == (1, True)


def test_without_a_yes_nothing_is_deleted(songs: Songs) -> None:
    songs.owed(SONG)
    told = songs.forget(SONG, yes=False)
    assert (told.code, owed(songs, SONG)) == (1, True)


def test_an_archived_songs_files_and_manifest_stay(songs: Songs) -> None:
    songs.archived(SONG)
    songs.owed(SONG)
    assert songs.forget(SONG).code == 0
    assert SongArchive(songs.bucket, KEYS.song(SONG)).manifest() is not None


def test_a_song_that_a_run_works_on_is_not_forgotten(songs: Songs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "agreed", Mock(side_effect=AssertionError("nobody is asked")))
    songs.owed(SONG, working=Working(dag_id="music_cover", run_id="manual__1"))
    with stored(dag("music_cover"), run_of("", "running", "manual__1")):
        told = songs.forget(SONG)
    assert "Nothing was deleted: run manual__1 of music_cover works on it" in told.err
    assert (told.code, owed(songs, SONG)) == (1, True)


def test_an_id_that_a_callback_alone_names_is_forgotten(songs: Songs) -> None:
    songs.owed(SONG, unconfirmed="not_asked")
    told = songs.forget(SONG)
    assert (told.code, told.err, owed(songs, SONG)) == (0, "", False)


def test_what_is_noted_while_a_person_reads_is_not_deleted(songs: Songs, monkeypatch: pytest.MonkeyPatch) -> None:
    songs.owed(SONG)

    def somebody_pays(*_: Any, **__: Any) -> bool:
        songs.owed(SONG, title="named meanwhile")
        return True

    monkeypatch.setattr(backlog, "agreed", somebody_pays)
    told = songs.forget(SONG)
    assert "The pending record has just changed" in told.err
    assert (told.code, owed(songs, SONG)) == (1, True)


@pytest.mark.parametrize("task_id", ["not an id", "f" * 32])
def test_what_is_no_id_or_not_owed_deletes_nothing(songs: Songs, task_id: str) -> None:
    songs.owed(SONG)
    assert (songs.forget(task_id).code, owed(songs, SONG)) == (1, True)
