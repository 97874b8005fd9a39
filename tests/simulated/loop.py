"""An event loop whose time passes as soon as everybody waits, and in which code that may block waits too.

Blocking code runs in greenlets, as SQLAlchemy's asyncio extension does it: without threads a schedule is replayed
exactly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sqlalchemy.util import await_only, greenlet_spawn

Result = TypeVar("Result")


class EverybodyWaits(Exception):
    """Nothing is ready, and nobody waits for a time: the world would stand still for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready; when nothing is, it is the next time that somebody waits for."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._tasks = 0
        self._selector = self
        self.set_task_factory(self._numbered)
        self.set_exception_handler(lambda _, __: None)  # what a dead process leaves behind is read by nobody

    def time(self) -> float:
        """Return the seconds since the world began."""
        return self._now

    def select(self, timeout: float | None) -> tuple[()]:
        """Let the time pass until the next thing is due; asyncio asks its selector so."""
        if timeout is None:
            raise EverybodyWaits
        self._now += timeout
        return ()

    def run_in_executor(self, executor: Any, call: Callable[..., Result], *args: Any) -> Any:
        """Run code that may block, in this thread."""
        return self.create_task(greenlet_spawn(call, *args))

    def _numbered(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **known: Any) -> asyncio.Task[Any]:
        self._tasks += 1
        return _NumberedTask(self._tasks, coroutine, loop=loop, **known)

    def _process_events(self, events: Any) -> None:
        """Do nothing: there are none."""

    def _write_to_self(self) -> None:
        """Do nothing: there is one thread."""


class _NumberedTask(asyncio.Task[Any]):
    """A task that stands in a set in the order of its making: asyncio keeps tasks in sets."""

    def __init__(self, number: int, *args: Any, **known: Any) -> None:
        self._number = number
        super().__init__(*args, **known)

    def __hash__(self) -> int:
        return self._number


def blocking(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Wait in code that may block, while the others go on.

    :param coroutine: what is waited for.
    """
    return await_only(coroutine)
