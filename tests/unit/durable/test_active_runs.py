"""A run works on its songs until Airflow says that it has ended, or that it is not there."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_kie.durable import active_runs
from airflow_kie.durable.active_runs import ActiveRuns


@dataclass
class Answers:
    """A task instance whose supervisor counts runs, and the questions that it was asked.

    :param states: run id → state; a run that is not among them was deleted.
    """

    states: dict[str, str]
    refuses: bool = False
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        assert dag_id == "music_cover"
        self.asked.append(tuple(run_ids))
        if self.refuses:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 500}))
        return sum(self.states.get(run_id) in states for run_id in run_ids)


def runs(*names: str) -> list[tuple[str, str]]:
    return [("music_cover", name) for name in names]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_that_goes_on_is_active(state: str) -> None:
    assert ActiveRuns(Answers({"event__1": state})).has("music_cover", "event__1")


def test_a_run_of_which_airflow_says_nothing_now_is_active() -> None:
    assert ActiveRuns(Answers({}, refuses=True)).has("music_cover", "event__1")


@pytest.mark.parametrize("states", [{"event__1": "success"}, {"event__1": "failed"}, {}])
def test_a_run_that_has_ended_or_was_deleted_is_not(states: dict[str, str]) -> None:
    assert not ActiveRuns(Answers(states)).has("music_cover", "event__1")


@pytest.mark.parametrize("state", ["running", "success"])
def test_runs_that_all_go_on_or_have_all_ended_are_asked_about_in_one_question(state: str) -> None:
    answers = Answers(dict.fromkeys(("a", "b", "c"), state))
    known = ActiveRuns(answers)
    known.ask(runs("a", "b", "c"))
    assert [known.has(*run) for run in runs("a", "b", "c")] == [state == "running"] * 3
    assert answers.asked == [("a", "b", "c")]


def test_of_runs_of_which_only_some_go_on_each_is_known_by_itself() -> None:
    answers = Answers({"a": "running", "b": "success"})
    known = ActiveRuns(answers)
    known.ask(runs("a", "b", "c"))
    assert [known.has(*run) for run in runs("a", "b", "c")] == [True, False, False]


def test_a_question_names_a_bounded_number_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_runs, "AT_A_TIME", 2)
    answers = Answers({})
    ActiveRuns(answers).ask(runs("a", "b", "c"))
    assert answers.asked == [("a", "b"), ("c",)]


def test_airflows_own_task_instance_takes_such_a_question() -> None:
    assert {"dag_id", "run_ids", "states"} <= set(RuntimeTaskInstance.get_dr_count.__annotations__)
