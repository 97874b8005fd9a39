"""DAG cover_inbox leaves a song alone while the run that works on it goes on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRunState
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import DagRunStateResult, ErrorResponse

from airflow_kie.archive.pending import Working, new_pending
from airflow_kie.operators.reconcile import _is_active


class Answers:
    """A task instance whose supervisor tells a run's state, in the type in which Airflow's SDK hands it on."""

    def __init__(self, state: str | None) -> None:
        self.state = state

    def get_dagrun_state(self, dag_id: str, run_id: str) -> DagRunState:
        if self.state is None:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))
        return DagRunStateResult(state=DagRunState(self.state)).state


def active(state: str | None) -> bool:
    pending = new_pending("a" * 32, received_from="event", now=datetime.now(UTC))
    context: Any = {"ti": Answers(state)}
    return _is_active(context, pending.changed(working=Working(dag_id="music_cover", run_id="event__1")))


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_that_goes_on_is_active(state: str) -> None:
    assert active(state)


@pytest.mark.parametrize("state", ["success", "failed", None])
def test_a_run_that_has_ended_or_was_deleted_is_not(state: str | None) -> None:
    assert not active(state)
