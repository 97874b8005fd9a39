"""A batch of many songs goes through the four steps: each song by itself, paid once, and none waits for another."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException, TaskDeferred
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_connections import kie_connection
from airflow_kie import assets
from airflow_kie._airflow_private import metadata
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.run_songs import in_batches, read_songs, write_songs
from airflow_kie.client.errors import KieBatchFailed, KieConnectionInvalid
from airflow_kie.durable import song_batch, song_tasks
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.operators.report import record_failure
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.transfers import song_batch as archiving
from airflow_kie.triggers.event import Outcome, event_of
from airflow_kie.triggers.task import KieTaskTrigger
from airflow_kie.triggers.turn import KieCreateTurnTrigger
from airflow_kie.web.pages import queries
from airflow_task import StoredFiles, TaskRun, WorkerCrash
from kie_simulator.server import SimulatorServer
from paid_requests import InBucket, become_old, dying_at
from song_batches import Chain, covers_paid, songs


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(song_tasks, "AGAIN_PAUSE", 0.0)


def test_every_song_of_a_batch_is_archived_listed_once_and_paid_once(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    ids = songs(kie, 5)
    rows = Chain(archive.bucket, ids).go()
    assert [row["music_task_id"] for row in rows] == ids
    assert [row["title"] for row in rows] == [f"Song {n}" for n in range(5)]
    assert covers_paid(kie) == sorted(ids)
    for song in ids:
        assert {f"songs/{song}/{name}" for name in ("cover-1.png", "cover-2.png", "manifest.json")} <= {
            *archive.listed()
        }
    assert not [key for key in archive.listed() if "_pending" in key]
    assert sorted(line["id"] for line in archive.indexed()) == sorted(ids)
    segments = archive.client.list_objects_v2(Bucket=archive.bucket, Prefix="songs/_index/")["KeyCount"]
    assert segments == 1


def test_songs_that_fail_leave_the_batch_where_they_fail_and_the_others_are_archived(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    ids = songs(kie, 3)
    bad = songs(kie, 1, state="SENSITIVE_WORD_ERROR", error_message="the word X is not allowed")[0]
    refused, broken = ids[1], ids[2]
    kie.control.add_fault("create", "code", source_id=refused, code=422, msg="This song is too long", times=-1)
    kie.control.add_fault("create", "code", source_id=ids[0], code=501)  # not this time
    kie.control.add_fault("file", "truncated", source_id=broken, times=-1)
    chain = Chain(archive.bucket, [bad, *ids])
    rows = chain.go()
    assert [row["music_task_id"] for row in rows] == [ids[0]]
    left = {step: chain.failures(step) for step in chain.runs}
    assert left["music_complete"] == {bad: "content_rejected"}
    assert left["generate_cover"] == {refused: "invalid_request"}
    assert set(left["archive_to_s3"]) == {broken}
    assert sorted(covers_paid(kie)) == sorted([ids[0], broken])
    assert {f"songs/_pending/{song}.json" for song in (bad, refused, broken)} <= set(archive.listed())


def test_a_song_that_is_late_leaves_the_batch_and_stays_pending_with_its_id_in_the_ledger(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = songs(kie, 3)
    kie.control.add_fault("task", "takes", source_id=ids[0], seconds=3600, times=-1)
    monkeypatch.setattr(song_batch, "LATE_SECONDS", -43.0)  # a cover is usually there after 45 s
    chain = Chain(archive.bucket, ids)
    assert [row["music_task_id"] for row in chain.go()] == ids[1:]
    assert chain.failures("generate_cover") == {ids[0]: "timeout"}
    kie.control.clear_faults()
    again = Chain(archive.bucket, [ids[0], *songs(kie, 1)])
    again.go("music_complete", "generate_cover")
    assert covers_paid(kie).count(ids[0]) == 1


def test_a_batch_whose_worker_or_triggerer_dies_goes_on_with_each_song_where_it_was(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    ids = songs(kie, 4)
    chain = Chain(archive.bucket, ids)
    chain.go("music_complete")
    with pytest.raises(TaskDeferred):
        chain.run("generate_cover").execute()
    assert covers_paid(kie) == sorted(ids)
    chain.runs["generate_cover"] = chain.run("generate_cover").retried()
    chain.go("generate_cover", "cover_details", "archive_to_s3")
    kept = len(kie.control.ledger())
    chain.runs = {step: run.cleared() for step, run in chain.runs.items()}
    downloads = kie.control.state()["downloads"]
    rows = chain.go()
    assert [row["changed"] for row in rows] == [False] * 4
    assert (len(kie.control.ledger()), kie.control.state()["downloads"]) == (kept, downloads)
    assert len(archive.indexed()) == 4


def test_a_song_whose_request_may_be_on_its_way_holds_no_other_song_back(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker has died in the POST: nobody knows for two minutes whether KIE has made the cover."""
    ids = songs(kie, 3)
    chain = Chain(archive.bucket, ids)
    chain.go("music_complete")
    alone = TaskRun(lambda: KieGenerateCoverOperator(task_id="alone", music_task_id=ids[0], deferrable=True))
    with dying_at("after post"), pytest.raises(WorkerCrash):
        alone.execute()
    run = chain.run("generate_cover")
    with pytest.raises(TaskDeferred) as deferred:
        run.execute()
    assert set(deferred.value.trigger.records) == {*ids[1:]}
    become_old(InBucket(archive))
    rows = run.resume(deferred.value)
    assert [row["music_task_id"] for row in rows] == ids
    assert covers_paid(kie).count(ids[0]) == 1  # KIE names the cover that it had made


@pytest.mark.parametrize("damaged", ["no record", {"kind": "suno.cover", "task_id": "x", "source": "damaged"}])
def test_a_damaged_record_of_a_batch_stops_no_song_and_is_read_from_the_ledger(
    kie: SimulatorServer, archive: StoredFiles, damaged: Any
) -> None:
    ids = songs(kie, 2)
    chain = Chain(archive.bucket, ids)
    chain.go("music_complete")
    run = chain.run("generate_cover")
    with pytest.raises(TaskDeferred) as deferred:
        run.execute()
    deferred.value.trigger.records[ids[0]] = deferred.value.kwargs["records"][ids[0]] = damaged
    assert [row["music_task_id"] for row in run.resume(deferred.value)] == ids
    assert covers_paid(kie) == sorted(ids)


def test_an_outage_that_every_song_meets_is_waited_out_by_the_whole_batch(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    ids = songs(kie, 3)
    chain = Chain(archive.bucket, ids)
    chain.go("music_complete")
    run = chain.run("generate_cover")
    run.extra |= {"dag_run": SimpleNamespace(run_type="asset_triggered")}
    fault = kie.control.add_fault("create", "code", code=402, msg="Insufficient credits", times=-1)
    with pytest.raises(AirflowRescheduleException):
        run.execute()
    kie.control.clear_faults(fault)
    assert [row["music_task_id"] for row in chain.go("generate_cover")] == ids
    assert covers_paid(kie) == sorted(ids)


def test_where_the_account_pays_for_a_part_of_a_batch_only_that_part_goes_on(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    ids = songs(kie, 3)
    kie.control.add_fault("create", "code", source_id=ids[1], code=402, msg="Insufficient credits", times=-1)
    chain = Chain(archive.bucket, ids)
    assert [row["music_task_id"] for row in chain.go()] == [ids[0], ids[2]]
    assert chain.failures("generate_cover") == {ids[1]: "out_of_credits"}


def test_soft_fail_skips_a_batch_in_which_no_song_goes_on(kie: SimulatorServer, archive: StoredFiles) -> None:
    chain = Chain(archive.bucket, songs(kie, 2, state="SENSITIVE_WORD_ERROR", error_message="the word X"))
    run = chain.run("music_complete")
    skipping = run.make()
    skipping.soft_fail = True
    with pytest.raises(AirflowSkipException, match="the word X"):
        replace(run, make=lambda: skipping).attempt()


def test_a_batch_in_which_no_song_goes_on_fails_and_tells_the_report_of_each(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    ids = songs(kie, 2, state="SENSITIVE_WORD_ERROR", error_message="the word X is not allowed")
    chain = Chain(archive.bucket, ids)
    run = chain.run("music_complete")
    made = run.make()
    object.__setattr__(run, "make", lambda: made)
    with pytest.raises(KieBatchFailed, match="the word X is not allowed") as failed:
        run.attempt()
    record_failure({"exception": failed.value, "ti": run.ti, "task": made})  # type: ignore[typeddict-item]
    assert chain.failures("music_complete") == dict.fromkeys(ids, "content_rejected")


def test_the_log_has_at_most_five_lines_of_a_song_and_ends_with_a_table_failures_first(
    kie: SimulatorServer, archive: StoredFiles, caplog: pytest.LogCaptureFixture
) -> None:
    ids = songs(kie, 3)
    kie.control.add_fault("file", "truncated", source_id=ids[1], times=-1)
    chain = Chain(archive.bucket, ids, archive_audio=True, archive_lyrics=True)
    for step in ("music_complete", "generate_cover", "cover_details", "archive_to_s3"):
        with caplog.at_level("INFO"):
            caplog.clear()
            chain.go(step)
        lines = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
        assert max(sum(song in line for line in lines) for song in ids) <= 5, lines
        assert not [line for line in lines if not any(song in line for song in ids)][6:], lines
    table = [line for line in lines if " | " in line]
    assert lines[-3:] == table
    assert table[0].startswith(f"{ids[1]} | left the batch | ")
    assert [line.split(" | ")[1] for line in table] == ["left the batch", "continues", "continues"]


def test_the_pages_of_a_run_know_the_songs_of_its_batches(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = songs(kie, 3)
    batch = Chain(bucket, ids).batch
    monkeypatch.setattr(metadata, "xcoms_of_run", lambda *asked: [[batch]])
    monkeypatch.setattr(metadata, "rendered_arguments", lambda *asked, **named: [])
    assert queries.songs_of_run("music_cover", "run") == dict.fromkeys(ids, queries.Place(bucket, "songs"))


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (1000, None, [25, 50, 100, 200, 200, 200, 200, 25]),
        (60, 1, [1] * 60),
        (45, 20, [20, 20, 5]),
        (2000, 1, [2] * 1000),
        (900, 500, [200, 200, 200, 200, 100]),
    ],
)
def test_batches_grow_and_their_number_has_a_limit(count: int, size: int | None, sizes: list[int]) -> None:
    assert [len(batch) for batch in in_batches(range(count), 1024, size)] == sizes


def test_a_batch_reads_its_own_songs_of_the_runs_list_whatever_was_listed_since(
    kie: SimulatorServer, bucket: str
) -> None:
    place, keys = open_bucket("aws_default", bucket), ArchiveKeys("songs")
    lists = [[{"music_task_id": f"{name}é"} for name in names] for names in ("abc", "de")]
    first, second = write_songs(place, keys, "dag/run/song_list", lists)
    write_songs(place, keys, "dag/run/song_list", lists[::-1])
    assert [read_songs(place, batch) for batch in (first, second)] == lists
    assert (second["first"], second["songs"]) == (4, 2)


def test_one_batch_of_an_account_sends_at_a_time_and_the_next_one_takes_its_turn_in_the_triggerer(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(song_tasks, "TURN_HERE", 0.0)
    ids = songs(kie, 3)
    chain = Chain(archive.bucket, ids)
    chain.go("music_complete")
    other = KieHook().limiter(bulk=True).turn("another batch")
    assert other.take(0.5) == 0.0
    run = chain.run("generate_cover")
    with pytest.raises(TaskDeferred) as waits:
        run.execute()
    assert covers_paid(kie) == []
    trigger = waits.value.trigger
    assert isinstance(trigger, KieCreateTurnTrigger)
    (event,) = asyncio.run(_events(KieCreateTurnTrigger(**trigger.serialize()[1])))
    with pytest.raises(TaskDeferred) as made:
        run.wake(waits.value.method_name, {"event": event})
    assert covers_paid(kie) == sorted(ids)
    assert [row["music_task_id"] for row in run.resume(made.value)] == ids
    assert other.take(60.0) == 0.0  # the batch has given it back


def test_a_turn_that_is_free_in_a_moment_is_waited_for_by_the_worker(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = Chain(archive.bucket, songs(kie, 2))
    chain.go("music_complete")
    other = KieHook().limiter(bulk=True).turn("another batch")
    assert other.take(60.0) == 0.0
    monkeypatch.setattr(song_tasks, "TURN_PAUSE", 0.01)
    clock = SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=lambda _: other.give_back())
    monkeypatch.setattr(song_tasks, "time", clock)
    with pytest.raises(TaskDeferred) as made:
        chain.run("generate_cover").execute()
    assert isinstance(made.value.trigger, KieTaskTrigger)
    assert len(covers_paid(kie)) == 2


async def _events(trigger: KieCreateTurnTrigger) -> list[dict[str, Any]]:
    return [event.payload async for event in trigger.run()]


@pytest.mark.parametrize("step", ["music_complete", "generate_cover"])
def test_a_triggerer_that_cannot_wait_for_a_batch_ends_the_attempt(
    kie: SimulatorServer, archive: StoredFiles, step: str
) -> None:
    if step == "music_complete":
        kie.control.add_fault("task", "takes", kind="music", seconds=3600, times=-1)
    chain = Chain(archive.bucket, songs(kie, 2, state="TEXT_SUCCESS" if step == "music_complete" else "SUCCESS"))
    if step == "generate_cover":
        chain.go("music_complete")
    run = chain.run(step)
    with pytest.raises(TaskDeferred) as left:
        run.execute()
    event = event_of(Outcome.FAILED, TaskRecord(""), KieConnectionInvalid("the key cannot be read"))
    with pytest.raises(KieConnectionInvalid, match="the key cannot be read"):
        run.wake(left.value.method_name, {**(left.value.kwargs or {}), "event": event})


def test_a_song_that_was_archived_once_and_is_incomplete_now_is_not_called_archived(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    ids = songs(kie, 2)
    chain = Chain(archive.bucket, ids)
    chain.go()
    archive.client.delete_object(Bucket=archive.bucket, Key=f"songs/{ids[0]}/manifest.json")
    archive.client.delete_object(Bucket=archive.bucket, Key=f"songs/{ids[0]}/cover-1.png")
    kie.control.add_fault("file", "truncated", source_id=ids[0], times=-1)
    chain.runs["archive_to_s3"] = chain.run("archive_to_s3").cleared()
    assert [row["music_task_id"] for row in chain.go("archive_to_s3")] == ids[1:]
    assert set(chain.failures("archive_to_s3")) == {ids[0]}


def test_where_the_connection_names_a_form_a_batch_asks_in_no_other(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    kie.control.set(ids_between_forms="separate", reads_across_forms=True)
    chain = Chain(archive.bucket, songs(kie, 2, form="unified"))
    chain.go("music_complete")
    extra = {"rate_limit": 1000, "api": "dedicated"}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))
    with pytest.raises(KieBatchFailed, match="does not exist"):
        chain.go("generate_cover")
    assert not covers_paid(kie)


def test_each_song_of_a_batch_has_its_own_event_which_leads_to_its_manifest(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    ids = songs(kie, 3)
    chain = Chain(archive.bucket, ids)
    chain.go("music_complete", "generate_cover", "cover_details")
    run, sent = chain.run("archive_to_s3"), OutletEventAccessors()
    transfer = run.make()
    transfer.outlets = [assets.COVER]
    transfer.execute({**run.context(transfer), "outlet_events": sent})
    assert sent[assets.COVER].partition_keys == set(ids)
    assert sent[assets.COVER].extra == {"bucket": archive.bucket, "prefix": "songs", "kie_conn_id": "kie_default"}
