"""One run of DAG cover_inbox in this process: its own tasks, rendered and mapped by Airflow's code, in their order.

XComs pass through JSON and UTF-8, and a run that is to be started is checked by Airflow's own model, as the API does.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.sdk import TriggerRule
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSkipException, DagRunTriggerException, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.context import ConnectionAccessor, OutletEventAccessors

from airflow_kie.assets import MUSIC, PENDING

DAG_FILE = Path(__file__).parents[1] / "dags" / "cover_inbox.py"
_BAD = {"failed", "upstream_failed"}


@functools.cache
def _dag() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(DAG_FILE), bundle_path=DAG_FILE.parent).dags["cover_inbox"]


@dataclass
class _TaskInstance:
    """What the tasks of the DAG use of Airflow's task instance."""

    inbox: InboxDag
    task: Any
    map_index: int = -1
    dag_id: str = "cover_inbox"
    run_id: str = "scheduled__1"
    try_number: int = 1
    max_tries: int = 0

    @property
    def task_id(self) -> str:
        return str(self.task.task_id)

    def xcom_push(self, key: str, value: Any) -> None:
        self.inbox.xcoms[self.task_id, key] = json.loads(json.dumps(value, ensure_ascii=False).encode())

    def xcom_pull(self, task_ids: str, key: str = "return_value", default: Any = None, map_indexes: Any = None) -> Any:
        return self.inbox.xcoms.get((task_ids, key), default)

    def get_dagrun_state(self, dag_id: str, run_id: str) -> str:
        if run_id in self.inbox.runs:
            return "queued"
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        return sum(run_id in self.inbox.runs for run_id in run_ids)


@dataclass
class InboxDag:
    """The DAG, and what its runs have left behind.

    :param runs: the runs that were started: run id → conf.
    :param events: music task ids in the order in which events about them were sent.
    :param xcoms: those of the last run: (task id, key) → value.
    :param rendered: the rendered template fields of the last run's task instances.
    :param errors: what tasks of the last run have raised.
    :param refuses_runs: Airflow starts no run, as while its API is away.
    """

    runs: dict[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)
    rendered: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)
    refuses_runs: bool = False

    def run(self, *, without: tuple[str, ...] = ("reconcile",)) -> dict[str, str]:
        """Run the DAG once, without its task reconcile; return each task's state."""
        dag = _dag()
        self.xcoms, self.rendered, self.errors = {}, [], {}
        states: dict[str, str] = {}
        for task in dag.topological_sort():
            if task.task_id not in without:
                states[task.task_id] = self._task(task, [states[name] for name in task.upstream_task_ids])
        return states

    def _task(self, task: Any, upstream: list[str]) -> str:
        rule = TriggerRule(task.trigger_rule).value
        bad, skipped = bool(_BAD & set(upstream)), "skipped" in upstream
        if rule == "all_done_min_one_success":  # for this one Airflow 3.3 takes a skipped task as not done
            if skipped or (upstream and "success" not in upstream):
                return "skipped" if skipped else "upstream_failed"
        elif rule == "all_done":
            pass
        elif bad:
            return "upstream_failed"
        elif skipped and rule == "all_success":
            return "skipped"
        if not getattr(task, "is_mapped", False):
            return self._attempt(task, -1)
        mapped = self.xcoms.get((self._source_of(task), "return_value"), [])
        states = {self._attempt(task, index) for index in range(len(mapped))}
        return "failed" if "failed" in states else "success" if states else "skipped"

    def _source_of(self, task: Any) -> str:
        ((operator, _),) = task._get_specified_expand_input().iter_references()
        return str(operator.task_id)

    def _attempt(self, task: Any, map_index: int) -> str:
        ti = _TaskInstance(self, task, map_index)
        events = OutletEventAccessors()
        context: Any = {
            "ti": ti,
            "task": task,
            "dag": _dag(),
            "conn": ConnectionAccessor(),
            "outlet_events": events,
            "dag_run": SimpleNamespace(conf={}),
            "run_id": ti.run_id,
        }
        try:
            task = task if map_index >= 0 else task.prepare_for_execution()
            task.render_template_fields(context)
            unmapped = context["task"] if map_index >= 0 else task
            self.rendered.append({name: getattr(unmapped, name) for name in unmapped.template_fields})
            returned = unmapped.execute(context)
            ti.xcom_push("return_value", returned)
        except AirflowSkipException:
            return "skipped"
        except DagRunTriggerException as wanted:
            return self._start(task.task_id, wanted)
        except Exception as error:  # noqa: BLE001 - a task's failure, whatever it is
            self.errors[task.task_id] = error
            return "failed"
        if task.outlets:
            assert task.outlets == [MUSIC, PENDING]
            assert (events[PENDING].partition_keys, events[PENDING].extra) == (set(), {"received_from": "inbox"})
            self.events += sorted(events[MUSIC].partition_keys)
        return "success"

    def _start(self, task_id: str, wanted: DagRunTriggerException) -> str:
        conf: Mapping[str, Any] = json.loads(json.dumps(wanted.conf, ensure_ascii=False).encode())
        try:
            if self.refuses_runs:
                raise ConnectionError("the API is away")
            run = DagRun(dag_id=wanted.trigger_dag_id, run_id=wanted.dag_run_id, run_type="manual")
            assert len(run.run_id) <= 250, run.run_id
        except Exception as error:  # noqa: BLE001 - what the API answers
            self.errors[task_id] = error
            return "failed"
        self.runs.setdefault(run.run_id, conf)
        return "success"
