"""KieTaskTrigger: waits for KIE tasks in the triggerer, and always ends with one event."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_kie import metrics, settings
from airflow_kie._airflow_private import process
from airflow_kie.client.answers.decode import DetailsAnswer, Read, Unreadable
from airflow_kie.client.answers.details import Result, TaskDetails
from airflow_kie.client.answers.inline import kept_under
from airflow_kie.client.errors import KieError, KieUnauthorized, KieUnexpected
from airflow_kie.client.operations.operation import Medium, State, TaskOperation
from airflow_kie.client.redact import storable
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.deadline import WaitEnded
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.many import follow_many
from airflow_kie.lifecycle.record import TaskRecord, read_records
from airflow_kie.triggers.event import ENDED_KEY, Outcome, event_of

if TYPE_CHECKING:
    from airflow_kie.client.api import KieAsync

log = logging.getLogger(__name__)

STATE_SECONDS = 20.0
"""How long a trigger that is cancelled asks what has become of its Airflow task. The api-server of a stack on SQLite
stalls for 5 s while the database is locked; an answer that comes too late reads like a kill."""
REPORT_EVERY = 10.0
"""Seconds between two writes that say which of many tasks have ended; where none has since, nothing is written."""
GOES_ON = frozenset({"scheduled", "queued", "running", "deferred", "up_for_reschedule", "up_for_retry", "success"})
"""States of a task that a callback has woken: it may wait again or have ended by now. A cleared one gets there too."""


class KieTaskTrigger(BaseTrigger):
    """Reads one or more KIE tasks until they end, with the process's shared HTTP client.

    It ends with one event and never with an exception, whose type and text Airflow would lose. For one task the event
    is ``{outcome, reason, code, message, task_id, last_state, …}``; for several it is ``{outcome: "done", tasks:
    {name: such an event}}`` with those that have ended. Airflow stores its arguments, so they hold no secrets.

    :param kie_conn_id: the Airflow connection.
    :param record: the task, as :meth:`~airflow_kie.lifecycle.record.TaskRecord.to_json` writes it.
    :param deadline: epoch seconds (wall clock on purpose: the trigger may move to another process).
    :param poll_interval: seconds between reads; None reads most often around the operation's usual duration.
    :param first_read: epoch seconds of the first read; None or past: at once.
    :param records: instead of one task: several, by the caller's names for them.
    :param timeout: with `records`: seconds for each task from the time its id became known; None: until the deadline.
    :param linger: with `records`: seconds to wait after the first has ended; None: until all have ended.
    :param unknown: arguments stored by a newer version, which are ignored.
    """

    def __init__(
        self,
        kie_conn_id: str,
        record: Mapping[str, Any] | None = None,
        deadline: float = 0.0,
        poll_interval: float | None = None,
        first_read: float | None = None,
        records: Mapping[str, Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        linger: float | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kie_conn_id = kie_conn_id
        self.record: dict[str, Any] = storable(record or {})  # Airflow stores and shows it
        self.records: dict[str, Any] = storable(records or {})
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.first_read = first_read
        self.timeout = timeout
        self.linger = linger
        self._resumed = False
        if unknown:
            log.info("Ignored arguments that a newer version has stored: %s.", ", ".join(sorted(unknown)))

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, which Airflow stores."""
        names = ("kie_conn_id", "record", "deadline", "poll_interval", "first_read", "records", "timeout", "linger")
        return "airflow_kie.triggers.task.KieTaskTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield the one event."""
        record = TaskRecord(kind="", task_id=self.record.get("task_id"))  # also an unreadable one is about a task
        try:
            if self.records:
                event: dict[str, Any] = {"outcome": Outcome.DONE.value, "tasks": await self._watch_many()}
            else:
                record = TaskRecord.from_json(self.record)
                event = await (self._watch(record) if record.task_id else self._until_asked_again(record))
        except Exception as error:  # noqa: BLE001 - Airflow would lose its type and text
            event = _failed(record, error)
        except asyncio.CancelledError as cancelled:
            if not cancelled.args or not await self._goes_on_elsewhere():
                raise
            event = event_of(Outcome.RESUMED, record)
        log.info("The wait for %s has ended: %s.", self._tasks(), event["outcome"])
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    def _tasks(self) -> str:
        if self.records:
            return f"{len(self.records)} KIE tasks"
        known = self.record.get("source")
        source = TaskRecord(kind="", source=known if isinstance(known, Mapping) else {}).source_id
        return f"KIE task {self.record.get('task_id')}{f' for {source}' if source else ''}"

    async def on_kill(self) -> None:
        """Say that KIE cannot cancel; the id is kept, and the next attempt continues with the task."""
        if self._resumed:
            return
        log.warning(
            "Somebody has cleared, marked or deleted the Airflow task that waited for %s. KIE cannot cancel a "
            "task: it continues there and is charged. Its id is kept; a cleared task uses it.",
            self._tasks(),
        )

    async def _goes_on_elsewhere(self) -> bool:
        """Return whether the Airflow task continues with the KIE task: a callback has woken it, or somebody cleared it.

        Airflow cancels the trigger of a task that is no longer deferred as if a person had killed it, and calls
        :meth:`on_kill`: that would read like an accident although all is well.
        """
        lookup = asyncio.ensure_future(process.state_of(self.task_instance))
        ends_at = time.monotonic() + STATE_SECONDS
        while not lookup.done() and time.monotonic() < ends_at:
            try:
                await asyncio.wait([lookup], timeout=ends_at - time.monotonic())
            except asyncio.CancelledError as again:
                if not again.args:  # the triggerer shuts down
                    break
                # Airflow cancels about once a second until the trigger has ended, and a busy machine takes longer.
        if not lookup.done():
            lookup.cancel()
            return False
        self._resumed = lookup.result() in GOES_ON
        return self._resumed

    async def _until_asked_again(self, record: TaskRecord) -> dict[str, Any]:
        """Wait for somebody else's request, or the callback of a lost one: the receiver wakes the Airflow task."""
        await _sleep_until(min(self.first_read or 0.0, self.deadline))
        return event_of(Outcome.ASK_AGAIN, record)

    async def _watch(self, record: TaskRecord) -> dict[str, Any]:
        await metrics.get_ready()
        kie = await _Reads.through(self.kie_conn_id)
        with _Waiting(kie.account, 1) as waiting:
            await _sleep_until(min(self.first_read or 0.0, self.deadline))
            try:
                # Even after the deadline: the task may have ended while no triggerer ran.
                result = await self._driver(waiting, record).afollow(record, kie)
            except WaitEnded as ended:
                return event_of(Outcome.TIMEOUT, record, ended.error)
            return event_of(Outcome.DONE, result.record)

    async def _watch_many(self) -> dict[str, Any]:
        """Return the event of each task, by the caller's name for it."""
        await metrics.get_ready()
        kie = await _Reads.through(self.kie_conn_id)
        records, damaged = read_records(self.records)
        events: dict[str, Any] = {
            name: event_of(Outcome.FAILED, TaskRecord(kind="", task_id=error.facts.task_id), error)
            for name, error in damaged.items()
        }
        with _Waiting(kie.account, len(records)) as waiting, self._reporting(events):
            await _sleep_until(min(self.first_read or 0.0, self.deadline))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None) as rest:
                    async for ended in follow_many(records, lambda name: self._driver(waiting, records[name]), kie):
                        waiting.change(-1)
                        record = ended.result.record if ended.result else records[ended.key]
                        outcome = (
                            Outcome.TIMEOUT if ended.timed_out else Outcome.FAILED if ended.error else Outcome.DONE
                        )
                        details = ended.result.details if ended.result else None
                        used = details.credits_consumed if details else None
                        events[ended.key] = {**event_of(outcome, record, ended.error), "used": used}
                        if self.linger is not None and rest.when() is None:
                            rest.reschedule(asyncio.get_running_loop().time() + self.linger)
        return events

    @contextlib.contextmanager
    def _reporting(self, events: Mapping[str, Any]) -> Iterator[None]:
        """Meanwhile keep up in an XCom which tasks have ended: the run's page shows it."""
        reporting = asyncio.ensure_future(self._report(events)) if self.task_instance else None
        try:
            yield
        finally:
            if reporting:
                reporting.cancel()

    async def _report(self, events: Mapping[str, Any]) -> None:
        from airflow.sdk import BaseXCom

        ti, reported = cast("Any", self.task_instance), 0
        where = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
        while True:
            await asyncio.sleep(REPORT_EVERY)
            ended = sorted(name for name, event in events.items() if event["outcome"] == Outcome.DONE)
            if len(ended) == reported:
                continue
            try:
                await BaseXCom.aset(ENDED_KEY, ended, **where)
            except Exception as refused:  # noqa: BLE001 - only a page shows it
                log.info("The number of ended KIE tasks could not be stored for the UI: %s", type(refused).__name__)
                return
            reported = len(ended)

    def _driver(self, waiting: _Waiting, record: TaskRecord) -> TaskDriver:
        deadline = self.deadline
        if self.timeout is not None and record.known_at is not None:
            deadline = min(deadline, record.known_at + self.timeout)
        return TaskDriver(deadline=deadline, rules=settings.rules(self.poll_interval), waiting=lambda: waiting.count)


def _failed(record: TaskRecord, error: Exception) -> dict[str, Any]:
    """Return the event of a wait that ended in an error."""
    if not isinstance(error, KieError):
        log.exception("Waiting for KIE task %s ended unexpectedly.", record.task_id)
        error = KieUnexpected(f"{type(error).__name__} in the triggerer, see its log", task_id=record.task_id)
    return event_of(Outcome.FAILED, record, error)


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.time()))


@dataclass
class _Reads:
    """Reads tasks, and reads the connection again when the key is refused: it may have been changed."""

    hook: KieHook
    kie: KieAsync

    @classmethod
    async def through(cls, kie_conn_id: str) -> _Reads:
        hook = KieHook(kie_conn_id)
        return cls(hook, await hook.aget_conn())

    @property
    def account(self) -> str:
        return self.kie.account.connection

    async def details(self, kind: TaskOperation, task_id: str) -> DetailsAnswer:
        if kept_under(task_id):  # it has ended: the Airflow task reads it, where connections may be read
            result = Result("kept", 1, Medium.JSON)
            return Read(TaskDetails(kind.name, task_id, State.SUCCEEDED, "", form=kind.form, results=(result,)))
        answer = await self.kie.details(kind, task_id)
        if isinstance(answer, Unreadable) and isinstance(answer.error, KieUnauthorized):
            self.kie = await self.hook.aget_conn(fresh=True)
            answer = await self.kie.details(kind, task_id)
        return answer


class _Waiting:
    """Counts the tasks of one account that wait in this process: the more wait, the slower each is read."""

    _counts: ClassVar[dict[str, int]] = {}

    def __init__(self, account: str, tasks: int) -> None:
        self._account = account
        self._tasks = tasks

    def __enter__(self) -> _Waiting:
        self.change(self._tasks)
        return self

    def __exit__(self, *_: object) -> None:
        self.change(-self._tasks)

    def change(self, by: int) -> None:
        """Count so many more or less."""
        self._tasks = max(0, self._tasks + min(by, 0))
        self._counts[self._account] = self._counts.get(self._account, 0) + by
        metrics.WAITING.set(sum(self._counts.values()), triggerer=socket.gethostname())

    @property
    def count(self) -> int:
        return max(1, self._counts[self._account])
