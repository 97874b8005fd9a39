"""The event in which a wait in the triggerer ends; a later version reads what an earlier one wrote."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from airflow_kie.client.answers.decode import Ended
from airflow_kie.client.errors import KieError, error_from_event
from airflow_kie.lifecycle.record import TaskRecord

ENDED_KEY = "ended"
"""XCom key of the tasks of many that have ended well so far, by the caller's names, while the others are waited for."""
Given = dict[str, Any] | None
"""What a task resumes with: an event, or the tasks that were waited for; None: there is none."""


class Outcome(StrEnum):
    """How a wait in the triggerer ended."""

    DONE = "done"
    FAILED = "failed"
    TIMEOUT = "timeout"
    ASK_AGAIN = "ask_again"
    """KIE has not named the task yet: the time after which the ledger is asked again is over."""
    YOUR_TURN = "your_turn"
    """Nobody else sends many requests of the account now."""
    RESUMED = "resumed"
    """Somebody else has resumed the Airflow task before the wait ended; the event says nothing and wakes nobody."""


def completion_source(event: Mapping[str, Any]) -> str:
    """Return what showed the end of a wait: the trigger's own read, or a callback, whose event has no outcome."""
    return "poll" if event.get("outcome") in list(Outcome) else "callback"


def ended_by(event: Mapping[str, Any], *outcomes: Outcome) -> Ended | None:
    """Return the failure that an event reports, with the id of the task that it is about; None for other events.

    :param event: as `execute_complete` gets it.
    :param outcomes: those that are failures to the one who asks.
    """
    if event.get("outcome") not in outcomes:
        return None
    return Ended(event.get("task_id"), error_from_event(dict(event)))


def ended_tasks(event: Mapping[str, Any] | None) -> Mapping[str, Mapping[str, Any]]:
    """Return how many tasks have ended, by the caller's names for them.

    :param event: as `execute_complete` gets it; None: nothing was waited for.
    :raises KieError: why the triggerer could not wait for them.
    """
    known = event or {}
    if known.get("outcome") == Outcome.FAILED:
        raise error_from_event(dict(known))
    tasks: Mapping[str, Mapping[str, Any]] = known.get("tasks", {})
    return tasks


def event_of(outcome: Outcome, record: TaskRecord, error: KieError | None = None) -> dict[str, Any]:
    """Return the event in which a wait ends: plain values, read by `execute_complete` of this or a later version."""
    facts = error.to_event() if error else {}
    last_state = (error.facts.last_state if error else None) or record.last_state
    return {**facts, "outcome": outcome.value, "task_id": record.task_id, "last_state": last_state}
