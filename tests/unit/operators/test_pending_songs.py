"""A run that an event has woken takes what is pending and free, whichever events were lost or came twice."""

from __future__ import annotations

import copy
import os
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_kie.archive.pending import Held, Working
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.assets import MUSIC, PENDING
from airflow_kie.durable.xcom import FAILURE_KEY
from airflow_kie.hooks.archive import open_song
from airflow_kie.monitoring.backlog import goes_on
from airflow_kie.operators import event_songs
from airflow_kie.operators.report import KieSongReportOperator
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_kie.operators.suno import KieGenerateMusicOperator
from airflow_task import StoredFiles, TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer
from new_songs import NOW, Airflow

A, B, C, D = ("abcd"[n] * 32 for n in range(4))


def pending(archive: StoredFiles, music_task_id: str, **facts: Any) -> SongArchive:
    song = open_song("aws_default", archive.bucket, "songs", music_task_id)
    song.update_pending(received_from="generate", **facts)
    return song


def ids(songs: list[dict[str, Any]]) -> list[str]:
    return [song["music_task_id"] for song in songs]


def held(archive: StoredFiles) -> list[str]:
    """Return what names songs that have failed."""
    return [key for key in archive.listed() if key.startswith(("songs/_retry/", "songs/_failed/"))]


def test_a_song_that_has_failed_is_named_once_by_what_helps_until_it_is_taken(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    song = pending(archive, A)
    song.record_failure("timeout", "x")
    assert held(archive) == [f"songs/_retry/{A}.1"]
    song.record_failure("timeout", "x")
    assert held(archive) == [f"songs/_retry/{A}.2"]
    song.record_failure("content_rejected", "x")
    assert held(archive) == [f"songs/_failed/{A}.3"]
    airflow = Airflow()
    airflow.send(music_task_id=A)
    assert ids(airflow.woken().execute()) == [A]
    assert held(archive) == []
    song.record_failure("timeout", "x")
    song.drop_pending()
    assert held(archive) == []


@pytest.mark.parametrize("reason", ["out_of_credits", "unauthorized", "s3_access_denied", "spending_cap"])
def test_a_song_that_has_failed_in_an_outage_goes_on_by_itself_once_it_has_ended(
    kie: SimulatorServer, archive: StoredFiles, reason: str
) -> None:
    """The status page says so of them; the reconciliation left them to a person."""
    song = pending(archive, A)
    song.record_failure(reason, "x")
    assert held(archive) == [f"songs/_retry/{A}.1"]
    record = song.pending()
    assert record is not None
    assert goes_on(record)


@pytest.mark.parametrize(("times", "hours"), [(1, 1), (2, 2), (3, 4), (6, 24), (600, 24)])
def test_what_has_failed_is_due_after_an_hour_then_after_twice_as_long_at_most_a_day(times: int, hours: int) -> None:
    since = NOW - timedelta(hours=hours)
    assert Held("key", False, times, since).is_due(NOW)
    assert not Held("key", False, times, since + timedelta(seconds=1)).is_due(NOW)
    assert not Held("key", True, times, since).is_due(NOW)


def test_a_woken_run_takes_what_was_never_tried_and_nobody_works_on(kie: SimulatorServer, archive: StoredFiles) -> None:
    airflow = Airflow(runs={"goes on": "running", "ended": "failed"})
    pending(archive, A, kie_conn_id="kie_default", labels=({"name": "our_id", "value": "A-1"},))
    for song, reason in (("e" * 32, "timeout"), ("1" * 32, "content_rejected")):
        pending(archive, song).record_failure(reason, "x")
    pending(archive, "f" * 32, unconfirmed="not_asked")
    pending(archive, "0" * 32, working=Working(dag_id="music_generate", run_id="goes on"))
    pending(archive, B, working=Working(dag_id="music_cover", run_id="ended"))
    archive.put("songs/_pending/damaged.json", b"{")
    (first, second) = airflow.woken().execute()
    assert (first["music_task_id"], first["labels"]) == (A, {"our_id": "A-1"})
    assert second["music_task_id"] == B


@pytest.mark.parametrize(("songs", "batches"), [(2, [1, 1]), (3, [3]), (30, [25, 5])])
def test_a_woken_run_of_more_than_a_few_songs_works_on_them_in_batches(
    kie: SimulatorServer, archive: StoredFiles, songs: int, batches: list[int]
) -> None:
    for number in range(songs):
        pending(archive, f"{number:032x}")
    assert [batch.get("songs", 1) for batch in Airflow().woken().execute()] == batches


def test_what_a_run_has_claimed_no_other_run_takes_until_it_has_ended(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    airflow = Airflow()
    pending(archive, A)
    assert ids(airflow.woken("first").execute()) == [A]
    pending(archive, B)
    assert ids(airflow.woken("second").execute()) == [B]
    assert airflow.woken("third").execute() == []

    airflow.runs["first"] = "failed"  # without a report: nothing says that the song was tried
    assert ids(airflow.woken("fourth").execute()) == [A]


def test_where_runs_go_on_and_one_has_just_taken_songs_the_next_one_waits_for_more_of_them(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_songs, "GATHERED", timedelta(hours=1))  # on a busy machine a run takes seconds
    airflow = Airflow()
    waited: list[float] = []

    def more_come(seconds: float) -> None:
        waited.append(seconds)
        pending(archive, "f" * 32)

    monkeypatch.setattr(event_songs.time, "sleep", more_come)
    for song in (A, B, C):
        assert airflow.woken(f"without songs before {song}").execute() == []
        pending(archive, song)
        assert ids(airflow.woken(f"of {song}").execute()) == [song]
    assert waited == []
    pending(archive, D)
    assert ids(airflow.woken("fourth").execute()) == [D, "f" * 32]
    assert len(waited) == 1
    assert 0 < waited[0] <= event_songs.GATHERED.total_seconds()

    monkeypatch.setattr(event_songs, "GATHERED", timedelta(0))  # the last run has taken its songs long ago
    pending(archive, "e" * 32)
    assert ids(airflow.woken("fifth").execute()) == ["e" * 32]
    assert len(waited) == 1


def test_a_list_that_is_tried_again_or_cleared_after_the_runs_end_has_the_runs_own_songs(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    airflow = Airflow()
    pending(archive, A)
    first = airflow.woken("first")
    assert ids(first.execute()) == [A]
    assert ids(first.retried().execute()) == [A]
    airflow.runs["first"] = "failed"
    open_song("aws_default", archive.bucket, "songs", A).record_failure("timeout", "x")
    assert airflow.woken("second").execute() == []
    airflow.runs["first"] = "running"
    assert ids(first.cleared().execute()) == [A]


def test_songs_that_events_name_are_recorded_and_taken_once(kie: SimulatorServer, archive: StoredFiles) -> None:
    airflow = Airflow()
    airflow.send(music_task_id=A, labels={"our_id": "A-1"}, archive_lyrics=True)
    pending(archive, B).record_failure("timeout", "x")
    airflow.send(music_task_ids=[B, C])
    songs = {song["music_task_id"]: song for song in airflow.woken("first", batch_size=1).execute()}
    assert list(songs) == [A, B, C]
    assert held(archive) == []
    assert (songs[A]["labels"], songs[A]["archive_lyrics"]) == ({"our_id": "A-1"}, True)
    record = archive.json(f"songs/_pending/{A}.json")
    assert (record["received_from"], record["options"]["lyrics"]) == ("event", True)

    airflow.runs["first"] = "failed"
    for song in (A, B, C):
        open_song("aws_default", archive.bucket, "songs", song).record_failure("timeout", "x")
    assert airflow.woken("second").execute() == []


def test_an_event_about_a_song_that_another_run_works_on_adds_what_it_asks_for(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    airflow = Airflow()
    pending(archive, A)
    airflow.woken("first").execute()
    airflow.send(music_task_id=A, archive_audio=True)
    assert airflow.woken("second").execute() == []
    assert archive.json(f"songs/_pending/{A}.json")["options"]["audio"] is True


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"labels": {"a": {"b": "c"}}}, "songs_refused"),
        ({"kie_conn_id": "stolen"}, "songs_refused"),
        ({"music_task_id": "../etc"}, None),
        ({"music_task_id": {"a": ["{{ conn.x }}"]}}, None),
    ],
)
def test_an_event_that_asks_for_what_cannot_be_stops_no_other_song(
    kie: SimulatorServer, archive: StoredFiles, extra: dict[str, Any], reason: str | None
) -> None:
    airflow = Airflow()
    airflow.send(**{"music_task_id": B} | extra)
    pending(archive, A)
    assert ids(airflow.woken().execute()) == [A]
    stored = [key for key in archive.listed() if key.startswith("songs/_pending/")]
    assert len(stored) == (2 if reason else 1)
    if reason:
        assert archive.json(f"songs/_pending/{B}.json")["last_failure"]["reason"] == reason


def test_a_song_whose_manifest_is_damaged_stops_no_other_one(kie: SimulatorServer, archive: StoredFiles) -> None:
    airflow = Airflow()
    archive.put(f"songs/{B}/manifest.json", b"{")
    for song in (A, B):
        pending(archive, song)
    assert ids(airflow.woken().execute()) == [A]
    assert archive.json(f"songs/_pending/{B}.json")["last_failure"]["reason"] == "archive_unreadable"


def test_songs_of_a_connection_that_cannot_be_used_stay_pending(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default, kie_gone")
    airflow = Airflow()
    airflow.send(music_task_id=A, kie_conn_id="kie_gone")
    pending(archive, B)
    assert ids(airflow.woken("first").execute()) == [B]
    assert archive.json(f"songs/_pending/{A}.json")["last_failure"] is None

    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_gone")
    monkeypatch.setenv("AIRFLOW_CONN_KIE_GONE", os.environ["AIRFLOW_CONN_KIE_DEFAULT"])
    assert ids(airflow.woken("second").execute()) == [A]


def test_the_reconciliation_wakes_a_run_for_what_was_lost_and_names_what_has_failed(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__RECONCILE_AFTER_MINUTES", "0")
    airflow = Airflow(runs={"goes on": "running"})
    with pytest.raises(AirflowSkipException):
        airflow.reconcile()
    pending(archive, A)
    pending(archive, B).record_failure("timeout", "x")
    pending(archive, C).record_failure("content_rejected", "x")
    pending(archive, D, working=Working(dag_id="music_cover", run_id="goes on"))
    assert airflow.reconcile() == (1, {"music_task_ids": [], "received_from": "inbox"})
    monkeypatch.setattr("airflow_kie.archive.pending.FIRST_RETRY", timedelta(0))
    assert airflow.reconcile() == (2, {"music_task_ids": [B], "received_from": "inbox"})

    airflow.send(music_task_ids=[B])
    assert ids(airflow.woken().execute()) == [B, A]
    with pytest.raises(AirflowSkipException):
        airflow.reconcile()


def test_of_songs_that_have_failed_no_record_is_read(
    kie: SimulatorServer, archive: StoredFiles, caplog: pytest.LogCaptureFixture
) -> None:
    for song in (A, B):
        archive.put(f"songs/_pending/{song}.json", b"{")  # to read it would be logged
        archive.put(f"songs/_retry/{song}.1")
    with pytest.raises(AirflowSkipException):
        Airflow().reconcile()
    assert Airflow().woken().execute() == []
    assert "is not JSON" not in caplog.text


def test_a_song_that_only_a_lost_event_names_is_found_by_the_reconciliation(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    airflow = Airflow()
    airflow.send(age=11 * 60, music_task_id=A)
    assert airflow.reconcile() == (0, {"music_task_ids": [], "received_from": "inbox"})
    assert ids(airflow.woken().execute()) == [A]
    with pytest.raises(AirflowSkipException):
        airflow.reconcile()


def test_a_generated_song_wakes_music_cover_and_has_its_event_for_other_dags(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    sent = OutletEventAccessors()

    def generate() -> KieGenerateMusicOperator:
        return KieGenerateMusicOperator(
            task_id="g", prompt="rain", deferrable=False, poll_interval=0.05, bucket=archive.bucket, prefix="songs",
            outlets=[MUSIC],
        )  # fmt: skip

    song = TaskRun(generate, ti=TaskInstance(run_id="g"), extra={"outlet_events": sent}).attempt()
    assert generate().outlets == [MUSIC, PENDING]
    assert (sent[MUSIC].partition_keys, sent[PENDING].partition_keys) == ({song}, set())
    airflow = Airflow(runs={"g": "running"})  # Airflow has not noticed yet that it has ended
    assert airflow.woken("first").execute() == []
    airflow.send(**sent[PENDING].extra)
    assert ids(airflow.woken("second").execute()) == [song]


def test_an_event_that_becomes_visible_late_is_read_once(kie: SimulatorServer, archive: StoredFiles) -> None:
    airflow = Airflow()
    airflow.send(age=10, music_task_id=A)
    assert ids(airflow.woken("first").execute()) == [A]
    airflow.send(age=15, music_task_id=B)
    assert ids(airflow.woken("second").execute()) == [B]
    airflow.runs |= {"first": "success", "second": "success"}
    for song in (A, B):
        open_song("aws_default", archive.bucket, "songs", song).drop_pending()
    assert airflow.woken("third").execute() == []


def test_clearing_the_report_alone_starts_exactly_the_failed_songs_again(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    airflow = Airflow()
    for song in (A, B):
        pending(archive, song)
    songs = airflow.woken("first").execute()
    archived = {"music_task_id": A, "title": "A", "manifest_key": "m", "files": []}
    failed = {"music_task_id": B, "task_id": "generate_cover", "reason": "content_rejected", "message": "x", "at": 1.0}
    made: list[KieSongReportOperator] = []

    def report() -> KieSongReportOperator:
        made.append(KieSongReportOperator(
            task_id="report", songs=songs, list_task_id="song_list", chain_task_ids=("m", "g", "d", "archive")
        ))  # fmt: skip
        return made[-1]

    pulls = {("archive", "return_value"): [archived], ("g", FAILURE_KEY): [failed]}
    run = TaskRun(report, ti=TaskInstance(run_id="first", runs=airflow.runs, pulls=pulls))
    for attempt in (run, run.retried()):
        with pytest.raises(AirflowFailException, match="1 song is archived, 1 failed"):
            attempt.execute()
    open_song("aws_default", archive.bucket, "songs", A).drop_pending()
    airflow.runs["first"] = "failed"
    assert airflow.woken("second").execute() == []

    for paused in ({"music_cover": True}, {}):  # Airflow would drop the event
        nobody = run.cleared()
        nobody.ti.paused = paused
        nobody.store = copy.deepcopy(run.store)
        with pytest.raises(AirflowFailException, match="1 song is archived, 1 failed"):
            nobody.execute()
        assert made[-1].outlets == []
    rows = run.cleared().execute()
    assert [row["music_task_id"] for row in rows if row["reason"]] == [B]
    assert made[-1].outlets == [PENDING], "the event wakes a run"
    assert ids(airflow.woken("third").execute()) == [B]

    pulls["g", FAILURE_KEY] = [{**failed, "at": 2.0}]  # its task was cleared too, and has failed again
    with pytest.raises(AirflowFailException, match="1 song is archived, 1 failed"):
        run.cleared().cleared().execute()
    assert made[-1].outlets == []


@pytest.mark.parametrize("started_by", ["an event", "a partition"])
@pytest.mark.parametrize("found", [[], None, [B]])
def test_songs_that_another_task_names_are_all_that_a_run_takes_whatever_has_started_it(
    kie: SimulatorServer, archive: StoredFiles, started_by: str, found: Any
) -> None:
    """A DAG of somebody's own is started by its own events: what is pending is no business of it."""
    pending(archive, A)
    airflow = Airflow()
    airflow.send(music_task_id=C)
    run = airflow.woken()
    with DAG("theirs") as dag:

        @task
        def found_songs() -> list[str]:
            """Return the songs of the day."""
            return []

        KieSongListOperator(task_id="song_list", music_task_ids=found_songs())
    listed: Any = dag.get_task("song_list")
    listed.music_task_ids = found
    run.make = lambda: listed
    if started_by == "a partition":
        run.extra |= {"partition_key": "2026-11-30"}
    assert ids(run.execute()) == (found or [])
    assert set(ids(airflow.woken("asset_triggered__2").execute())) == {A, C}
