"""A run works on its songs until Airflow says that it has ended, or that it is not there."""

from __future__ import annotations

import pytest
from airflow.sdk.api.datamodels._generated import DagRunState
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import DagRunStateResult, ErrorResponse

from airflow_kie.durable.active_runs import ActiveRuns


class Answers:
    """A task instance whose supervisor tells a run's state, in the type in which Airflow's SDK hands it on."""

    def __init__(self, state: str | int) -> None:
        self.state = state

    def get_dagrun_state(self, dag_id: str, run_id: str) -> DagRunState:
        if isinstance(self.state, int):
            detail = {"status_code": self.state, "message": "m", "detail": None}
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))
        return DagRunStateResult(state=DagRunState(self.state)).state


def active(state: str | int) -> bool:
    return ActiveRuns(Answers(state)).has("music_cover", "event__1")


@pytest.mark.parametrize("state", ["queued", "running", 500])
def test_a_run_that_goes_on_is_active_and_so_is_one_of_which_airflow_says_nothing_now(state: str | int) -> None:
    assert active(state)


@pytest.mark.parametrize("state", ["success", "failed", 404])
def test_a_run_that_has_ended_or_was_deleted_is_not(state: str | int) -> None:
    assert not active(state)
