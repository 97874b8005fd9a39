"""`airflow kie reconcile`: nothing of a list is silently left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.cli import reconciling
from cli_songs import KEYS, OTHER, SONG, THIRD, Ran, Songs

GONE, UNKNOWN = "4" * 32, "5" * 32


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    sent: list[Any] = []
    monkeypatch.setattr(reconciling, "no_run_would_follow", lambda: "")
    monkeypatch.setattr(reconciling.metadata, "send_asset_event", lambda *event: sent.append(event) or True)
    return sent


def reconcile(songs: Songs, name: object, **options: Any) -> Ran:
    return songs._run(reconciling.reconcile, list=str(name), **{"hand_in": False, "yes": True} | options)


def listed(tmp_path: Path, *ids: str) -> Path:
    path = tmp_path / "ids.csv"
    path.write_text("music_task_id,our_id\n" + "".join(f"{song},{number}\n" for number, song in enumerate(ids)))
    return path


def held(songs: Songs, song: str, reason: str) -> None:
    SongArchive(songs.bucket, KEYS.song(song)).record_failure(reason, "x")


def test_each_song_of_a_list_has_its_state_and_what_is_missing_is_started(
    songs: Songs, tmp_path: Path, woken: list[Any]
) -> None:
    songs.archived(SONG)
    songs.owed(OTHER)
    held(songs, THIRD, "timeout")
    held(songs, GONE, "results_expired")
    names = listed(tmp_path, SONG, OTHER, THIRD, GONE, UNKNOWN)
    rows = [f"{SONG},archived,", f"{OTHER},pending,", f"{THIRD},failed,timeout", f"{GONE},expired,results_expired"]
    told = reconcile(songs, names)
    assert (told.code, told.out.splitlines()) == (1, [*rows, f"{UNKNOWN},unknown,"])
    assert "1 archived, 1 pending, 1 failed, 1 expired, 1 unknown." in told.err
    assert woken == []

    assert reconcile(songs, names, hand_in=True).code == 1, "one has expired, and nothing brings it back"
    assert [event[1:] for event in woken] == [(None, {"received_from": "inbox"})]
    again = reconcile(songs, names)
    assert again.out.splitlines() == [*rows[:2], f"{THIRD},pending,", rows[3], f"{UNKNOWN},pending,"]
    record = SongArchive(songs.bucket, KEYS.song(UNKNOWN)).pending()
    assert record is not None
    assert [(label.name, label.value) for label in record.labels] == [("our_id", "4")]


def test_a_list_in_s3_is_read_and_one_that_is_not_there_is_named(songs: Songs) -> None:
    songs.archived(SONG)
    songs.bucket.put_bytes(f'"{SONG}"'.encode(), "lists/ids.json", content_type="application/json")
    told = reconcile(songs, f"s3://{songs.bucket.name}/lists/ids.json")
    assert (told.code, told.out) == (0, f"{SONG},archived,\n")
    assert "does not exist" in reconcile(songs, f"s3://{songs.bucket.name}/lists/none.json").err


def test_a_song_whose_manifest_is_damaged_has_failed_and_hides_no_other(songs: Songs, tmp_path: Path) -> None:
    songs.archived(SONG)
    songs.bucket.put_bytes(b"{", KEYS.song(OTHER).manifest, content_type="application/json")
    told = reconcile(songs, listed(tmp_path, SONG, OTHER))
    assert (told.code, told.out.splitlines()) == (1, [f"{SONG},archived,", f"{OTHER},failed,archive_unreadable"])


def test_a_record_that_cannot_be_read_is_named_and_leaves_the_other_songs_to_be_started(
    songs: Songs, tmp_path: Path, woken: list[Any]
) -> None:
    held(songs, OTHER, "timeout")
    songs.bucket.put_bytes(b"{", KEYS.song(OTHER).pending, content_type="application/json")
    told = reconcile(songs, listed(tmp_path, OTHER, UNKNOWN), hand_in=True)
    assert (told.code, len(woken)) == (1, 1)
    assert "1 song started" in told.err
    assert f"{OTHER} was not started" in told.err and f"{OTHER}.json" in told.err
