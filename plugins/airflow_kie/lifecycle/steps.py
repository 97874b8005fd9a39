"""The steps that drive a task, and how a generator of them is resumed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any, Self

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


@dataclass
class HeldPermit:
    """The account's permit for one create, from when it is taken until its request is claimed.

    It is used for that or given back, whatever ends the way in between: an error, a timeout, a cancelled task. A thread
    may take it for somebody who has left by then; it is given back there.

    :param take_now: takes it; raises when nothing may be sent now.
    :param give_back: returns it.
    """

    take_now: Callable[[], None]
    give_back: Callable[[], None]
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _held: bool = field(default=False, init=False)
    _left: bool = field(default=False, init=False)

    def take(self) -> None:
        """Take it."""
        self.take_now()
        with self._lock:
            self._held, left = not self._left, self._left
        if left:
            self.give_back()

    def use(self) -> None:
        """Let its request have it: who sends that gives it back where nothing is sent.

        :raises CancelledError: when it was given back, since nobody waits for the request any more.
        """
        with self._lock:
            if self._left:
                raise CancelledError
            self._held = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back, unless it was used or not taken."""
        with self._lock:
            held, self._held, self._left = self._held, False, True
        if held:
            self.give_back()
