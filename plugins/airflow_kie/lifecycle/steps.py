"""The steps in which a task is carried along: what they are, and how a generator of them is resumed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.lifecycle.record import TaskRecord


@dataclass(frozen=True)
class DriveResult:
    """Where following a task has led.

    :param record: what is known, as stored.
    :param details: its details, None where nobody waited for the end.
    """

    record: TaskRecord
    details: TaskDetails | None = None


@dataclass(frozen=True)
class Do:
    """Call something that may block; its result comes back."""

    call: Callable[[], Any]


@dataclass(frozen=True)
class Read:
    """Read a task's details; the answer comes back."""

    record: TaskRecord


@dataclass(frozen=True)
class Sleep:
    """Spend the time until then (epoch seconds). The record is stored: a later leg knows what this one has read."""

    record: TaskRecord
    until: float


Step = Do | Read | Sleep
Steps = Generator[Step, Any, DriveResult]


def thrower(steps: Steps, error: BaseException) -> Callable[[], Step]:
    """Return what resumes a generator by an exception at its step."""
    return lambda: steps.throw(error)


def sender(steps: Steps, value: Any) -> Callable[[], Step]:
    """Return what resumes a generator with its step's result."""
    return lambda: steps.send(value)
