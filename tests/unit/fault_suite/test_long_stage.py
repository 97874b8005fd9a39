"""The distributed stack in the hands of the fault suite."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from local_stack.airflow_api import AirflowRefused
from long_run.stage import LongStage


def stage(**airflow: Any) -> LongStage:
    """Return a stage on an Airflow that the test gives."""
    return LongStage(SimpleNamespace(airflow=SimpleNamespace(**airflow)), None)  # type: ignore[arg-type]


def test_a_song_that_an_outage_has_failed_at_once_did_not_fail_because_of_another_one() -> None:
    table = [
        {"music_task_id": "whole", "reason": "", "cause": None},
        {"music_task_id": "outage", "reason": "The bucket does not exist.", "cause": "s3_no_such_bucket"},
        {"music_task_id": "dragged", "reason": "It did not finish.", "cause": None},
    ]
    found = stage(xcom=lambda *_, **__: table)
    assert found.not_archived_by("run", ["whole", "outage", "dragged"]) == {"dragged": "It did not finish."}
    assert found.failed_by_outages == 1


def test_a_run_of_which_the_first_request_has_come_through_is_not_started_twice() -> None:
    asked: list[str] = []

    def trigger(dag_id: str, conf: Any, run_id: str) -> str:
        asked.append(run_id)
        raise AirflowRefused("Airflow answered POST /dags/music_cover/dagRuns with 409: it exists")

    assert stage(trigger=trigger).start(["a"], batch_size=1) == asked[0]
    assert len(asked) == 1


def test_a_run_is_started_again_only_where_its_first_task_has_failed() -> None:
    for run, first, times in (("failed", "failed", 1), ("failed", "success", 0), ("running", "failed", 0)):
        cleared: list[str] = []
        tasks = [SimpleNamespace(name="song_list", state=first), SimpleNamespace(name="report", state="failed")]
        found = stage(
            run_state=lambda *_, state=run: state,
            task_instances=lambda *_, found=tasks: found,
            clear=lambda _, run_id, into=cleared: into.append(run_id),
        )
        found.start_failed_again("music_cover", "run")
        assert len(cleared) == times
