"""Events, callbacks and details speak of one KIE task, and change that one's record alone."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import Ended, Read, Unreadable, decode_details
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.lifecycle.rules import Fetch, next_action
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.sensors.suno import KieCoverSensor
from airflow_kie.triggers.task import KieTaskTrigger
from airflow_task import TaskRun, run_trigger
from kie_answers import COVER_ID, OTHER_ID, answer, cover_data
from kie_simulator.server import SimulatorServer
from step_records import COVER_SENT, IMAGES, NOW, after, cover, waits

FAILED = {"outcome": "failed", "reason": "generation_failed", "code": 501, "message": "build failed"}
WAKE_UP = {"outcome": "wake_up"}
NAMED_BY_A_PERSON = "a1b2c3d4e5f60718293a4b5c6d7e8f90"


def song(kie: SimulatorServer) -> str:
    return kie.control.make_music("Velvet Harbour")[0].task_id


def paid(kie: SimulatorServer, kind: str) -> list[str]:
    return [charge["task_id"] for charge in kie.control.ledger(kind)]


def deferred_by(run: TaskRun, event: dict[str, Any] | None = None, before: TaskDeferred | None = None) -> TaskDeferred:
    """Return the wait that an attempt, or its going on after an event, leads to."""
    with pytest.raises(TaskDeferred) as deferred:
        if before is None:
            run.execute()
        else:
            run.wake(before.method_name, {**(before.kwargs or {}), "event": event})
    return deferred.value


def test_the_failure_of_a_task_does_not_condemn_the_one_that_a_person_named_meanwhile(kie: SimulatorServer) -> None:
    kie.control.set(cover_seconds=3600.0)
    music, adopted = song(kie), ""

    def make() -> KieGenerateCoverOperator:
        return KieGenerateCoverOperator(
            task_id="generate_cover", music_task_id=music, deferrable=True, adopt_task_id=adopted
        )

    run = TaskRun(make)
    wait = deferred_by(run)
    (first,) = paid(kie, "cover")
    adopted = NAMED_BY_A_PERSON
    deferred_by(run, {**FAILED, "task_id": first}, wait)
    stored = run.store.record(f"cover/{music}")
    assert paid(kie, "cover") == [first]
    assert (stored["task_id"], stored.get("failed_ids", [])) == (adopted, [])


def test_a_failure_of_another_task_leads_to_a_look_at_the_own_one() -> None:
    failure = errors.KieGenerationFailed("build failed", code=501)
    assert next_action(COVER_SENT, NOW, Ended(OTHER_ID, failure)) == Fetch(COVER_SENT)


def test_details_that_name_another_task_say_nothing_about_this_one() -> None:
    read = decode_details(task_kind("suno.cover"), COVER_ID, answer(cover_data(1, IMAGES, taskId=OTHER_ID)))
    assert isinstance(read, Unreadable)
    assert OTHER_ID in str(read.error)
    action = waits(after(COVER_SENT, (40, read), (80, read), (120, read)))
    assert (action.record.task_id, action.record.last_state) == (COVER_ID, None)


def test_details_that_name_no_task_are_those_of_the_one_that_was_asked_for() -> None:
    assert isinstance(cover(1, IMAGES, taskId=None), Read)


def test_a_sensor_reads_its_own_task_where_an_event_speaks_of_another(kie: SimulatorServer) -> None:
    music = song(kie)
    made = TaskRun(
        lambda: KieGenerateCoverOperator(task_id="generate_cover", music_task_id=music, deferrable=False)
    ).attempt()
    run = TaskRun(lambda: KieCoverSensor(task_id="cover_details", cover_task_id=made, deferrable=True))
    assert run.wake("execute_complete", {"event": {**FAILED, "task_id": OTHER_ID}})["cover_task_id"] == made


def test_a_wake_up_that_finds_an_emptied_store_goes_on_with_the_task_that_was_waited_for(kie: SimulatorServer) -> None:
    kie.control.set(music_seconds=3600.0)
    run = TaskRun(lambda: KieGenerateMusicOperator(task_id="generate", prompt="rain", deferrable=True))
    wait = deferred_by(run)
    (first,) = paid(kie, "music")
    run.store.rows.clear()
    deferred_by(run, WAKE_UP, wait)
    assert paid(kie, "music") == [first]


def test_the_event_of_a_trigger_names_its_task_even_where_the_record_cannot_be_read(kie: SimulatorServer) -> None:
    broken = {"kind": "suno.music", "task_id": "x", "known_at": "yesterday"}
    event = run_trigger(KieTaskTrigger("kie_default", broken, NOW))
    assert (event["outcome"], event["task_id"]) == ("failed", "x")
