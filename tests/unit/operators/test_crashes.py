"""A worker may die at any moment of a paid task: the next attempt goes on with what is paid."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_kie.client.errors import KieCreateInDoubt, KieWrongParent
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_task import FakeTaskStateStore, TaskRun, WorkerCrash
from kie_simulator.server import SimulatorServer

Crash = Callable[[str, Any, str], bool]


def at(progress: str, moment: str) -> Crash:
    """Return a crash beside the write of a progress."""
    return lambda key, value, when: value.get("progress") == progress and when == moment


BEFORE_POST = at("sending", "after")
ID_NOT_STORED = at("sent", "before")
ID_STORED = at("sent", "after")


def cover_run(song: str, crash: Crash | None = None, **options: Any) -> TaskRun:
    def make() -> KieGenerateCoverOperator:
        settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True} | options
        return KieGenerateCoverOperator(task_id="generate_cover", music_task_id=song, **settings)

    return TaskRun(make, FakeTaskStateStore(crash))


def music_run(crash: Crash | None = None, **options: Any) -> TaskRun:
    def make() -> KieGenerateMusicOperator:
        settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True} | options
        return KieGenerateMusicOperator(task_id="generate_music", prompt="rain on a roof", **settings)

    return TaskRun(make, FakeTaskStateStore(crash))


def crash_and_repair(run: TaskRun) -> TaskRun:
    """Let the first attempt die and return the next one, in which nothing crashes."""
    with pytest.raises(WorkerCrash):
        run.execute()
    run.store.crash = lambda key, value, when: False
    return run.retried()


@pytest.fixture
def song(kie: SimulatorServer) -> str:
    return kie.control.make_music("Velvet Harbour")[0].task_id


@pytest.mark.parametrize("crash", [BEFORE_POST, ID_NOT_STORED, ID_STORED], ids=["before_post", "no_id", "id_stored"])
def test_a_cover_is_paid_once_wherever_the_worker_dies(kie: SimulatorServer, song: str, crash: Crash) -> None:
    cover_task_id = crash_and_repair(cover_run(song, crash)).attempt()
    (charge,) = kie.control.ledger("cover")
    assert charge["task_id"] == cover_task_id


def test_a_cover_is_paid_once_when_the_worker_dies_after_it_has_deferred(kie: SimulatorServer, song: str) -> None:
    run = cover_run(song)
    with pytest.raises(TaskDeferred):
        run.execute()
    (charge,) = kie.control.ledger("cover")
    assert run.retried().attempt() == charge["task_id"]
    assert len(kie.control.ledger("cover")) == 1


@pytest.mark.parametrize("crash", [BEFORE_POST, ID_NOT_STORED], ids=["before_post", "no_id"])
def test_music_whose_create_is_in_doubt_is_not_sent_again_and_says_how_to_adopt_it(
    kie: SimulatorServer, crash: Crash
) -> None:
    attempt = crash_and_repair(music_run(crash))
    sent = len(kie.control.ledger("music"))
    with pytest.raises(KieCreateInDoubt, match=r"may have made and charged one task.*kie\.ai/logs.*adopt_task_id"):
        attempt.attempt()
    assert len(kie.control.ledger("music")) == sent


def test_music_in_doubt_stays_in_doubt_for_retries_and_clears(kie: SimulatorServer) -> None:
    attempt = crash_and_repair(music_run(ID_NOT_STORED))
    for again in (attempt, attempt.retried(), attempt.cleared()):
        with pytest.raises(KieCreateInDoubt):
            again.attempt()
    assert len(kie.control.ledger("music")) == 1


@pytest.mark.parametrize("fault", ["reset_after", "html", "malformed", "empty"])
def test_music_whose_answer_is_lost_is_in_doubt_and_is_not_sent_again(kie: SimulatorServer, fault: str) -> None:
    kie.control.add_fault("create", fault, kind="music", after=True)
    run = music_run()
    for attempt in (run, run.retried()):
        with pytest.raises(KieCreateInDoubt):
            attempt.attempt()
    assert len(kie.control.ledger("music")) == 1


@pytest.mark.parametrize("fault", ["reset_after", "html", "malformed", "empty"])
def test_a_cover_whose_answer_is_lost_is_adopted_by_the_retry(kie: SimulatorServer, song: str, fault: str) -> None:
    kie.control.add_fault("create", fault, kind="cover", after=True)
    run = cover_run(song)
    with pytest.raises(Exception, match="makes it only once per song"):
        run.attempt()
    assert run.retried().attempt() == kie.control.ledger("cover")[0]["task_id"]
    assert len(kie.control.ledger("cover")) == 1


def test_music_that_died_after_its_id_was_stored_is_paid_once(kie: SimulatorServer) -> None:
    music_task_id = crash_and_repair(music_run(ID_STORED)).attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("music")] == [music_task_id]


def test_a_person_adopts_the_task_that_was_in_doubt(kie: SimulatorServer) -> None:
    attempt = crash_and_repair(music_run(ID_NOT_STORED))
    with pytest.raises(KieCreateInDoubt):
        attempt.attempt()
    paid = kie.control.ledger("music")[0]["task_id"]
    cleared = TaskRun(music_run(adopt_task_id=paid).make, attempt.store, attempt.cleared().ti)
    assert cleared.attempt() == paid
    assert len(kie.control.ledger("music")) == 1


def test_a_task_that_a_person_gives_is_taken_instead_of_the_stored_one(kie: SimulatorServer, song: str) -> None:
    other = cover_run(kie.control.make_music("Elsewhere")[0].task_id).attempt()
    run = cover_run(song)
    run.attempt()
    cleared = TaskRun(cover_run(song, adopt_task_id=other).make, run.store, run.cleared().ti)
    with pytest.raises(KieWrongParent, match=other):
        cleared.attempt()
    assert len(kie.control.ledger("cover")) == 2


def test_an_adopted_task_that_failed_is_replaced_once_and_not_adopted_again(kie: SimulatorServer, song: str) -> None:
    kie.control.add_fault("task", "fail", kind="cover")
    failed = cover_run(song, wait_for_completion=False).attempt()
    run = cover_run(song, adopt_task_id=failed)
    second = run.attempt()
    assert run.retried().attempt() == second
    assert [charge["task_id"] for charge in kie.control.ledger("cover")] == [failed, second]


def test_a_wait_whose_store_was_emptied_goes_on_with_the_task_of_the_event(kie: SimulatorServer) -> None:
    run = music_run()
    with pytest.raises(TaskDeferred) as deferred:
        run.execute()
    run.store.rows.clear()
    assert run.resume(deferred.value) == kie.control.ledger("music")[0]["task_id"]
    assert len(kie.control.ledger("music")) == 1


def test_a_task_that_failed_at_kie_is_replaced_and_both_are_remembered(kie: SimulatorServer, song: str) -> None:
    kie.control.add_fault("task", "fail", kind="cover")
    run = cover_run(song)
    second = run.attempt()
    first, charged = (charge["task_id"] for charge in kie.control.ledger("cover"))
    assert (charged, run.store.record(f"cover/{song}")["failed_ids"]) == (second, [first])


def test_a_retry_after_a_replacement_goes_on_with_the_new_task(kie: SimulatorServer, song: str) -> None:
    kie.control.add_fault("task", "fail", kind="cover")
    run = cover_run(song)
    second = run.attempt()
    assert run.retried().attempt() == second
    assert len(kie.control.ledger("cover")) == 2


def test_records_never_expire_by_themselves(kie: SimulatorServer, song: str) -> None:
    run = cover_run(song)
    run.attempt()
    assert set(run.store.retentions) == {NEVER_EXPIRE}


def changing_prompts(*prompts: str) -> TaskRun:
    """Return a run whose prompt renders differently in every leg, as a template with a time in it does."""
    left = list(prompts)

    def make() -> KieGenerateMusicOperator:
        prompt = left.pop(0) if len(left) > 1 else left[0]
        return KieGenerateMusicOperator(task_id="generate_music", prompt=prompt, deferrable=True)

    return TaskRun(make, FakeTaskStateStore())


def test_a_retry_whose_prompt_renders_differently_goes_on_with_the_song_that_is_paid(kie: SimulatorServer) -> None:
    run = changing_prompts("rain at noon", "rain at one", "rain at two")
    with suppress(TaskDeferred):  # whether it waits depends on how fast the song is
        run.execute()
    with suppress(TaskDeferred):  # whether it waits depends on how fast the song is
        run.retried().execute()
    assert len(kie.control.ledger("music")) == 1


def test_a_clear_with_another_prompt_is_another_song_and_with_the_same_one_is_not(kie: SimulatorServer) -> None:
    run = changing_prompts("rain", "rain", "snow")
    for run_again in (run, run.cleared(), run.cleared().cleared()):
        with suppress(TaskDeferred):  # whether it waits depends on how fast the song is
            run_again.execute()
    assert len(kie.control.ledger("music")) == 2
