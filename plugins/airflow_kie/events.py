"""The event in which a wait in the triggerer ends; a later version reads what an earlier one wrote."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from airflow_kie.client.errors import KieError
from airflow_kie.client.step import TaskRecord


class Outcome(StrEnum):
    """How a wait in the triggerer ended."""

    DONE = "done"
    FAILED = "failed"
    TIMEOUT = "timeout"


def heard_by(event: Mapping[str, Any]) -> str:
    """Return how the end of a wait was heard of: the receiver's event is none of the trigger's."""
    return "poll" if event.get("outcome") in tuple(Outcome) else "callback"


def event_of(outcome: Outcome, record: TaskRecord, error: KieError | None = None) -> dict[str, Any]:
    """Return the event in which a wait ends: plain values, read by `execute_complete` of this or a later version."""
    told = error.to_event() if error else {}
    return {**told, "outcome": outcome.value, "task_id": record.task_id, "last_state": record.last_state}
