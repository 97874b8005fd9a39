"""An Airflow in memory, as the tasks see it that start songs: events, states of runs, the asset's state store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from airflow_kie.assets import PENDING
from airflow_kie.operators.reconcile import KieReconcileOperator
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_task import FakeTaskStateStore, TaskInstance, TaskRun

NOW = datetime.now(UTC)


class Events(list[Any]):
    """The events of an asset, as a task reads them."""

    def after(self, since: str) -> Events:
        return Events(event for event in self if event.timestamp >= datetime.fromisoformat(since))

    def limit(self, most: int) -> Events:
        return Events(self[:most])


@dataclass
class Airflow:
    """What Airflow knows: events, states of runs, and what the asset's state store holds."""

    events: Events = field(default_factory=Events)
    runs: dict[str, str] = field(default_factory=dict)
    store: FakeTaskStateStore = field(default_factory=FakeTaskStateStore)

    def send(self, age: float = 60.0, **extra: Any) -> None:
        """Send an event; age in seconds."""
        moment = NOW - timedelta(seconds=age)
        self.events.append(SimpleNamespace(id=len(self.events) + 1, timestamp=moment, extra=extra))

    def woken(self, run_id: str = "asset_triggered__1", **options: Any) -> TaskRun:
        """Return the list of a run that events have started."""
        self.runs[run_id] = "running"
        return TaskRun(
            lambda: KieSongListOperator(task_id="song_list", music_task_ids="[]", songs="[]", **options),
            ti=TaskInstance(run_id=run_id, runs=self.runs),
            extra={"dag_run": SimpleNamespace(conf={}, run_type="asset_triggered"), **self.context},
        )

    def reconcile(self) -> tuple[int, Any]:
        """Run the reconciliation; return for how many songs it has woken a run, and the event's extra."""
        event = SimpleNamespace(extra=None)
        context = {**self.context, "outlet_events": {PENDING: event}}
        ti = TaskInstance(dag_id="cover_inbox", run_id="scheduled__1", runs=self.runs)
        run = TaskRun(lambda: KieReconcileOperator(task_id="reconcile"), ti=ti, extra=context)
        return run.execute(), event.extra

    @property
    def context(self) -> Mapping[str, Any]:
        return {"inlet_events": {PENDING: self.events}, "asset_state_store": {PENDING: self.store}}
