"""A list of requests in one task: each is paid once, and one that fails never stops another."""

from __future__ import annotations

import functools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred

from airflow_kie.client.errors import KieSomeFailed
from airflow_kie.operators.task import KieTaskOperator
from airflow_task import TaskRun
from kie_simulator.server import SimulatorServer

MUSIC = {"customMode": False, "instrumental": False, "model": "V5"}


def requests(*prompts: str) -> list[dict[str, Any]]:
    return [{"prompt": prompt, **MUSIC} for prompt in prompts]


def run_of(bodies: list[Any], **options: Any) -> TaskRun:
    def make() -> KieTaskOperator:
        settings: dict[str, Any] = {"poll_interval": 0.05, "deferrable": True} | options
        return KieTaskOperator(task_id="make", operation="suno.music", requests=bodies, **settings)

    return TaskRun(make)


@pytest.mark.parametrize("deferrable", [True, False])
def test_each_request_of_a_list_is_made_once_and_reported_in_its_order(kie: SimulatorServer, deferrable: bool) -> None:
    rows = run_of(requests("rain", "snow", "hail"), deferrable=deferrable).attempt()
    paid = {charge["task_id"] for charge in kie.control.ledger("music")}
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert {row["task_id"] for row in rows} == paid
    assert {row["status"] for row in rows} == {"done"}


def test_a_request_that_kie_refuses_stops_no_other_and_the_task_fails_at_the_end(kie: SimulatorServer) -> None:
    kie.control.add_fault("create", "code", kind="music", code=422, msg="The model does not exist", times=1)
    run = run_of(requests("rain", "snow", "hail"))
    with pytest.raises(KieSomeFailed, match=r"1 of 3 requests failed\. no\. [012]: .*The model does not exist"):
        run.attempt()
    assert sorted(row["status"] for row in run.ti.pushed["results"]) == ["done", "done", "refused"]
    assert len(kie.control.ledger("music")) == 2


def test_a_cleared_list_pays_for_nothing_again_whatever_its_order(kie: SimulatorServer, bucket: str) -> None:
    bodies = requests("rain", "snow", "hail")
    run = run_of(bodies)
    first = {row["task_id"] for row in run.attempt()}
    bodies.reverse()
    run.store.rows.clear()
    again = {row["task_id"] for row in run.cleared().attempt()}
    assert again == first
    assert len(kie.control.ledger("music")) == 3


def test_two_equal_requests_of_a_list_are_two_songs(kie: SimulatorServer) -> None:
    rows = run_of(requests("rain", "rain")).attempt()
    assert len({row["task_id"] for row in rows}) == len(kie.control.ledger("music")) == 2


def test_a_worker_that_dies_while_it_waits_goes_on_with_what_is_paid(kie: SimulatorServer) -> None:
    run = run_of(requests("rain", "snow"))
    with pytest.raises(TaskDeferred):
        run.execute()
    assert len(kie.control.ledger("music")) == 2
    assert {row["status"] for row in run.retried().attempt()} == {"done"}
    assert len(kie.control.ledger("music")) == 2


@pytest.mark.parametrize("damaged", ["no record", {"kind": "suno.music", "task_id": "x", "source": "damaged"}])
def test_a_damaged_record_of_a_list_that_is_waited_for_stops_no_other_and_is_read_from_the_ledger(
    kie: SimulatorServer, damaged: Any
) -> None:
    run = run_of(requests("rain", "snow"))
    with pytest.raises(TaskDeferred) as deferred:
        run.execute()
    one = next(iter(deferred.value.trigger.records))
    deferred.value.trigger.records[one] = deferred.value.kwargs["records"][one] = damaged
    assert {row["status"] for row in run.resume(deferred.value)} == {"done"}
    assert len(kie.control.ledger("music")) == 2


def test_a_song_that_fails_at_kie_is_made_again_and_the_others_are_not(kie: SimulatorServer) -> None:
    kie.control.add_fault("task", "fail", kind="music", times=1)
    rows = run_of(requests("rain", "snow", "hail")).attempt()
    assert {row["status"] for row in rows} == {"done"}
    assert len(kie.control.ledger("music")) == 4


def test_a_request_that_lacks_a_field_is_not_sent_and_stops_no_other(kie: SimulatorServer) -> None:
    run = run_of([{"prompt": "snow", "model": ""}, "no request", *requests("rain")])
    with pytest.raises(KieSomeFailed, match=r"2 of 3 .* lacks model in request no\. 0; it was not sent"):
        run.attempt()
    assert [row["status"] for row in run.ti.pushed["results"]] == ["refused", "refused", "done"]
    assert len(kie.control.ledger("music")) == 1


def test_a_request_that_the_catalogue_knows_to_be_wrong_is_not_sent_unless_it_is_newer(
    kie: SimulatorServer,
) -> None:
    pictures = [{"model": "z-image", "input": {"prompt": "fox", "aspect_ratio": ratio}} for ratio in ("1:1", "5:7")]

    def run(**options: Any) -> list[Any]:
        make = functools.partial(KieTaskOperator, task_id="make", operation="market", requests=pictures, **options)
        return list(TaskRun(functools.partial(make, poll_interval=0.05, deferrable=False)).attempt())

    kie.control.set(task_seconds=0)
    with pytest.raises(KieSomeFailed, match=r"must be one of 1:1, 4:3, .* not '5:7' in request no\. 1; it was not"):
        run()
    assert len(kie.control.ledger("jobs")) == kie.control.state()["requests"]["POST /api/v1/jobs/createTask"] == 1
    with pytest.raises(KieSomeFailed, match=r"1 of 2 requests failed"):
        run(check_fields=False)
    assert kie.control.state()["requests"]["POST /api/v1/jobs/createTask"] > 1


def test_after_an_outage_a_prompt_that_renders_differently_is_not_paid_again(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__OUTAGE_PROBE_SECONDS", "0.01")
    kie.control.add_fault("create", "code", kind="music", code=402, msg="no credits", times=1)
    bodies = requests("rain at 10:00", "snow at 10:00")
    run = replace(run_of(bodies, deferrable=False), extra={"dag_run": SimpleNamespace(run_type="scheduled")})
    with pytest.raises(AirflowRescheduleException):
        run.execute()
    assert len(kie.control.ledger("music")) == 1
    bodies[:] = requests("rain at 10:05", "snow at 10:05")
    assert {row["status"] for row in run.execute()} == {"done"}
    assert len(kie.control.ledger("music")) == 2
