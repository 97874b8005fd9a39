"""Follow many tasks at a time in one event loop: with the rules of one, and so that no task stops another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from airflow_kie.client.answers.decode import DetailsAnswer, Ended
from airflow_kie.client.errors import KieError, KieUnexpected
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.lifecycle.deadline import WaitEnded
from airflow_kie.lifecycle.driver import AsyncReader, DriveResult, TaskDriver
from airflow_kie.lifecycle.record import TaskRecord

log = logging.getLogger(__name__)


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
    at_once: int = 16,
    ended: Mapping[str, Ended] | None = None,
    to_the_end: bool = True,
) -> AsyncIterator[Outcome]:
    """Follow many tasks and yield each as it ends; one that fails never stops another.

    :param records: what is known of each, by the caller's names for them.
    :param driver: returns the driver of one of them; all share the account's permits and its read budget.
    :param kie: where they are; one HTTP client for all.
    :param at_once: how many requests are read or sent at a time.
    :param ended: how the trigger saw those of them end that have failed.
    :param to_the_end: False: only until KIE has named each task.
    """
    gate = asyncio.Semaphore(at_once)
    outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

    async def one(key: str, record: TaskRecord) -> None:
        try:
            result = await driver(key).afollow(record, _Gated(kie, gate), (ended or {}).get(key), to_the_end=to_the_end)
            outcome = Outcome(key, result)
        except WaitEnded as late:
            outcome = Outcome(key, error=late.error, timed_out=True)
        except KieError as error:
            outcome = Outcome(key, error=error)
        except Exception as error:
            log.exception("Following KIE task %s ended unexpectedly.", record.task_id)
            broken = KieUnexpected(f"{type(error).__name__}, see the log", task_id=record.task_id)
            outcome = Outcome(key, error=broken)
        outcomes.put_nowait(outcome)

    tasks = [asyncio.create_task(one(key, record)) for key, record in records.items()]
    try:
        for _ in tasks:
            yield await outcomes.get()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class _Gated:
    """Reads with at most so many requests at a time."""

    kie: AsyncReader
    gate: asyncio.Semaphore

    async def details(self, kind: TaskOperation, task_id: str) -> DetailsAnswer:
        async with self.gate:
            return await self.kie.details(kind, task_id)
