"""KieTaskTrigger: waits for one KIE task in the triggerer, and always ends in one event."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_kie import metrics, settings
from airflow_kie._airflow_private import process
from airflow_kie.client.answers.decode import Unreadable
from airflow_kie.client.errors import KieError, KieUnauthorized, KieUnexpected, Scope
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.client.redact import storable
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.driver import end_of_wait, timed_out
from airflow_kie.lifecycle.log_line import about
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Action, Done, Fail, Fetch, Rules, Wait, next_action
from airflow_kie.triggers.event import Outcome, event_of

if TYPE_CHECKING:
    from airflow_kie.client.api import KieAsync

log = logging.getLogger(__name__)

STATE_SECONDS = 20.0
"""How long a trigger that is cancelled asks what has become of its Airflow task. The api-server of a stack on SQLite
stalls for 5 s while the database is locked; an answer that comes too late reads like a kill."""
GOES_ON = frozenset({"scheduled", "queued", "running", "deferred", "up_for_reschedule", "up_for_retry", "success"})
"""States of a task that a callback has woken: it may wait again or have ended by now. A cleared one gets there too."""


class KieTaskTrigger(BaseTrigger):
    """Reads a KIE task until it ends, with the process's shared HTTP client.

    It ends in one event ``{outcome, reason, code, message, task_id, last_state, …}`` and never in an exception:
    Airflow would lose the exception's type and text. Nothing secret stands in its arguments, which Airflow stores.

    :param kie_conn_id: the Airflow connection.
    :param record: the task, as :meth:`~airflow_kie.lifecycle.record.TaskRecord.to_json` writes it.
    :param deadline: epoch seconds (wall clock on purpose: the trigger may move to another process).
    :param poll_interval: seconds between reads; None: dense near the time at which such tasks usually end.
    :param first_read: epoch seconds of the first read; None or past: at once.
    """

    def __init__(
        self,
        kie_conn_id: str,
        record: Mapping[str, Any],
        deadline: float,
        poll_interval: float | None = None,
        first_read: float | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kie_conn_id = kie_conn_id
        self.record: dict[str, Any] = storable(record)  # Airflow stores and shows it
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.first_read = first_read
        self._resumed = False
        if unknown:
            log.info("Arguments of a newer version are left aside: %s.", ", ".join(sorted(unknown)))

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments; both are stored and stay readable by later versions."""
        return (
            "airflow_kie.triggers.task.KieTaskTrigger",
            {
                "kie_conn_id": self.kie_conn_id,
                "record": self.record,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "first_read": self.first_read,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield the one event."""
        record = TaskRecord(kind="", task_id=self.record.get("task_id"))  # also an unreadable one is about a task
        try:
            record = TaskRecord.from_json(self.record)
            event = await self._watch(record)
        except KieError as error:
            event = event_of(Outcome.FAILED, record, error)
        except Exception as error:
            log.exception("Waiting for KIE task %s ended unexpectedly.", record.task_id)
            broken = KieUnexpected(f"{type(error).__name__} in the triggerer, see its log", task_id=record.task_id)
            event = event_of(Outcome.FAILED, record, broken)
        except asyncio.CancelledError as cancelled:
            if not cancelled.args or not await self._goes_on_elsewhere():
                raise
            event = event_of(Outcome.RESUMED, record)
        made_from = f" for {record.source_id}" if record.source_id else ""
        log.info("Waiting for KIE task %s%s ends: %s.", record.task_id, made_from, event["outcome"])
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Say that KIE cannot cancel; the id stays in the task store and is taken up by the next attempt."""
        if self._resumed:
            return
        log.warning(
            "Somebody has cleared, marked or deleted the Airflow task that waited for KIE task %s. KIE cannot cancel a "
            "task: it goes on there, and what it costs is charged. Its id is kept; a cleared task uses it.",
            self.record.get("task_id"),
        )

    async def _goes_on_elsewhere(self) -> bool:
        """Return whether the Airflow task goes on with the KIE task: a callback has woken it, or somebody cleared it.

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

    async def _watch(self, record: TaskRecord) -> dict[str, Any]:
        hook = KieHook(self.kie_conn_id)
        kie = await hook.aget_conn()
        rules = settings.rules(self.poll_interval)
        await metrics.get_ready()
        with _Waiting(kie) as waiting:
            await _sleep_until(min(self.first_read or 0.0, self.deadline))
            action: Action = Fetch(record)  # even after the deadline: the task may have ended while no triggerer ran
            unread: KieError | None = None
            while True:
                match action:
                    case Done(record):
                        return event_of(Outcome.DONE, record)
                    case Fail(record, error):
                        return event_of(Outcome.FAILED, record, error)
                    case Wait(record, until):
                        ends_at = end_of_wait(record, self.deadline, rules)
                        if time.time() >= ends_at:
                            return event_of(Outcome.TIMEOUT, record, timed_out(record, unread))
                        await _sleep_until(min(until, ends_at))
                        action = Fetch(record)
                    case Fetch(record):
                        answer = await kie.details(task_kind(record.kind), record.task_id or "")
                        if isinstance(answer, Unreadable) and isinstance(answer.error, KieUnauthorized):
                            kie = await hook.aget_conn(fresh=True)
                            answer = await kie.details(task_kind(record.kind), record.task_id or "")
                        waiting.tell()
                        unread = answer.error if isinstance(answer, Unreadable) else None
                        _log_news(record, answer)
                        action = next_action(record, time.time(), answer, waiting.rules(rules))
                        if action.record.last_state != record.last_state:
                            log.info("%s", about(action.record))
                    case _:
                        raise AssertionError(f"A trigger only reads, and was told: {action}.")


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.time()))


class _Waiting:
    """Counts the tasks of one account that wait in this process: the more wait, the slower each is read."""

    _counts: dict[str, int] = {}

    def __init__(self, kie: KieAsync) -> None:
        self._account = kie.account.connection

    def __enter__(self) -> _Waiting:
        self._counts[self._account] = self._counts.get(self._account, 0) + 1
        self.tell()
        return self

    def __exit__(self, *_: object) -> None:
        self._counts[self._account] -= 1
        self.tell()

    def tell(self) -> None:
        metrics.WAITING.set(sum(self._counts.values()), triggerer=socket.gethostname())

    def rules(self, rules: Rules) -> Rules:
        return replace(rules, waiting=self.count)

    @property
    def count(self) -> int:
        return self._counts[self._account]


def _log_news(record: TaskRecord, answer: object) -> None:
    """Log a read that failed, and a state word that no page documents."""
    if isinstance(answer, Unreadable):
        wait = "it is read again" if answer.error.scope is Scope.SERVICE else "see below"
        log.warning("KIE task %s could not be read (%s); %s.", record.task_id, answer.error.reason, wait)
