"""A worker may die at any moment of a paid task: the next attempt goes on with what is paid."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_connections import kie_connection
from airflow_kie.client.errors import KieCreateInDoubt, KieLimiterUnavailable, KieWrongParent
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_task import FakeTaskStateStore, TaskRun, WorkerCrash
from kie_forms import FORMS
from kie_simulator.server import SimulatorServer
from paid_requests import POINTS, Entries, InDatabase, at_point, become_old, dying_at, recorded

PaidIn = Callable[[TaskRun], Entries]
every_point = pytest.mark.parametrize("point", POINTS)
ID_KNOWN = ("before task", "after task")
"""Points at which the record has KIE's id."""
LOST = pytest.mark.parametrize("fault", ["reset_after", "html", "malformed", "empty"])


def cover_run(song: str, **options: Any) -> TaskRun:
    def make() -> KieGenerateCoverOperator:
        settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True} | options
        return KieGenerateCoverOperator(task_id="generate_cover", music_task_id=song, **settings)

    return TaskRun(make, FakeTaskStateStore())


def music_run(**options: Any) -> TaskRun:
    def make() -> KieGenerateMusicOperator:
        settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True} | options
        return KieGenerateMusicOperator(task_id="generate_music", prompt="rain on a roof", **settings)

    return TaskRun(make, FakeTaskStateStore())


def here() -> Entries:
    """Return the ledger in the database, where it is by default."""
    return InDatabase(KieHook().ledger_database()[0])


def crash(run: TaskRun, point: str) -> TaskRun:
    """Let the first attempt die at a point and return the next one, in which nothing crashes."""
    with dying_at(point), pytest.raises(WorkerCrash):
        run.execute()
    return run.retried()


def creates(kie: SimulatorServer) -> int:
    return sum(number for asked, number in kie.control.state()["requests"].items() if asked.startswith("POST /api/"))


@pytest.fixture(autouse=True, params=FORMS)
def form(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Let KIE be asked in each of its forms, and name a cover that it has made before."""
    kie.control.set(unified_duplicate="same_id")
    extra = {"rate_limit": 1000, "api": request.param}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))
    return str(request.param)


@pytest.fixture
def song(kie: SimulatorServer, form: str) -> str:
    return kie.control.make_music("Velvet Harbour", form=form)[0].task_id


@every_point
def test_a_cover_is_paid_once_wherever_the_worker_dies(
    kie: SimulatorServer, paid_in: PaidIn, song: str, point: str
) -> None:
    again = crash(cover_run(song), point)
    become_old(paid_in(again))
    cover_task_id = again.attempt()
    (charge,) = kie.control.ledger("cover")
    assert charge["task_id"] == cover_task_id


@every_point
def test_a_cover_is_sent_again_only_where_its_answer_may_have_been_lost(
    kie: SimulatorServer, song: str, point: str
) -> None:
    kie.control.set(duplicate="none", unified_duplicate="new_task")
    again = crash(cover_run(song), point)
    become_old(here())
    again.attempt()
    assert len(kie.control.ledger("cover")) == (2 if point == "after post" else 1)
    repeated = [name for name in recorded(here()) if name.endswith(".repeated")]
    assert repeated == (["1.repeated"] if point in ("after intent", "before post", "after post") else [])
    assert again.ti.pushed == ({"made_twice": {"music_task_id": song}} if repeated else {})  # for the run's report


@every_point
def test_a_song_is_paid_once_wherever_the_worker_dies(kie: SimulatorServer, paid_in: PaidIn, point: str) -> None:
    again = crash(music_run(), point)
    sent = len(kie.control.ledger("music"))
    become_old(paid_in(again))
    if point in ("before intent", *ID_KNOWN):
        music_task_id = again.attempt()
        assert [charge["task_id"] for charge in kie.control.ledger("music")] == [music_task_id]
    else:
        with pytest.raises(
            KieCreateInDoubt, match=r"may have created and charged one task.*kie\.ai/logs.*adopt_task_id"
        ):
            again.attempt()
        assert len(kie.control.ledger("music")) == sent == (1 if point == "after post" else 0)


@pytest.mark.parametrize("point", ["after intent", "before post", "after post"])
def test_a_retry_waits_while_the_request_may_still_be_on_its_way(kie: SimulatorServer, point: str) -> None:
    again = crash(music_run(), point)
    before = creates(kie)
    for attempt in (again, again.retried(), again.cleared()):
        with pytest.raises(TaskDeferred):
            attempt.execute()
    assert creates(kie) == before


@every_point
def test_the_ledger_says_what_a_worker_that_died_has_left(kie: SimulatorServer, paid_in: PaidIn, point: str) -> None:
    run = music_run()
    crash(run, point)
    made = [f"1.task.{charge['task_id']}" for charge in kie.control.ledger("music")] if point == "after task" else []
    assert recorded(paid_in(run)) == ([] if point == "before intent" else ["1.intent", *made])


def test_a_cover_is_paid_once_when_the_worker_dies_after_it_has_deferred(kie: SimulatorServer, song: str) -> None:
    run = cover_run(song)
    with pytest.raises(TaskDeferred):
        run.execute()
    (charge,) = kie.control.ledger("cover")
    assert run.retried().attempt() == charge["task_id"]
    assert len(kie.control.ledger("cover")) == 1


def test_music_in_doubt_stays_in_doubt_for_retries_and_clears(kie: SimulatorServer) -> None:
    attempt = crash(music_run(), "after post")
    become_old(here())
    for again in (attempt, attempt.retried(), attempt.cleared()):
        with pytest.raises(KieCreateInDoubt):
            again.attempt()
    assert len(kie.control.ledger("music")) == 1


def test_the_error_of_a_doubt_says_whose_request_it_was(kie: SimulatorServer) -> None:
    attempt = crash(music_run(), "after post")
    become_old(here())
    with pytest.raises(
        KieCreateInDoubt, match=r"attempt 1 \(dag music_cover, map_index 0, run manual__[0-9a-f]+, task"
    ):
        attempt.attempt()


@LOST
def test_music_whose_answer_is_lost_is_in_doubt_and_is_not_sent_again(kie: SimulatorServer, fault: str) -> None:
    kie.control.add_fault("create", fault, kind="music", after=True)
    run = music_run()
    for attempt in (run, run.retried()):
        with pytest.raises(KieCreateInDoubt):
            attempt.attempt()
    assert len(kie.control.ledger("music")) == creates(kie) == 1
    assert recorded(here()) == ["1.intent", "1.unanswered"]


@LOST
def test_a_cover_whose_answer_is_lost_is_asked_for_once_more(kie: SimulatorServer, song: str, fault: str) -> None:
    kie.control.add_fault("create", fault, kind="cover", after=True)
    run = cover_run(song)
    cover = run.attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("cover")] == [cover]
    assert recorded(here()) == ["1.intent", "1.repeated", "1.unanswered", "2.intent", f"2.task.{cover}"]


@LOST
def test_a_cover_whose_answer_is_lost_twice_is_in_doubt(kie: SimulatorServer, song: str, fault: str) -> None:
    kie.control.add_fault("create", fault, kind="cover", after=True, times=2)
    run = cover_run(song)
    for attempt in (run, run.retried(), run.cleared()):
        with pytest.raises(KieCreateInDoubt, match="attempt 2 "):
            attempt.attempt()
    assert creates(kie) == 2


def test_a_store_that_fails_after_the_create_leaves_the_id_in_the_ledger(kie: SimulatorServer) -> None:
    run = music_run()

    def record_of_the_task(key: str, value: Any, when: str) -> bool:
        return key.startswith("music/") and bool(value.get("task_id")) and when == "before"

    run.store.crash = record_of_the_task
    with pytest.raises(WorkerCrash):
        run.execute()
    (charge,) = kie.control.ledger("music")
    assert recorded(here()) == ["1.intent", f"1.task.{charge['task_id']}"]
    run.store.crash = lambda key, value, when: False
    assert run.retried().attempt() == charge["task_id"]
    assert len(kie.control.ledger("music")) == 1


def test_a_sigterm_between_post_and_record_leaves_both_records(kie: SimulatorServer) -> None:
    run = music_run()
    task = run.make()
    before = signal.signal(signal.SIGTERM, lambda *_: task.on_kill())  # all that Airflow's task runner does at first
    try:
        with at_point("after post", lambda: os.kill(os.getpid(), signal.SIGTERM)):
            made = run.attempt()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert recorded(here()) == ["1.intent", f"1.task.{made}"]
    assert [charge["task_id"] for charge in kie.control.ledger("music")] == [made]


def test_a_ledger_that_fails_after_the_create_gets_the_id_from_the_next_attempt(kie: SimulatorServer) -> None:
    run = music_run()

    def down() -> None:
        raise KieLimiterUnavailable("the database is down")

    with at_point("before task", down), pytest.raises(KieLimiterUnavailable) as error:
        run.execute()
    (charge,) = kie.control.ledger("music")
    assert f"KIE task {charge['task_id']} exists and is not paid for again." in str(error.value)
    assert recorded(here()) == ["1.intent"]
    assert run.retried().attempt() == charge["task_id"]
    assert recorded(here()) == ["1.intent", f"1.task.{charge['task_id']}"]
    assert len(kie.control.ledger("music")) == 1


def test_a_process_that_was_frozen_between_claim_and_post_does_not_send(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_kie.lifecycle import claims

    monkeypatch.setattr(claims, "SEND_WITHIN", -1.0)  # the moment is over before the request can be sent
    run = music_run()

    def in_time() -> None:
        monkeypatch.setattr(claims, "SEND_WITHIN", 30.0)

    with at_point("before post", in_time):
        music_task_id = run.attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("music")] == [music_task_id]
    assert recorded(here()) == ["1.intent", "1.refused", "2.intent", f"2.task.{music_task_id}"]


def test_a_person_adopts_the_task_that_was_in_doubt(kie: SimulatorServer) -> None:
    attempt = crash(music_run(), "after post")
    become_old(here())
    with pytest.raises(KieCreateInDoubt):
        attempt.attempt()
    paid = kie.control.ledger("music")[0]["task_id"]
    cleared = TaskRun(music_run(adopt_task_id=paid).make, attempt.store, attempt.cleared().ti)
    assert cleared.attempt() == paid
    assert len(kie.control.ledger("music")) == 1
    assert cleared.cleared().attempt() == paid


def test_a_task_that_a_person_gives_is_taken_instead_of_the_stored_one(
    kie: SimulatorServer, song: str, form: str
) -> None:
    other = cover_run(kie.control.make_music("Elsewhere", form=form)[0].task_id).attempt()
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
