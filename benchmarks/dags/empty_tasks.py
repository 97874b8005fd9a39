"""The floor: tasks that do nothing, mapped; each costs what Airflow itself needs for one task process."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

with DAG("empty_tasks", schedule=None, is_paused_upon_creation=False, params={"count": Param(1, type="integer")}):

    @task
    def numbers(params: dict[str, Any] | None = None) -> list[int]:
        """Return a number for each empty task."""
        assert params
        return list(range(params["count"]))

    @task
    def empty(number: int) -> None:
        """Do nothing."""

    empty.expand(number=numbers())
