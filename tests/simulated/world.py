"""A world: its time, its network, its processes, what goes wrong in them, and what must hold of it at every moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from airflow_kie.archive.ledger_store import BucketLedgerStore
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3Unreachable
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.errors import KieError, KieLimiterUnavailable, KieNotSent, KieUnreachable
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.client.requests import Request
from airflow_kie.lifecycle.claims import RequestId
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.lifecycle.ledger import Ledger, LedgerStore
from airflow_kie.lifecycle.rules import Rules
from ledgers import MemoryLedgerStore
from simulated.kie import Kie, Task
from simulated.loop import VirtualLoop, blocking
from simulated.s3 import Client, Objects
from simulated.schedule import Fault, Schedule

START = 1_776_862_600.0
CLIENT_SECONDS = 60.0
"""Seconds after which a client gives a request up."""
SKEW = 10.0
RULES = Rules()
ACCOUNT = "kie"
CALLBACK = "https://receiver.example/kie"
CHANGES = frozenset({"kie.create", "ledger.create", "state"})
MOST_REQUESTS = 6000
"""Of one world, over the network: more means that somebody asks without end."""


class Killed(BaseException):
    """The process ends here, without another word."""


@dataclass(eq=False)
class Process:
    """A process of Airflow.

    :param world: where it runs.
    :param name: for the log of the world.
    :param skew: seconds by which its clock is ahead.
    """

    world: World
    name: str
    skew: float = 0.0
    alive: bool = True
    task: asyncio.Task[Any] | None = None
    _ledger: Ledger | None = None

    def clock(self) -> float:
        """Return epoch seconds as this machine has them."""
        return self.world.now() + self.skew

    def kill(self) -> None:
        """End it: nothing that it still does has an effect."""
        self.alive = False
        if self.task is not None:
            self.task.cancel()

    def check(self) -> None:
        """Go on only if it is alive."""
        if not self.alive:
            raise Killed

    async def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Run its program to its end.

        :raises Killed: when it was killed.
        """

        async def program() -> Any:
            CURRENT.set(self)
            return await main

        self.world.started(self)
        self.task = self.world.loop.create_task(program())
        await asyncio.wait([self.task])
        if self.task.cancelled():
            raise Killed
        return self.task.result()

    def ask(self, what: str, effect: Callable[[str], Any]) -> Any:
        """Make a request in code that may block; see :meth:`World.ask`."""
        return blocking(self.world.ask(self, what, effect))

    def open_ledger(self) -> Ledger:
        """Return the ledger of paid requests: in S3, or where that honours no conditions, in a database."""
        if self._ledger is None:
            store: LedgerStore = BucketLedgerStore(Bucket(Client(self.world.objects, self.ask), "songs"), "_paid/")
            if not self.world.s3_is_honest():
                store = NetworkStore(self.world.database, self)
            self._ledger = Ledger(store, self.clock, RULES.agree_after)
        return self._ledger

    def send(self, request: Request) -> Response:
        """Send a request to KIE."""
        return self.ask(_kind(request), lambda how: self.world.kie(request, how))  # type: ignore[no-any-return]

    async def asend(self, request: Request) -> Response:
        """Send a request to KIE from an event loop."""
        return await self.world.ask(self, _kind(request), lambda how: self.world.kie(request, how))  # type: ignore[no-any-return]


CURRENT: ContextVar[Process] = ContextVar("the process that runs")


def _kind(request: Request) -> str:
    return "kie.create" if request.method == "POST" else "kie.read"


@dataclass(frozen=True)
class NetworkStore:
    """A ledger's objects in a database that a process asks over the network."""

    objects: MemoryLedgerStore
    process: Process
    kind: ClassVar[str] = "database"

    def create(self, key: str, body: bytes) -> bool:
        """Create an object."""
        created: bool = self.process.ask("ledger.create", lambda how: self.objects.create(key, body))
        return created

    def list(self, prefix: str) -> list[str]:
        """Return the keys below a prefix."""
        keys: list[str] = self.process.ask("ledger.list", lambda how: self.objects.list(prefix))
        return keys

    def read(self, key: str) -> bytes | None:
        """Return an object's content."""
        body: bytes | None = self.process.ask("ledger.read", lambda how: self.objects.read(key))
        return body

    def delete(self, key: str) -> None:
        """Delete an object."""
        self.process.ask("ledger.delete", lambda how: self.objects.delete(key))


@dataclass(frozen=True)
class _Bare:
    """The ledger's objects in S3, read and written without a network."""

    bodies: dict[str, bytes]
    kind: ClassVar[str] = "s3"

    def create(self, key: str, body: bytes) -> bool:
        """Create an object."""
        return self.bodies.setdefault(f"_paid/{key}", body) is body

    def list(self, prefix: str) -> list[str]:
        """Return the keys below a prefix."""
        return [key.removeprefix("_paid/") for key in self.bodies if key.startswith(f"_paid/{prefix}")]

    def read(self, key: str) -> bytes | None:
        """Return an object's content."""
        return self.bodies.get(f"_paid/{key}")

    def delete(self, key: str) -> None:
        """Delete an object."""
        self.bodies.pop(f"_paid/{key}", None)


@dataclass(frozen=True)
class Wanted:
    """One request, and what it goes by.

    :param asked: the song or the prompt, by which KIE's own books name it.
    :param body: its fields.
    :param id: its name in the ledger.
    """

    asked: str
    body: dict[str, Any]
    id: RequestId


class World:
    """A world that goes by a schedule.

    :param schedule: what happens in it.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.loop = VirtualLoop()
        self.random = Random(schedule.seed)
        self.objects = Objects(schedule.conditions)
        self.database = MemoryLedgerStore()
        self.kind = task_kind(schedule.operation)
        self.kie = Kie(self.now, self.random, schedule.endings, schedule.once, self._made)
        both = any(worker.request or "many" in worker.mode for worker in schedule.workers)
        self.wanted = tuple(self._wanted(f"{'song' if self.kind.free else 'prompt'}-{n}") for n in range(1 + both))
        self.rules = Rules(interval=60.0 if schedule.calls_back else 30.0, api=schedule.form)
        self.log: list[str] = []
        self._done: Counter[str] = Counter()
        self._faults: dict[tuple[str, int], Fault] = {(fault.on, fault.nth): fault for fault in schedule.faults}
        self._cut_until: dict[str, float] = {}
        self._honest: bool | None = None
        self._processes: list[Process] = []
        self.on_callback: Callable[[Task], None] = lambda task: None

    def _wanted(self, asked: str) -> Wanted:
        body = {"taskId": asked} if self.kind.free else {"prompt": asked, "model": "V6", "customMode": False}
        if not self.kind.free:
            body["instrumental"] = False
        digest = request_digest(self.kind, body, {"dag": "songs", "run": "one"})
        return Wanted(asked, body, RequestId(ACCOUNT, self.kind.name, digest))

    def now(self) -> float:
        """Return epoch seconds as KIE's clock has them."""
        return START + self.loop.time()

    def note(self, *words: Any) -> None:
        """Add a line to the world's log."""
        self.log.append(f"{self.loop.time():8.2f}  {' '.join(map(str, words))}")

    def s3_is_honest(self) -> bool:
        """Return whether S3 honours conditional writes, as Airflow has found out before."""
        if self._honest is None:
            at_once = Client(self.objects, lambda _, effect: effect(""))
            self._honest = BucketLedgerStore(Bucket(at_once, "songs"), "").honours_conditions("probe")
        return self._honest

    def started(self, process: Process) -> None:
        """Know a process."""
        self._processes.append(process)

    def kill_all(self) -> None:
        """End every process."""
        for process in self._processes:
            process.kill()

    def end(self) -> None:
        """Leave nothing behind that waits."""
        self.kill_all()
        for _ in range(3):
            waiting = asyncio.all_tasks(self.loop)
            for task in waiting:
                task.cancel()
            if waiting:
                self.loop.run_until_complete(asyncio.wait(waiting))

    def cut(self, worker: str, seconds: float) -> None:
        """Cut a worker's network for some time."""
        self._cut_until[worker] = self.loop.time() + seconds

    def heal(self) -> None:
        """Let nothing go wrong any more, and end all that runs at KIE."""
        self._faults.clear()
        self._cut_until.clear()
        for task in self.kie.tasks:
            task.shown_at, task.ends_at = min(task.shown_at, self.now()), min(task.ends_at, self.now())
        self.kie.endings, self.kie.seconds = ("done",), (3,)
        self.note("everything is well")

    def fault(self, what: str) -> Fault:
        """Return what happens to the next thing of a kind."""
        nth = self._done[what]
        self._done[what] += 1
        return self._faults.get((what, nth)) or Fault(what, nth, "", 0)

    async def ask(self, process: Process, what: str, effect: Callable[[str], Any]) -> Any:
        """Make a request over the network.

        :param process: whose.
        :param what: its kind.
        :param effect: what it does at the other end, told what else goes wrong there; its result is the answer.
        :raises Killed: when the process dies.
        :raises KieError: when no answer comes.
        """
        process.check()
        if sum(self._done.values()) > MOST_REQUESTS:
            raise AssertionError(f"{process.name} asks without end: {what}")
        fault = self.fault(what)
        how = fault.how
        self.note(process.name, what, how)
        await asyncio.sleep(self.random.uniform(0.01, 0.3) + (fault.seconds if how == "stalls" else 0))
        process.check()
        if how == "dies before":
            self._die(process)
        if how in ("lost", "not sent") or self.loop.time() < self._cut_until.get(process.name, 0.0):
            await asyncio.sleep(self.random.choice((0.0, CLIENT_SECONDS)))
            raise no_answer(what, sent=how != "not sent")
        if how == "late":  # it arrives when its sender has given it up
            self.loop.call_later(CLIENT_SECONDS + fault.seconds, self._arrive, what, effect)
            await asyncio.sleep(CLIENT_SECONDS)
            process.check()
            raise no_answer(what)
        answer = effect(how)
        if how == "sent twice":  # S3's client repeats a request whose answer it has not got
            answer = effect(how)
        if how == "dies after":
            self._die(process)
        if how or what in CHANGES:  # what only reads is over now
            await asyncio.sleep(self.random.uniform(0.01, 0.3) + (fault.seconds if how == "slow" else 0))
            process.check()
        if how == "answer lost":
            raise no_answer(what)
        return answer

    def _arrive(self, what: str, effect: Callable[[str], Any]) -> None:
        self.note("late:", what)
        effect("")

    def _die(self, process: Process) -> None:
        self.note(process.name, "dies")
        process.kill()
        raise Killed

    def _made(self, task: Task) -> None:
        self.note("KIE makes", task.task_id, "for", task.asked, task.form, task.ends)
        if self.schedule.calls_back and task.attempt and task.ends_at < float("inf"):
            self.loop.call_at(task.ends_at - START, self._call_back, task)

    def _call_back(self, task: Task) -> None:
        fault = self.fault("callback")
        self.note("KIE calls back of", task.task_id, fault.how)
        if fault.how in ("never", "lost"):
            return
        self.loop.call_later(fault.seconds if fault.how == "late" else 0, self.on_callback, task)
        if fault.how == "sent twice":
            self.loop.call_later(fault.seconds, self.on_callback, task)

    # --- what must hold

    def recorded(self) -> Ledger:
        """Return the ledger as it is, without a network."""
        if self._honest is False:
            return Ledger(self.database, self.now)
        return Ledger(_Bare(self.objects.bodies), self.now)

    def ended_well(self, wanted: Wanted, task_id: str | None) -> None:
        """Check that a task has ended, as far as KIE tells (twice), and is the request's."""
        mine = [task for task in self.kie.tasks if task.task_id == task_id and task.asked == wanted.asked]
        assert mine, f"{task_id} is not what was wanted"
        ended = mine[0].ends != "failed" and mine[0].ends_at <= self.now()
        assert ended or _twice(mine[0].said_empty), f"{task_id} has not ended"

    def check(self) -> None:
        """Check what must hold at every moment, by KIE's books and the ledger.

        :raises AssertionError: naming what does not.
        """
        ledger = self.recorded()
        ids: Counter[str] = Counter()
        for wanted in self.wanted:
            attempts = ledger.attempts(wanted.id)
            made = [task for task in self.kie.tasks if task.asked == wanted.asked]
            known = [task_id for attempt in attempts for task_id in attempt.task_ids]
            ids.update(set(known))
            strangers = set(known) - {task.task_id for task in made}
            assert not strangers, f"{wanted.id} names tasks of others: {strangers}"
            living = [task for task in made if not _twice(task.said_failed)]
            repeated = sum("repeated" in attempt.endings for attempt in attempts)
            assert len(living) <= 1 + repeated * self.kind.free, f"{wanted.id} was paid for {len(living)} times"
            assert repeated <= 1, f"{wanted.id} was repeated {repeated} times"
            for attempt in attempts:
                failed = [task for task in made if task.task_id in attempt.task_ids and "failed" in attempt.endings]
                assert all(task.said_failed for task in failed), f"KIE has never said that {failed} failed"
        assert all(number == 1 for number in ids.values()), f"one task, several requests: {ids}"


def _twice(said: Sequence[float]) -> bool:
    """Return whether KIE has said something at two moments that lie far enough apart to be believed."""
    return len(said) > 1 and said[-1] - said[0] >= RULES.agree_after - 2 * SKEW


def no_answer(what: str, *, sent: bool = True) -> KieError:
    """Return the error of a request without an answer, by its kind."""
    if what.startswith("kie"):
        return KieUnreachable("no answer") if sent else KieNotSent("no connection")
    return S3Unreachable("no answer") if what.startswith("ledger") else KieLimiterUnavailable("no answer")
