"""Follow many tasks at a time in one event loop: with the rules of one, and so that no task stops another."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from airflow_kie.client.answers.decode import DetailsAnswer, Ended
from airflow_kie.client.errors import KieError, KieUnexpected
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.lifecycle.deadline import WaitEnded
from airflow_kie.lifecycle.driver import AsyncReader, TaskDriver
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.steps import DriveResult

log = logging.getLogger(__name__)

READS = 16
"""How many tasks are read at a time."""
SENDING = 4
"""How many requests are sent at a time: each takes a thread from its permit to its answer, and these are few."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome:
    """How one of many tasks came out: with details, or with the error that says why not.

    :param key: the caller's name for it.
    :param result: where it has led.
    :param error: why it has no files.
    :param timed_out: the wait has reached its deadline; the task may still end.
    """

    key: str
    result: DriveResult | None = None
    error: KieError | None = None
    timed_out: bool = False


async def follow_many(
    records: Mapping[str, TaskRecord],
    driver: Callable[[str], TaskDriver],
    kie: AsyncReader,
    *,
    at_once: int = READS,
    ended: Mapping[str, Ended] | None = None,
    to_the_end: bool = True,
    waits: bool = True,
) -> AsyncIterator[Outcome]:
    """Follow many tasks and yield each as it ends; one that fails never stops another.

    :param records: what is known of each, by the caller's names for them.
    :param driver: returns the driver of one of them; all share the account's permits and its read budget.
    :param kie: where they are; one HTTP client for all.
    :param at_once: how many requests are read at a time.
    :param ended: how the trigger saw those of them end that have failed.
    :param to_the_end: False: only until KIE has named each task.
    :param waits: False: only until a task has to be waited for.
    """
    gated = Gated(kie, asyncio.Semaphore(at_once), asyncio.Semaphore(SENDING))

    async def one(item: tuple[str, TaskRecord]) -> Outcome:
        key, record = item
        upto = {"to_the_end": to_the_end, "waits": waits}
        return await follow_one(key, record, driver(key), gated, (ended or {}).get(key), **upto)

    async for outcome in each(records.items(), one, at_once=len(records)):
        yield outcome


async def follow_one(
    key: str,
    record: TaskRecord,
    driver: TaskDriver,
    kie: Gated,
    ended: Ended | None = None,
    *,
    to_the_end: bool = True,
    waits: bool = True,
) -> Outcome:
    """Follow one of many tasks; never raises for the task's own failure.

    :param key: the caller's name for it.
    :param record: what is known of it.
    :param driver: carries it along.
    :param kie: where it is.
    :param ended: how the trigger saw it fail.
    :param to_the_end: False: only until KIE has named it.
    :param waits: False: only until it has to be waited for.
    """
    try:
        if driver.paid is not None and not record.task_id:
            async with kie.sending:  # it is waited for outside: another one's request holds back no third
                record = (await driver.afollow(record, kie, ended, to_the_end=False, waits=False)).record
            if not (waits or record.task_id):
                return Outcome(key, DriveResult(record))
        return Outcome(key, await driver.afollow(record, kie, ended, to_the_end=to_the_end, waits=waits))
    except WaitEnded as late:
        return Outcome(key, error=late.error, timed_out=True)
    except KieError as error:
        return Outcome(key, error=error)
    except Exception as error:
        log.exception("Waiting for KIE task %s failed unexpectedly.", record.task_id)
        return Outcome(key, error=KieUnexpected(f"{type(error).__name__}, see the log", task_id=record.task_id))


async def each(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], *, at_once: int
) -> AsyncIterator[Result]:
    """Yield what becomes of each item as it ends; the next one is taken when there is room for it.

    :param items: taken one by one.
    :param work: what is done with one.
    :param at_once: how many are worked on at a time.
    """
    waiting = iter(items)
    running: set[asyncio.Future[Result]] = set()
    try:
        while True:
            some = itertools.islice(waiting, at_once - len(running))
            running.update(asyncio.ensure_future(work(item)) for item in some)
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                yield one.result()
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@dataclass(frozen=True)
class Gated:
    """Reads, and sends, with at most so many requests at a time."""

    kie: AsyncReader
    gate: asyncio.Semaphore
    sending: asyncio.Semaphore

    async def details(self, kind: TaskOperation, task_id: str) -> DetailsAnswer:
        """Read a task's details."""
        async with self.gate:
            return await self.kie.details(kind, task_id)
