"""The trace of a poll that found what a callback should have announced."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType, TaskDeferred
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_connections import kie_connection
from airflow_kie.monitoring.callback_health import parsed_poll_hit, poll_variable_of, record_poll_hit
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_task import TaskRun, Variables
from kie_simulator.server import SimulatorServer

NAME = poll_variable_of("kie_default")
EXPECTED = {"rate_limit": 1000, "callback_url": "https://airflow.example.com", "webhook_secret": "test-secret"}


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Variables:
    kept = Variables()
    monkeypatch.setattr("airflow.sdk.Variable", kept)
    return kept


def cover_run(kie: SimulatorServer) -> TaskRun:
    kie.control.set(cover_seconds=0.5)
    song = kie.control.make_music("Velvet Harbour")[0].task_id
    return TaskRun(
        lambda: KieGenerateCoverOperator(
            task_id="generate_cover", music_task_id=song, poll_interval=0.05, deferrable=True
        )
    )


@pytest.fixture
def expecting(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=EXPECTED))


@pytest.mark.usefixtures("expecting")
def test_an_end_that_a_poll_found_is_recorded_where_a_callback_was_expected(
    kie: SimulatorServer, variables: Variables
) -> None:
    cover_run(kie).attempt()
    recorded = parsed_poll_hit(variables.rows[NAME])
    assert recorded is not None
    assert abs(datetime.now(UTC) - recorded) < timedelta(minutes=5)


@pytest.mark.usefixtures("expecting")
def test_an_end_that_a_callback_announced_is_not_recorded(kie: SimulatorServer, variables: Variables) -> None:
    run = cover_run(kie)
    with pytest.raises(TaskDeferred) as deferred:
        run.execute()
    kie.control.advance(10)
    run.wake(deferred.value.method_name, {"event": {"outcome": "wake_up"}})
    assert variables.rows == {}


def test_without_callbacks_nothing_is_recorded(kie: SimulatorServer, variables: Variables) -> None:
    cover_run(kie).attempt()
    assert variables.rows == {}


def test_many_ends_are_one_record_a_minute(variables: Variables) -> None:
    long_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    just_now = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
    for before, written in ((long_ago, True), (just_now, False), ("nonsense", True)):
        variables.rows[NAME] = before
        record_poll_hit("kie_default")
        assert (variables.rows[NAME] != before) is written


@pytest.mark.usefixtures("expecting")
def test_a_record_that_cannot_be_written_does_not_fail_the_task(
    kie: SimulatorServer, variables: Variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    monkeypatch.setattr(variables, "set", refuse)
    assert cover_run(kie).attempt()
