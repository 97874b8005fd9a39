"""`airflow kie redrive`: starting again what is owed and what nobody works on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from airflow_database import dag, stored
from airflow_kie.archive.pending import Failure, Working
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.assets import PENDING
from airflow_kie.cli import backlog
from airflow_kie.monitoring.restart import start_again
from airflow_kie.web.pages import queries, retrying
from airflow_kie.web.pages.changes import ChangeRefused
from cli_songs import KEYS, NOW, OTHER, SONG, THIRD, Songs, run_of


@pytest.fixture
def asset() -> Iterator[None]:
    """The asset that music_cover waits for, as a DAG has declared it, and music_cover."""
    from airflow.models.asset import DagScheduleAssetReference

    with stored(declared(), dag("music_cover"), DagScheduleAssetReference(asset_id=7, dag_id="music_cover")):
        yield


def declared() -> Any:
    from airflow.models.asset import AssetModel

    return AssetModel(id=7, name=PENDING.name, uri=PENDING.uri, group="asset")


def events() -> list[tuple[str | None, Any]]:
    """Return partition and extra of the events that were sent."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return [(event.partition_key, event.extra) for event in session.scalars(select(AssetEvent))]


@pytest.fixture(autouse=True)
def no_events() -> Iterator[None]:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    yield
    with create_session() as session:
        session.execute(delete(AssetEvent))


@pytest.mark.usefixtures("asset")
def test_every_owed_song_is_named_by_an_event_that_wakes_music_cover(songs: Songs) -> None:
    songs.owed(SONG, kie_conn_id="kie_default")
    songs.owed(OTHER)
    first = songs.redrive()
    assert first.code == 0
    assert "2 songs to restart. Existing covers are used, and missing ones are made once" in first.out
    assert events() == [
        (None, {"music_task_ids": [SONG, OTHER], "received_from": "inbox"}),
    ]


@pytest.mark.usefixtures("asset")
def test_a_song_that_a_run_works_on_is_left_alone(songs: Songs) -> None:
    songs.owed(SONG)
    songs.owed(OTHER, working=Working(dag_id="music_cover", run_id="manual__1"))
    songs.owed(THIRD, working=Working(dag_id="music_cover", run_id="manual__2"))
    with stored(
        run_of(SONG, "queued"),
        run_of("", "running", "manual__1"),
        run_of("", "failed", "manual__2"),
    ):
        told = songs.redrive(dry_run=True)
    assert f"skipped, run event__1 of music_cover works on it: {SONG}" in told.out
    assert f"skipped, run manual__1 of music_cover works on it: {OTHER}" in told.out
    assert f"start: {THIRD}" in told.out
    assert events() == []


def test_reason_and_date_choose_songs(songs: Songs) -> None:
    for song, reason, age in ((SONG, "s3_access_denied", 1), (OTHER, "s3_access_denied", 30), (THIRD, "timeout", 1)):
        at = datetime.now(UTC) - timedelta(days=age)
        songs.owed(song, last_failure=Failure(reason=reason, message="x", at=at))
    since = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    chosen = songs.redrive(dry_run=True, reason="s3_access_denied", since=since).out
    assert (SONG in chosen, OTHER in chosen, THIRD in chosen) == (True, False, False)
    assert songs.redrive(since="last week").code == 1


def test_a_run_chooses_the_songs_that_it_has_left_pending(songs: Songs) -> None:
    songs.owed(SONG, working=Working(dag_id="music_cover", run_id="manual__1"))
    songs.owed(OTHER, working=Working(dag_id="music_cover", run_id="manual__2"))
    songs.owed(THIRD)
    chosen = songs.redrive(dry_run=True, run="manual__1").out
    assert (f"start: {SONG}" in chosen, OTHER in chosen, THIRD in chosen) == (True, False, False)


@pytest.mark.usefixtures("asset")
def test_a_damaged_record_is_told_of_and_holds_up_no_other_song(songs: Songs, caplog: Any) -> None:
    songs.owed(SONG)
    songs.bucket.put_bytes(b"{", KEYS.song(OTHER).pending, content_type="application/json")
    told = songs.redrive(dry_run=True)
    assert (told.code, SONG in told.out, OTHER in caplog.text) == (0, True, True)


@pytest.mark.usefixtures("asset")
def test_a_bucket_that_lists_and_does_not_read_is_no_bucket_that_owes_nothing(songs: Songs, monkeypatch: Any) -> None:
    songs.owed(SONG)
    refused = ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")
    monkeypatch.setattr(songs.bucket.client, "get_object", Mock(side_effect=refused))
    told = songs.redrive()
    assert (told.code, "S3 denied access" in told.err) == (1, True)


@pytest.mark.usefixtures("asset")
def test_nothing_is_sent_to_a_paused_dag_nor_without_an_agreement(songs: Songs) -> None:
    songs.owed(SONG)
    pause(True)
    paused = songs.redrive()
    pause(False)
    assert (paused.code, "is paused" in paused.err) == (1, True)
    assert songs.redrive(yes=False).code == 1
    assert events() == []


def pause(paused: bool) -> None:
    from airflow.utils.session import create_session

    with create_session() as session:
        session.merge(dag("music_cover", paused=paused))


@pytest.mark.parametrize("known", [False, True], ids=["no asset", "an asset that another DAG sends events for"])
def test_without_a_dag_that_waits_for_songs_it_says_so_and_hands_nothing_on(songs: Songs, known: bool) -> None:
    songs.owed(SONG)
    with stored(*([declared()] if known else [])):
        told = songs.redrive()
        assert (told.code, "No DAG is scheduled on" in told.err) == (1, True)
        assert events() == []


@pytest.mark.usefixtures("asset")
def test_what_has_changed_while_a_person_read_the_list_is_left_alone(
    songs: Songs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for song in (SONG, OTHER, THIRD):
        songs.owed(song)
    run = run_of(OTHER, "running")

    def answer(question: str, *, yes: bool) -> bool:
        SongArchive(songs.bucket, KEYS.song(SONG)).drop_pending()  # it is archived now
        working.enter_context(stored(run))
        return True

    monkeypatch.setattr(backlog, "agreed", answer)
    with ExitStack() as working:
        told = songs.redrive()
    assert told.code == 0
    assert [extra["music_task_ids"] for _, extra in events()] == [[THIRD]]
    assert songs.bucket.head(KEYS.song(SONG).pending) is None
    assert f"skipped, it is no longer pending: {SONG}" in told.out
    assert f"skipped, run event__1 of music_cover works on it: {OTHER}" in told.out
    assert "1 song restarted in a new run of music_cover." in told.out


def test_an_empty_date_or_reason_chooses_no_song(songs: Songs) -> None:
    songs.owed(SONG)
    assert songs.redrive(since="").code == 1
    assert SONG not in songs.redrive(reason="").out
    assert SONG in songs.redrive(reason="never failed", dry_run=True).out


def failed(songs: Songs, *reasons: str) -> None:
    for number, reason in enumerate(reasons, start=1):
        songs.owed(f"{number:032x}", last_failure=Failure(reason=reason, message="x", at=NOW))
    songs.owed(f"{len(reasons) + 1:032x}")


@pytest.mark.parametrize("typed", ["out_of_credit", "Out_of_credits", "no such thing", ""])
def test_a_reason_that_there_is_not_is_exit_code_1_and_the_reasons_that_songs_have_are_named(
    songs: Songs, typed: str
) -> None:
    failed(songs, "out_of_credits", "timeout", "timeout")
    told = songs.redrive(reason=typed)
    assert (told.code, told.out) == (1, "")
    assert told.err == (
        f"Unknown reason {typed!r}: docs/on-call.md lists all of them. "
        "Reasons of pending songs: timeout (2), never failed (1), out_of_credits (1).\n"
    )


@pytest.mark.parametrize("reason", ["content_rejected", "s3_access_denied", "AirflowTaskTimeout"])
def test_a_reason_that_no_song_has_is_exit_code_0_and_the_reasons_that_songs_have_are_named(
    songs: Songs, reason: str
) -> None:
    failed(songs, "timeout")
    told = songs.redrive(reason=reason)
    assert (told.code, told.err) == (0, "")
    assert told.out == (
        f"No pending song has the reason {reason}. Reasons of pending songs: never failed (1), timeout (1).\n"
    )


def test_where_nothing_is_owed_a_reason_is_not_looked_for_among_nothing(songs: Songs) -> None:
    assert songs.redrive(reason="timeout").out == "No pending song has the reason timeout. No song is pending.\n"
    assert (
        songs.redrive(reason="timeot").err
        == "Unknown reason 'timeot': docs/on-call.md lists all of them. No song is pending.\n"
    )


@pytest.mark.usefixtures("asset")
def test_one_click_on_a_runs_page_starts_exactly_its_failed_songs_again(
    songs: Songs, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Mock(spec=queries.Place, prefix="songs", open=lambda: songs.bucket, keys=KEYS.song)
    of_run = dict.fromkeys((SONG, OTHER), place)
    monkeypatch.setattr(queries, "configured_place", lambda: place)
    monkeypatch.setattr(queries, "songs_of_run", lambda dag_id, run_id: of_run)
    monkeypatch.setattr(retrying, "audit", lambda *_, **__: None)
    for song in (SONG, THIRD):  # the third one is of another run
        SongArchive(songs.bucket, KEYS.song(song)).record_failure("content_rejected", "x")
    songs.owed(OTHER)
    answer = retrying.retry(Mock(), "manual__1")
    assert json.loads(bytes(answer.body))["message"] == "1 song restarted."
    assert events() == [(None, {"music_task_ids": [SONG], "received_from": "inbox"})]

    monkeypatch.setattr(queries, "songs_of_run", lambda dag_id, run_id: {SONG: Mock()})
    with pytest.raises(ChangeRefused, match="not in the archive that"):
        retrying.retry(Mock(), "manual__1")


@pytest.mark.usefixtures("asset")
def test_a_record_that_cannot_be_read_leaves_the_other_songs_of_a_selection_to_be_started(songs: Songs) -> None:
    songs.owed(SONG)
    songs.bucket.put_bytes(b"{", KEYS.song(OTHER).pending, content_type="application/json")
    left = start_again([SongArchive(songs.bucket, KEYS.song(song)) for song in (OTHER, SONG)])
    assert left == {OTHER: "its pending record cannot be read"}
    assert events() == [(None, {"music_task_ids": [SONG], "received_from": "inbox"})]


@pytest.mark.usefixtures("asset")
def test_of_one_song_no_other_record_is_read_and_an_id_of_nothing_is_an_error(
    songs: Songs, monkeypatch: pytest.MonkeyPatch
) -> None:
    songs.owed(SONG)
    songs.archived(OTHER)
    monkeypatch.setattr(backlog, "pending_songs", Mock(side_effect=AssertionError("all records are read")))
    told = songs.redrive(id=THIRD)
    assert (told.code, f"{THIRD} is neither pending nor archived here" in told.err) == (1, True)
    told = songs.redrive(id=OTHER)
    assert (told.code, told.out) == (0, "There is nothing to restart.\n")
    assert f"start: {SONG}, never failed\n" in songs.redrive(id=SONG, dry_run=True).out
