"""Task instances of Airflow in such a world: their tries, the triggerer, the receiver, and the people who help."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa
from sqlalchemy.util import greenlet_spawn

from airflow_kie.archive.s3 import conditional as conditional_module
from airflow_kie.client.account import KieAccount
from airflow_kie.client.answers.decode import Ended
from airflow_kie.client.api import Kie, KieAsync
from airflow_kie.client.errors import KieError, Remedy
from airflow_kie.client.rate_limiter import limiter as limiter_module
from airflow_kie.client.rate_limiter import store as store_module
from airflow_kie.client.rate_limiter.limiter import Caps, CreateLimiter
from airflow_kie.durable.requests import known_record
from airflow_kie.durable.retry_policy import BUDGETS, OTHER, retry_seconds
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.ledger import PaidRequest
from airflow_kie.lifecycle.many import follow_many
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.triggers import task as trigger_module
from airflow_kie.triggers.event import Outcome, ended_by, ended_tasks
from airflow_kie.triggers.task import KieTaskTrigger
from simulated.kie import CREDITS, Task
from simulated.loop import blocking
from simulated.schedule import Event, Schedule, Worker
from simulated.sender import Sender
from simulated.world import ACCOUNT, CALLBACK, CURRENT, Killed, Process, Wanted, World

TIMEOUT = 300.0
CAP = 2 * CREDITS
FOUND_DEAD = 40.0
"""Seconds after which Airflow finds that a process is gone."""
ENDS = frozenset({"done", "failed_for_good", "duplicate_without_id"})
"""How a request ends where nothing goes wrong any more and a person has settled what was in doubt."""


class Deferred(Exception):
    """The task instance waits in the triggerer.

    :param trigger: the trigger's arguments, as Airflow stores them.
    :param awaited: the id, or the records of many, that are waited for.
    """

    def __init__(self, trigger: KieTaskTrigger, awaited: Any) -> None:
        super().__init__()
        self.trigger = json.loads(json.dumps(trigger.serialize()[1]))
        self.awaited = awaited


class Run:
    """One task instance.

    :param world: where.
    :param name: its name.
    :param plan: how it works.
    """

    def __init__(self, world: World, name: str, plan: Worker, limiter: CreateLimiter | None = None) -> None:
        self.world, self.name, self.plan, self.limiter = world, name, plan, limiter
        self.wanted = world.wanted if "many" in plan.mode else (world.wanted[plan.request],)
        self.stored: dict[str, Any] | None = None
        self.outcome = ""
        self.outcomes: dict[str, str] = {}
        self.deadline = 0.0
        self.process: Process | None = None
        self.woken = asyncio.Event()
        self._failures: dict[str, int] = {}
        self._clears = 0

    # --- what Airflow does

    async def live(self) -> None:
        """Run until it has ended, through retries, deaths and clears."""
        await asyncio.sleep(self.plan.starts)
        again = -1
        while again < self._clears:  # a person has cleared it meanwhile
            again = self._clears
            self.outcome, self.deadline, self._failures = "", self.world.now() + TIMEOUT, {}
            first = self.world.loop.create_task(self._try(again))
            if self.plan.second_try_beside and not again:
                await asyncio.sleep(self.world.random.choice((0.2, 1.0, 50.0)))
                await self._try(again)  # the first one's process lives on, and both write into the same store
            await first
        self.world.note(self.name, "has ended:", self.outcome, self.outcomes or "")

    async def _try(self, clears: int) -> None:
        event: dict[str, Any] | None = None
        awaited: Any = None
        while clears == self._clears:
            self.process = Process(self.world, self.name, float(self.plan.skew))
            try:
                await self.process.run(self._leg(self.process, event, awaited))
                self.outcome = "done"
                return
            except Killed:
                event = awaited = None
                await asyncio.sleep(FOUND_DEAD)
            except Deferred as deferred:
                awaited = deferred.awaited
                event = await self._in_triggerer(deferred.trigger, clears)
            except KieError as error:
                self.outcome, event, awaited = error.reason, None, None
                budget = BUDGETS.get(error.reason, OTHER)
                self._failures[error.reason] = failures = self._failures.get(error.reason, 0) + 1
                self.world.note(self.name, "fails:", error.reason)
                if error.remedy is Remedy.PERSON or failures > budget.retries:
                    return
                await asyncio.sleep(retry_seconds(budget, failures, self.name))

    async def _in_triggerer(self, arguments: dict[str, Any], clears: int) -> dict[str, Any]:
        """Wait as the triggerer does: another one goes on when it dies, and a callback resumes the task."""
        self.woken.clear()
        while clears == self._clears:
            process = Process(self.world, f"{self.name}'s trigger", -float(self.plan.skew))
            running = self.world.loop.create_task(process.run(_trigger(arguments)))
            self.process = process
            waking = self.world.loop.create_task(self.woken.wait())
            await asyncio.wait([running, waking], return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
            if not running.done():
                process.kill()
                await asyncio.wait([running])
                return {}
            if running.exception() is None:
                event: dict[str, Any] = json.loads(json.dumps(running.result()))
                return event
            await asyncio.sleep(FOUND_DEAD)
        return {}

    def clear(self) -> None:
        """Clear it, as a person does."""
        self._clears += 1
        if self.process is not None and not self.outcome:
            self.process.kill()

    # --- what the operator does

    async def _leg(self, process: Process, event: dict[str, Any] | None, awaited: Any) -> None:
        if "many" in self.plan.mode:
            await self._leg_of_many(process, event, awaited)
        else:
            await greenlet_spawn(self._leg_of_one, process, event or {}, awaited)

    def _leg_of_one(self, process: Process, event: dict[str, Any], awaited: str | None) -> None:
        wanted = self.wanted[0]
        stored = TaskRecord.from_json(self.stored) if self.stored else None
        record = known_record(stored, self._new(wanted), awaited=event.get("task_id") or awaited)
        driver = self._driver(process, wanted, functools.partial(self._save, process))
        if record.task_id and not record.number and driver.paid:
            record = replace(record, number=driver.paid.adopt(record.task_id))

        def pause(record: TaskRecord, until: float) -> None:
            if self.plan.mode == "poke":
                blocking(asyncio.sleep(max(0.0, until - process.clock())))
                process.check()
                return
            ends_at = record.own_deadline(self.deadline, TIMEOUT)
            trigger = KieTaskTrigger("kie_default", record.to_json(), ends_at, self.world.rules.interval, until)
            raise Deferred(trigger, record.task_id)

        followed = driver.follow(record, Kie(_transport(process)), pause, ended_by(event, Outcome.FAILED))
        self.world.ended_well(wanted, followed.record.task_id)

    async def _leg_of_many(self, process: Process, event: dict[str, Any] | None, awaited: Any) -> None:
        known = {name: TaskRecord.from_json(record) for name, record in (awaited or {}).items()}
        ended: dict[str, Ended] = {}
        for name, one in ended_tasks(event).items():
            self.outcomes[name] = str(one["outcome"])
            if failed := ended_by(one, Outcome.FAILED):
                ended[name] = failed
            elif one["outcome"] == Outcome.DONE:
                self._ended_well(name, one["task_id"])
        if event is None:  # a new attempt asks again for what has failed
            self.outcomes = {name: outcome for name, outcome in self.outcomes.items() if outcome == "done"}
        over = {name for name, outcome in self.outcomes.items() if outcome != "waiting"} - set(ended)
        left = {one.id.digest: one for one in self.wanted if one.id.digest not in over}
        records = {name: known.get(name) or self._new(one) for name, one in left.items()}
        drivers = {name: self._driver(process, one, None) for name, one in left.items()}
        kie = KieAsync(_transport(process, blocks=False))
        waiting: dict[str, Any] = {}
        errors: list[KieError] = []
        to_the_end = self.plan.mode == "many"
        async for one in follow_many(records, drivers.__getitem__, kie, ended=ended, to_the_end=to_the_end):
            process.check()
            self.outcomes[one.key] = one.error.reason if one.error else "done" if to_the_end else "waiting"
            errors += [one.error] if one.error else []
            if one.result and to_the_end:
                self._ended_well(one.key, one.result.record.task_id)
            elif one.result:
                waiting[one.key] = one.result.record.to_json()
        if waiting:
            ends_at = process.clock() + TIMEOUT
            interval = self.world.rules.interval
            trigger = KieTaskTrigger("kie_default", None, ends_at, interval, records=waiting, timeout=TIMEOUT)
            raise Deferred(trigger, waiting)
        if errors:
            raise errors[0]

    def _ended_well(self, digest: str, task_id: str | None) -> None:
        self.world.ended_well(next(one for one in self.wanted if one.id.digest == digest), task_id)

    def _new(self, wanted: Wanted) -> TaskRecord:
        kind = self.world.kind
        return TaskRecord(kind.name, kind.source_in(wanted.body), "kie_default", digest=wanted.id.digest)

    def _save(self, process: Process, record: TaskRecord) -> None:
        def write(how: str) -> None:
            self.stored = json.loads(json.dumps(record.to_json()))

        before = self.stored or {}
        process.ask("state", write)
        news = before.get("unrecorded") or before.get("task_id") != record.task_id
        if record.task_id and not record.unrecorded and news:  # no id is in one place alone for longer than a step
            attempts = self.world.recorded().attempts(self.wanted[0].id)
            assert any(record.task_id in attempt.task_ids for attempt in attempts), f"{record.task_id} is not recorded"

    def _driver(self, process: Process, wanted: Wanted, save: Callable[[TaskRecord], None] | None) -> TaskDriver:
        kie = Kie(_transport(process))
        sender = Sender(self.world, self.name, wanted, kie, self.limiter)
        return TaskDriver(
            save=save,
            paid=PaidRequest(process.open_ledger, wanted.id, sender.new_intent),
            create=sender.create,
            permit=sender.permit,
            give_back=sender.give_back,
            settle=sender.settle,
            deadline=self.deadline,
            rules=replace(self.world.rules, timeout=TIMEOUT),
            clock=process.clock,
        )


def _transport(process: Process, *, blocks: bool = True) -> Any:
    account = KieAccount(
        "key", callback_url=CALLBACK, webhook_secret="s", account=ACCOUNT, api=process.world.schedule.form
    )
    return SimpleNamespace(account=account, send=process.send if blocks else process.asend)


async def _trigger(arguments: dict[str, Any]) -> dict[str, Any]:
    async for event in KieTaskTrigger(**arguments).run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("a trigger ends in an event")


async def _reads_through(_: str) -> Any:
    process = CURRENT.get()

    async def fresh(*, fresh: bool) -> KieAsync:
        return KieAsync(_transport(process, blocks=False))

    return trigger_module._Reads(SimpleNamespace(aget_conn=fresh), await fresh(fresh=True))  # type: ignore[arg-type]


async def _nothing() -> None:
    return


@contextmanager
def in_the_world(world: World) -> Iterator[None]:
    """Let triggers and the limiter run in the world's time, and triggers ask its KIE."""
    clock = lambda: CURRENT.get().clock()  # noqa: E731
    sleep = lambda seconds: blocking(asyncio.sleep(seconds))  # noqa: E731
    time = SimpleNamespace(time=clock, monotonic=world.now, time_ns=lambda: int(world.now() * 1e9), sleep=sleep)
    quiet = SimpleNamespace(get_ready=_nothing, WAITING=SimpleNamespace(set=lambda *_, **__: None))
    rules = SimpleNamespace(rules=lambda interval: replace(world.rules, interval=interval))
    with (
        patch.object(trigger_module._Reads, "through", _reads_through),
        patch.object(trigger_module._Waiting, "_counts", {}),
        patch.multiple(trigger_module, time=time, TaskDriver=functools.partial(TaskDriver, clock=clock)),
        patch.multiple(trigger_module, settings=rules, metrics=quiet),
        patch.multiple(limiter_module, time=time, random=world.random),
        patch.object(store_module, "time", time),
        patch.multiple(conditional_module, time=time, random=world.random),
    ):
        yield


def new_limiter(world: World) -> CreateLimiter:
    """Return the account's limiter, with a cap and a store in memory."""
    limiter = CreateLimiter(ACCOUNT, store="sqlite:////nowhere/kie.db", caps=Caps(day=CAP))
    limiter.store = store_module.Store("sqlite:////nowhere/kie.db")
    limiter.store._engine = _engine()
    with limiter.store._engine.begin() as connection:
        for table in store_module.TABLES.sorted_tables:
            connection.execute(table.delete())
    return limiter


@functools.cache
def _engine() -> sa.Engine:
    options = {"isolation_level": None, "check_same_thread": False}
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args=options)
    store_module.TABLES.create_all(engine)
    return engine


def play(schedule: Schedule) -> World:
    """Run a schedule to its end and check what must hold.

    :raises AssertionError: naming what does not hold.
    """
    world = World(schedule)
    try:
        with in_the_world(world):
            try:
                world.loop.run_until_complete(_play(world))
            finally:
                world.end()
    except BaseException as error:
        error.add_note("\n".join(world.log[-150:]))
        raise
    finally:
        world.loop.close()
    return world


async def _play(world: World) -> None:
    schedule = world.schedule
    limiter = new_limiter(world) if schedule.capped else None
    runs = [Run(world, f"run {n}", plan, limiter) for n, plan in enumerate(schedule.workers)]
    world.on_callback = functools.partial(_called_back, world, runs)
    for event in schedule.events:
        world.loop.call_later(event.at, _happens, world, runs[event.worker % len(runs)], event)
    lives = [world.loop.create_task(run.live()) for run in runs]
    await asyncio.wait(lives, timeout=4 * 3600)
    for run, life in zip(runs, lives, strict=True):
        assert life.done(), f"{run.name} has not ended after four hours"
        life.result()
    world.kill_all()
    await asyncio.sleep(700)  # the latest of what is under way has arrived
    world.check()
    if limiter is not None:
        paid = [task for task in world.kie.tasks if not task.said_failed and task.operation == "suno.music"]
        assert len(paid) * CREDITS <= CAP, "more was paid for than the cap allows"
    world.heal()
    await asyncio.sleep(3600)
    await _rescue(world, world.wanted)
    for name, outcome in (await _rescue(world, _decide(world))).items():
        assert outcome in ENDS, f"{name} is left at {outcome}"
    world.check()
    _nothing_is_lost(world)


async def _rescue(world: World, wanted: Sequence[Wanted]) -> dict[str, str]:
    """Let one more run ask for each request, where nothing goes wrong; return how each has ended."""
    plans = [Worker("poke", world.wanted.index(one), 0, 0, False) for one in wanted]
    runs = [Run(world, f"rescue of {plan.request}", plan) for plan in plans]
    await asyncio.gather(*(run.live() for run in runs))
    for run in runs:
        if run.outcome != "create_in_doubt":
            assert run.outcome in ENDS, f"{run.name} is left at {run.outcome}"
    return {run.name: run.outcome for run in runs}


def _decide(world: World) -> list[Wanted]:
    """Settle what is in doubt, as a person does who reads KIE's own list of tasks; return what that was about."""
    ledger, decided = world.recorded(), []
    for wanted, doubt in ((one, doubt) for one in world.wanted for id, doubt in ledger.doubts(ACCOUNT) if id == one.id):
        known = {task_id for attempt in ledger.attempts(wanted.id) for task_id in attempt.task_ids}
        unknown = [task for task in world.kie.tasks if task.asked == wanted.asked and task.task_id not in known]
        world.note("a person", "adopts" if unknown else "releases", wanted.id)
        if unknown:
            ledger.adopt(wanted.id, unknown[-1].task_id, by="a person")
        else:
            ledger.record(wanted.id, doubt.number, "released", by="a person")
        decided.append(wanted)
    return decided


def _nothing_is_lost(world: World) -> None:
    """Check that each request has its task, and that every paid one is in the ledger."""
    ledger = world.recorded()
    for wanted in world.wanted:
        attempts = ledger.attempts(wanted.id)
        known = {task_id for attempt in attempts for task_id in attempt.task_ids}
        repeated = any("repeated" in attempt.endings for attempt in attempts)
        lost = [task for task in world.kie.tasks if task.asked == wanted.asked and task.task_id not in known]
        assert len(lost) <= repeated * world.kind.free, f"{[task.task_id for task in lost]} are in no ledger"


def _called_back(world: World, runs: list[Run], task: Task) -> None:
    """Receive a callback: the id is recorded before anything else, then the task that waits is woken."""
    digest, _, number = task.attempt.partition("/")

    def record(process: Process) -> None:
        wanted = next(one for one in world.wanted if one.id.digest == digest)
        process.open_ledger().record_task(wanted.id, int(number), task.task_id, by="callback")
        for run in runs:
            if digest in [one.id.digest for one in run.wanted] and "many" not in run.plan.mode:
                run.woken.set()

    async def receive() -> None:
        for _ in range(3):  # KIE calls again where it gets no 200
            process = Process(world, "receiver")
            try:
                await process.run(greenlet_spawn(record, process))
                return
            except (KieError, Killed):
                await asyncio.sleep(60)

    world.loop.create_task(receive())


def _happens(world: World, run: Run, event: Event) -> None:
    world.note("event:", event.what, run.name)
    match event.what:
        case "clear":
            run.clear()
        case "empty":
            run.stored = None
        case "kill" if run.process is not None:
            run.process.kill()
        case "cut":
            world.cut(run.name, event.seconds)
