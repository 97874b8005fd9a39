"""The floor that a wait is compared with: a task that does nothing but defer, until KIE would be done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG, BaseOperator, Context, Param


class EmptyDeferredTask(BaseOperator):
    """Defers for some seconds, or not at all, and ends."""

    def execute(self, context: Context) -> None:
        """Wait in the triggerer."""
        moment = datetime.now(UTC) + timedelta(seconds=context["params"]["seconds"])
        self.defer(trigger=DateTimeTrigger(moment), method_name="resume")

    def resume(self, context: Context, event: Any = None) -> None:
        """End."""


with DAG("empty_deferred", params={"seconds": Param(0, type="number")}, is_paused_upon_creation=False, schedule=None):
    EmptyDeferredTask(task_id="empty")
