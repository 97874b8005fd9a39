"""KieGenerateCoverOperator: one cover for a song, whatever KIE answers and whoever asked before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_kie.client.errors import (
    KieContentRejected,
    KieDuplicateWithoutId,
    KieError,
    KieFailedForGood,
    KieInvalidRequest,
    KieOutOfCredits,
    KieUnauthorized,
    KieWaitTimeout,
)
from airflow_kie.lifecycle.deadline import end_of_wait
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Rules
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_task import FakeTaskStateStore, StoredFiles, TaskRun, run_trigger, stored_trigger
from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie
from paid_requests import InBucket, recorded

both_modes = pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "sync"])


def cover_run(song: str, **options: Any) -> TaskRun:
    settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": False} | options
    return TaskRun(lambda: KieGenerateCoverOperator(task_id="generate_cover", music_task_id=song, **settings))


def song(kie: SimulatorServer) -> str:
    return kie.control.make_music("Velvet Harbour")[0].task_id


def made_by_a_stranger(kie: SimulatorServer, music: str) -> str:
    """Return the cover task that another program with the same key has made: no ledger of ours knows it."""
    client = Kie(kie)
    cover = client.create_cover(music)["data"]["taskId"]
    client.close()
    return str(cover)


def paid(kie: SimulatorServer) -> list[str]:
    return [charge["task_id"] for charge in kie.control.ledger("cover")]


@both_modes
def test_the_id_of_the_cover_task_is_returned_once_it_has_ended(kie: SimulatorServer, deferrable: bool) -> None:
    kie.control.set(cover_seconds=0.5)
    cover = cover_run(song(kie), deferrable=deferrable).attempt()
    (task,) = kie.control.tasks("cover")
    assert (task["task_id"], task["succeeded"]) == (cover, True)


@both_modes
def test_a_deadline_names_the_task_and_the_retry_goes_on_with_it(kie: SimulatorServer, deferrable: bool) -> None:
    kie.control.set(cover_seconds=3600.0)
    run = cover_run(song(kie), deferrable=deferrable, wait_timeout=0.3)
    with pytest.raises(KieWaitTimeout) as told:
        run.attempt()
    assert paid(kie) == [told.value.facts.task_id]
    kie.control.advance(3600)
    assert run.retried().attempt() == told.value.facts.task_id
    assert len(paid(kie)) == 1


@both_modes
def test_a_retry_keeps_the_deadline_and_a_clear_begins_a_new_one(kie: SimulatorServer, deferrable: bool) -> None:
    kie.control.set(cover_seconds=3600.0)
    music = song(kie)
    run = cover_run(music, deferrable=deferrable, wait_timeout=0.3)
    with pytest.raises(KieWaitTimeout):
        run.attempt()
    first = run.store.record(f"deadline/cover/{music}")
    with pytest.raises(KieWaitTimeout):
        run.retried().execute()
    assert run.store.record(f"deadline/cover/{music}") == first
    with pytest.raises((KieWaitTimeout, TaskDeferred)):
        run.cleared().execute()
    assert run.store.record(f"deadline/cover/{music}")["at"] > first["at"]
    assert len(paid(kie)) == 1


@both_modes
def test_tasks_that_fail_again_and_again_end_it_after_a_limited_number(kie: SimulatorServer, deferrable: bool) -> None:
    kie.control.add_fault("task", "fail", kind="cover", times=-1)
    run = cover_run(song(kie), deferrable=deferrable)
    for attempt in (run, run.retried()):
        with pytest.raises(KieFailedForGood, match="3 tasks failed"):
            attempt.attempt()
    assert len(paid(kie)) == 3


def test_a_task_that_replaces_a_failed_one_has_its_own_time(kie: SimulatorServer) -> None:
    music = song(kie)
    kie.control.add_fault("task", "fail", kind="cover")
    run = cover_run(music, deferrable=True, wait_timeout=600)
    with pytest.raises(TaskDeferred) as first:
        run.execute()
    event = run_trigger(stored_trigger(first.value))
    with pytest.raises(TaskDeferred) as second:
        run.wake(first.value.method_name, {**(first.value.kwargs or {}), "event": event})
    ends = [deferred.value.trigger.deadline for deferred in (first, second)]
    assert ends[0] == run.store.record(f"deadline/cover/{music}")["at"] < ends[1]
    record = TaskRecord.from_json(run.store.record(f"cover/{music}"))
    assert end_of_wait(record, ends[0], Rules(timeout=600)) == ends[1]  # as for one that blocks a worker


def test_without_waiting_the_id_comes_back_at_once_and_is_stored(kie: SimulatorServer) -> None:
    kie.control.set(cover_seconds=3600.0)
    run = cover_run(song(kie), wait_for_completion=False)
    cover = run.execute()
    assert paid(kie) == [cover]
    assert run.retried().execute() == cover
    assert len(paid(kie)) == 1


# --- duplicates ---


@pytest.mark.parametrize("http", [200, 400, 409])
@pytest.mark.parametrize("code", [400, 409])
@pytest.mark.parametrize("data", ["object", "string"])
def test_a_duplicate_that_names_its_task_is_adopted(kie: SimulatorServer, http: int, code: int, data: str) -> None:
    music = song(kie)
    cover = made_by_a_stranger(kie, music)
    kie.control.set(duplicate={"http": http, "code": code, "data": data})
    run = cover_run(music)
    assert run.attempt() == cover
    assert (paid(kie), run.store.record(f"cover/{music}")["adopted"]) == ([cover], True)


@pytest.mark.parametrize("http", [200, 400, 409])
@pytest.mark.parametrize("code", [400, 409])
def test_a_duplicate_that_names_no_task_fails_and_says_how_to_adopt_one(
    kie: SimulatorServer, http: int, code: int
) -> None:
    music = song(kie)
    cover = made_by_a_stranger(kie, music)
    kie.control.set(duplicate={"http": http, "code": code, "data": "null"})
    run = cover_run(music)
    for attempt in (run, run.retried()):
        with pytest.raises(KieDuplicateWithoutId, match=r"kie\.ai/logs.*adopt_task_id"):
            attempt.attempt()
    adopting = replace(run.cleared(), make=cover_run(music, adopt_task_id=f" {cover}\n").make)
    assert adopting.attempt() == cover
    assert len(paid(kie)) == 1


def test_a_second_run_takes_the_task_from_the_ledger_and_asks_for_none(kie: SimulatorServer, bucket: str) -> None:
    music = song(kie)
    kie.control.set(duplicate="none")
    cover = cover_run(music).attempt()
    assert cover_run(music).attempt() == cover
    assert kie.control.state()["requests"]["POST /api/v1/suno/cover/generate"] == 1
    assert len(paid(kie)) == 1


def test_a_duplicate_without_an_id_is_over_when_somebody_names_the_task(
    kie: SimulatorServer, bucket: str, archive: StoredFiles
) -> None:
    music = song(kie)
    cover = made_by_a_stranger(kie, music)
    kie.control.set(duplicate={"data": "null"})
    run = cover_run(music)
    with pytest.raises(KieDuplicateWithoutId):
        run.attempt()
    assert cover_run(music, adopt_task_id=cover).attempt() == cover  # a person, in another run
    assert run.cleared().attempt() == cover
    assert recorded(InBucket(archive)) == ["1.intent", "1.refused", "2.intent", f"2.task.{cover}"]


def test_the_ledger_names_the_task_before_it_is_waited_for(
    kie: SimulatorServer, bucket: str, archive: StoredFiles
) -> None:
    with pytest.raises(TaskDeferred):
        cover_run(song(kie), deferrable=True).execute()
    assert recorded(InBucket(archive)) == ["1.intent", f"1.task.{paid(kie)[0]}"]


def test_a_leg_that_pays_nothing_opens_no_bucket_and_no_database(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    music = song(kie)
    run = cover_run(music, bucket=bucket, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        run.execute()
    for opens in ("airflow_kie.hooks.ledger.open_ledger", "airflow_kie.hooks.archive.open_bucket"):
        monkeypatch.setattr(opens, lambda *_: pytest.fail("This leg pays nothing."))
    monkeypatch.setattr("airflow_kie.durable.requests.open_ledger", lambda *_: pytest.fail("This leg pays nothing."))
    assert run.resume(deferred.value) == paid(kie)[-1]


def test_a_task_that_failed_is_not_taken_from_the_ledger_again(
    kie: SimulatorServer, bucket: str, archive: StoredFiles
) -> None:
    music = song(kie)
    kie.control.set(duplicate="none")
    kie.control.add_fault("task", "fail", kind="cover")
    second = cover_run(music).attempt()
    assert cover_run(music).attempt() == second
    first = paid(kie)[0]
    assert recorded(InBucket(archive)) == ["1.failed", "1.intent", f"1.task.{first}", "2.intent", f"2.task.{second}"]
    assert len(paid(kie)) == 2


def test_three_failed_tasks_of_one_run_are_the_end_for_every_run(kie: SimulatorServer, bucket: str) -> None:
    music = song(kie)
    kie.control.add_fault("task", "fail", kind="cover", times=-1)
    for run in (cover_run(music), cover_run(music), cover_run(music)):
        with pytest.raises(KieFailedForGood, match="3 tasks failed"):
            run.attempt()
    assert len(paid(kie)) == 3


# --- whose cover ---


def test_a_list_that_comes_back_reversed_gives_no_song_the_cover_of_another(kie: SimulatorServer) -> None:
    songs = [song(kie), song(kie)]
    stores = [FakeTaskStateStore(), FakeTaskStateStore()]  # one for each map index
    first = {
        music: replace(cover_run(music), store=store).attempt() for music, store in zip(songs, stores, strict=True)
    }
    again = {
        music: replace(cover_run(music), store=store).cleared().attempt()
        for music, store in zip(reversed(songs), stores, strict=True)
    }
    assert again == first
    assert len(paid(kie)) == 2


# --- refusals ---


@pytest.mark.parametrize(
    ("code", "error"),
    [(401, KieUnauthorized), (402, KieOutOfCredits), (422, KieInvalidRequest), (505, KieInvalidRequest)],
)
def test_a_refusal_pays_nothing_and_the_retry_asks_again(
    kie: SimulatorServer, code: int, error: type[KieError]
) -> None:
    kie.control.add_fault("create", "code", kind="cover", code=code)
    run = cover_run(song(kie))
    with pytest.raises(error):
        run.attempt()
    assert paid(kie) == []
    assert [run.retried().attempt()] == paid(kie)


def test_content_that_kie_rejects_is_not_paid_for_again(kie: SimulatorServer) -> None:
    kie.control.add_fault("task", "fail", kind="music", state="SENSITIVE_WORD_ERROR", times=-1)
    run = TaskRun(
        lambda: KieGenerateMusicOperator(task_id="generate", prompt="x", deferrable=False, poll_interval=0.05)
    )
    for attempt in (run, run.retried()):
        with pytest.raises(KieContentRejected):
            attempt.attempt()
    assert len(kie.control.ledger("music")) == 1


def test_a_song_without_an_id_is_refused_before_anything_is_sent(kie: SimulatorServer) -> None:
    with pytest.raises(KieInvalidRequest, match="has no music_task_id"):
        cover_run("").attempt()
    assert kie.control.state()["requests"] == {}


# --- what it says and sends ---


def test_a_create_always_names_a_callback_and_never_a_strangers(kie: SimulatorServer) -> None:
    cover_run(song(kie)).attempt()
    (task,) = kie.control.tasks("cover")
    assert task["callback_url"] == "https://callback.airflow-kie.invalid/none"


def test_killing_the_task_says_that_kie_goes_on_and_that_the_id_is_kept(
    kie: SimulatorServer, capsys: pytest.CaptureFixture[str]
) -> None:
    cover_run(song(kie)).make().on_kill()
    assert "KIE cannot cancel a task" in capsys.readouterr().out


def test_an_event_of_a_newer_version_is_understood(kie: SimulatorServer) -> None:
    run = cover_run(song(kie), deferrable=True)
    with pytest.raises(TaskDeferred):
        run.execute()
    assert (
        run.wake("execute_complete", {"event": {"outcome": "finished_early", "seen": {"by": "callback"}}})
        == paid(kie)[0]
    )
