"""What a long run does to the distributed stack: a table of disturbances, and a plan of them drawn from the seed."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import psutil  # type: ignore[import-untyped]

from distributed_stack import DistributedStack
from fault_suite.episodes import OUTAGES
from fault_suite.stage import Stage
from long_run.machines import MACHINES, SERVERS, Machines

T = TypeVar("T")
End = Callable[[], object]
SERVICES: Mapping[str, tuple[int, float]] = {
    "worker": (2, 4.0),
    "triggerer": (2, 5.0),
    "scheduler": (2, 6.0),
    "api-server": (1, 13.0),
    "dag-processor": (1, 4.0),
}
"""What the whole stack has: how many of each service, and the processor's seconds that one needs to start."""
CLOCKS = (-120, -60, -20, 20, 60, 120)
"""Seconds by which a clock is wrong. Airflow takes a triggerer that died with a fast clock for alive until its last
heartbeat lies in the past."""


@dataclass(frozen=True)
class Ground:
    """What is disturbed.

    :param stack: the processes.
    :param stage: the stack as the suite has it in its hands.
    :param machines: None: everything is on one machine.
    :param draw: from 0 to 1: decides whom it meets.
    """

    stack: DistributedStack
    stage: Stage
    machines: Machines | None
    draw: float

    def pick(self, among: Sequence[T]) -> T:
        """Choose one."""
        return among[int(self.draw * len(among))]

    def running(self, service: str) -> list[str]:
        """Return the processes of a service that run."""
        return [name for name in self.stack.running if name.rpartition("-")[0] == service]


Begin = Callable[[Ground], End | None]
"""Begins a disturbance and returns what ends it; None: it has found nobody."""


def _used(pid: int) -> float:
    """Return the processor's seconds that a process and its children have used so far."""
    used = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for one in (first, *first.children(recursive=True)):
            used += sum(one.cpu_times()[:4])
    return used


def is_whole(stack: DistributedStack) -> bool:
    """Whether every service runs and has had the processor's seconds that it needs to start.

    Killed before, the stack would do nothing but start on a machine that has other work too.
    """
    services = [name.rpartition("-")[0] for name in stack.running]
    used = {name: _used(process.pid) for name, process in stack.running.items()}
    return all(services.count(service) == count for service, (count, _) in SERVICES.items()) and all(
        used[name] >= SERVICES[name.rpartition("-")[0]][1] for name in used if name.rpartition("-")[0] in SERVICES
    )


def _killed(service: str) -> Begin:
    def begin(ground: Ground) -> End | None:
        if not (names := ground.running(service)):
            return None
        name = ground.pick(names)
        ground.stack.kill(name)
        return lambda: ground.stack.begin(name)

    return begin


def _task_killed(ground: Ground) -> End | None:
    """Kill one process of a task; its worker goes on."""
    workers = [psutil.Process(ground.stack.running[name].pid) for name in ground.running("worker")]
    with contextlib.suppress(psutil.NoSuchProcess):
        found = [child for worker in workers for child in worker.children(recursive=True) if child.ppid() != worker.pid]
        if found:
            ground.pick(found).kill()
            return lambda: None
    return None


def _still(service: str) -> Begin:
    """Let all of a process stand still, and then go on as if nothing had been."""

    def begin(ground: Ground) -> End | None:
        if not (names := ground.running(service)):
            return None
        first = psutil.Process(ground.stack.running[ground.pick(names)].pid)
        stopped = [first]
        for process in stopped:  # what a process starts before it stops is found too
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
                stopped += [child for child in process.children() if child not in stopped]

        def end() -> None:
            for process in reversed(stopped):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

        return end

    return begin


def _stopped(name: str, number: signal.Signals) -> Begin:
    def begin(ground: Ground) -> End | None:
        process = ground.stack.running.pop(name)
        process.send_signal(number)
        process.wait(60)
        return lambda: ground.stack.begin(name)

    return begin


def _outage(name: str) -> Begin:
    return lambda ground: OUTAGES[name](ground.stage)


def _clock(ground: Ground) -> End | None:
    if not ground.machines or not ground.machines.clock:
        return None
    machines, (machine, seconds) = ground.machines, ground.pick([(one, by) for one in MACHINES for by in CLOCKS])
    machines.set_clock(machine, seconds)
    return lambda: machines.set_clock(machine, 0)


def _disk(ground: Ground) -> End | None:
    if not ground.machines:
        return None
    path = ground.machines.disk(ground.pick(list(MACHINES))) / "full"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**20))
    return lambda: path.unlink(missing_ok=True)


def _cut(servers: Sequence[str]) -> Begin:
    def begin(ground: Ground) -> End | None:
        if not ground.machines:
            return None
        machines, pair = ground.machines, ground.pick([(one, server) for one in MACHINES for server in servers])
        machines.cut(*pair)
        return lambda: machines.cut(*pair, heal=True)

    return begin


@dataclass(frozen=True)
class Kind:
    """A kind of disturbance.

    :param begin: begins it.
    :param seconds: how long it lasts, at least and at most.
    :param weight: how often it comes, against the others of its table.
    """

    begin: Begin
    seconds: tuple[float, float]
    weight: int = 1


KILLS: Mapping[str, Kind] = {
    "worker killed": Kind(_killed("worker"), (1, 12), 4),
    "triggerer killed": Kind(_killed("triggerer"), (1, 12), 4),
    "scheduler killed": Kind(_killed("scheduler"), (1, 12), 3),
    "api-server killed": Kind(_killed("api-server"), (1, 5), 2),
    "dag-processor killed": Kind(_killed("dag-processor"), (1, 12), 1),
    "task killed": Kind(_task_killed, (0, 0), 4),
}
"""Processes that die; of those that are a service each one comes back, as ``restart:`` has it."""
TROUBLES: Mapping[str, Kind] = {
    "Postgres stopped and started": Kind(_stopped("postgres-1", signal.SIGINT), (1, 20)),
    "Postgres killed and started": Kind(_killed("postgres"), (1, 10)),
    "Postgres stood still": Kind(_still("postgres"), (3, 25)),
    "Redis stopped and started": Kind(_stopped("redis-1", signal.SIGTERM), (1, 20)),
    "Redis killed and started": Kind(_killed("redis"), (1, 10)),
    "worker stood still": Kind(_still("worker"), (5, 30)),
    "triggerer stood still": Kind(_still("triggerer"), (5, 30)),
    "scheduler stood still": Kind(_still("scheduler"), (5, 30)),
    "clock jumped": Kind(_clock, (10, 40), 3),
    "disk full": Kind(_disk, (10, 40), 2),
    "machine cut off": Kind(_cut([""]), (5, 30), 2),
    "server cut off from a machine": Kind(_cut(list(SERVERS)), (5, 30), 4),
    **{name: Kind(_outage(name), (5, 30)) for name in OUTAGES},
}
"""What goes by again by itself; one at a time, beside the kills."""
KINDS: Mapping[str, Kind] = {**KILLS, **TROUBLES}


@dataclass(frozen=True)
class Planned:
    """A disturbance of a plan.

    :param at: second of its beginning.
    :param name: its kind, see :data:`KINDS`.
    :param seconds: how long it lasts.
    :param draw: decides whom it meets.
    """

    at: float
    name: str
    seconds: float
    draw: float


def plan(seed: int, seconds: float) -> list[Planned]:
    """Return the disturbances of so many seconds, in order: a kill every 9 to 15 s, and the troubles dealt like cards.

    :param seed: decides everything.
    """
    rng = random.Random(seed)
    found: list[Planned] = []
    for table, pause, follow in ((KILLS, (9.0, 15.0), False), (TROUBLES, (15.0, 35.0), True)):
        at, deck = rng.uniform(*pause), list[str]()
        while at < seconds:
            if not deck:
                deck = [name for name, kind in table.items() for _ in range(kind.weight)]
                rng.shuffle(deck)
            name = deck.pop()
            lasts = rng.uniform(*table[name].seconds)
            found.append(Planned(at, name, lasts, rng.random()))
            at += rng.uniform(*pause) + (lasts if follow else 0.0)
    return sorted(found, key=lambda planned: planned.at)
