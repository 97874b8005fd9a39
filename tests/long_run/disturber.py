"""Carries out a plan of disturbances beside the songs, and starts again what has ended, as ``restart:`` does."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Self

from distributed_stack import DistributedStack
from fault_suite.stage import Stage
from local_stack.health import unhealthy
from local_stack.timeout import Timeout
from long_run.disturbances import KILLS, KINDS, End, Ground, Planned, is_whole
from long_run.machines import Machines

_PAUSE = 5.0
"""Seconds after which what has ended by itself is started again."""
_WELL_SECONDS = 180.0
_LOOK = 1.0
"""Seconds from one look at whether the stack is whole to the next."""


class Disturber:
    """Carries out a plan in a thread of its own; as a context manager, until the end of the block, when all is healed.

    :param stack: the processes, which nobody else starts or ends meanwhile.
    :param stage: the stack as the suite has it in its hands.
    :param machines: None: everything is on one machine.
    :param planned: what is to happen.
    :param say: reports to a person.
    """

    def __init__(
        self,
        stack: DistributedStack,
        stage: Stage,
        machines: Machines | None,
        planned: Sequence[Planned],
        say: Callable[[str], None],
    ) -> None:
        self.stack, self.stage, self.machines, self.planned, self.say = stack, stage, machines, planned, say
        self.kills: Counter[tuple[str, str]] = Counter()
        self.troubles: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        """Requests that an outage has spoilt, by its name."""
        self.missed: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        """Processes that have ended by themselves, by service."""
        self._since: dict[str, float] = {}
        self._under_way: list[tuple[float, str, End]] = []
        self._late, self._looked = 0.0, 0.0
        self._healing, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="disturber")

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End what is under way; from here on nothing is started again."""
        self._over.set()
        self._thread.join()

    def heal(self) -> None:
        """End what is under way, disturb no longer, and wait until Airflow is well."""
        self._healing.set()
        timeout = Timeout(_WELL_SECONDS)
        while (self._under_way or unhealthy(self.stack.url)) and not timeout.expired():
            time.sleep(1.0)

    def _work(self) -> None:
        began, left = time.monotonic(), list(self.planned)
        while not self._over.wait(0.3):
            now = time.monotonic() - began
            self._end(float("inf") if self._healing.is_set() else now)
            while (due := next((one for one in left if self._may(one, now)), None)) and not self._healing.is_set():
                left.remove(due)
                self._begin(due, now)
            self._restart()
        self._end(float("inf"))

    def _may(self, planned: Planned, now: float) -> bool:
        """Whether it is time for a disturbance: a kill waits until the stack is whole, and so do the kills after it."""
        if planned.name not in KILLS or planned.at + self._late > now:
            return planned.at <= now and planned.name not in KILLS
        if now < self._looked + _LOOK:
            return False
        self._looked = now
        if is_whole(self.stack):
            self._late = now - planned.at
            return True
        return False

    def _begin(self, planned: Planned, now: float) -> None:
        try:
            end = KINDS[planned.name].begin(Ground(self.stack, self.stage, self.machines, planned.draw))
        except Exception as error:  # noqa: BLE001 - the others go on
            self.say(f"{planned.name} went wrong: {error}")
            end = None
        if end is None:
            self.missed[planned.name] += 1
            return
        if planned.name in KILLS:
            self.kills[planned.name.removesuffix(" killed"), "whatever it did"] += 1
        else:
            self.troubles[planned.name] += 1
            self.say(f"{planned.name}, for {planned.seconds:.0f} s.")
        self._under_way.append((now + planned.seconds, planned.name, end))

    def _end(self, now: float) -> None:
        for entry in [entry for entry in self._under_way if entry[0] <= now]:
            _, name, end = entry
            try:
                struck: Any = end()
            except Exception as error:  # noqa: BLE001 - tried again
                self.say(f"{name} could not be ended yet: {error}")
                continue
            self._under_way.remove(entry)
            if isinstance(struck, int) and struck:
                self.requests[name] += struck

    def _restart(self) -> None:
        for name, process in list(self.stack.running.items()):
            if process.poll() is not None and self._due(name):
                self.ended[name.rpartition("-")[0]] += 1
                self.stack.begin(name)

    def _due(self, name: str) -> bool:
        """Whether a process that has ended is to be started now: not before the pause is over."""
        since = self._since.setdefault(name, time.monotonic())
        if time.monotonic() - since < _PAUSE:
            return False
        del self._since[name]
        return True
