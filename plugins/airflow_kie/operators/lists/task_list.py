"""Many requests in one Airflow task: each is paid once, and waited for, archived and reported on its own."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from airflow_kie import settings
from airflow_kie.client.answers.decode import Ended
from airflow_kie.client.errors import KieError, KieUnexpected, Scope, error_from_event
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.durable.defaults import labels_in
from airflow_kie.durable.requests import given_up, ledger_of
from airflow_kie.durable.waiting import defer_list
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.sending import Sender
from airflow_kie.lifecycle.claims import AlreadyMade
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.ledger import Ledger
from airflow_kie.lifecycle.many import READS, SENDING, Gated, each, follow_one
from airflow_kie.lifecycle.many import Outcome as Followed
from airflow_kie.lifecycle.record import TaskRecord, read_records
from airflow_kie.lineage.lists import of_list
from airflow_kie.lineage.mixin import LineageMethods
from airflow_kie.operators.lists.requests import ListOperator, Request, RequestRows, open_requests, refuse_as_list
from airflow_kie.operators.lists.results import InTaskState, Item, ListResults, Status, check_all, share_of
from airflow_kie.triggers.event import Outcome, ended_tasks

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Tasks that are waited for at a time; of a longer list the next ones are made as these end."""
MAKING = 32
"""Requests that are made at a time; the account's permits set the pace."""
ARCHIVING = 4
"""Results that are downloaded at a time."""
PERMIT_SECONDS = 600.0
"""Seconds that one request of a list waits for the account's permit: a list is sent at the account's rate."""
LINGER_SECONDS = 20.0
"""Seconds that the trigger continues after a task has ended: those that end close together are archived together."""


@dataclass
class TaskList:
    """The requests of one task instance.

    :param kind: the operation.
    :param requests: what is requested, in the caller's order.
    :param hook: the account.
    :param open_ledger: returns the account's paid requests.
    :param ti: the task instance.
    :param results: where it is recorded what has become of each.
    :param wait: False: return as soon as KIE has named each task.
    :param defer: leaves until some of these tasks have ended; None: they are waited for here.
    :param timeout: seconds to wait for the end of a task.
    :param poll_interval: seconds between reads; None: dense near the time at which such tasks usually end.
    :param labels: user-defined labels of the request.
    :param probe: called before a request is sent; raises while the account cannot pay.
    """

    kind: TaskOperation
    requests: RequestRows
    hook: KieHook
    open_ledger: Callable[[], Ledger]
    ti: Any
    results: ListResults
    wait: bool
    defer: Callable[[Mapping[str, TaskRecord]], None] | None
    timeout: float
    poll_interval: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    probe: Callable[[], None] = lambda: None
    _waited: Mapping[str, TaskRecord] = field(default_factory=dict, init=False)
    _events: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, init=False)
    _waiting: dict[str, TaskRecord] = field(default_factory=dict, init=False)
    _outages: list[KieError] = field(default_factory=list, init=False)

    def run(self, waited: Mapping[str, TaskRecord] | None = None, event: Mapping[str, Any] | None = None) -> None:
        """Make what is not made, wait for it, and record what has become of each request.

        :param waited: the tasks that the trigger has waited for; None: an attempt begins.
        :param event: how some of them have ended.
        :raises KieError: an outage of the account or the service; what has ended is recorded.
        """
        # A new attempt asks again for what has failed; the ledger says what may be sent.
        self.results.begin(again=waited is None)
        if waited is None:
            self.results.forget(functools.partial(given_up, self._sender({})))
        self._waited, self._events = waited or {}, ended_tasks(event)
        asyncio.run(self._follow())
        self.results.flush()
        if self._waiting and self.defer:  # also in an outage: what is paid is waited for and archived
            self.defer(self._waiting)
        if self._outages:
            raise self._outages[0]

    async def _follow(self) -> None:
        """Follow what has not ended: to its end here, or until enough tasks are made that are waited for elsewhere."""
        connection = await self.hook.aget_conn()
        kie = Gated(connection, asyncio.Semaphore(READS), asyncio.Semaphore(SENDING))
        try:
            with ThreadPoolExecutor(ARCHIVING) as pool:
                at_once = MAKING if self.defer else AT_ONCE
                async for request, item in each(
                    self._open_requests(), lambda one: self._one(one, kie, pool), at_once=at_once
                ):
                    if item is not None and self.results.add(request, item):
                        try:
                            await asyncio.to_thread(self.results.flush)
                        except KieError as error:  # no new one is begun; those that are on their way go it
                            self._outages.append(error)
        finally:
            await connection.close()

    def _open_requests(self) -> Iterator[Request]:
        """Yield the requests that have not ended, one by one."""
        begun: set[str] = set()
        waited = set(self._waited)  # what is waited for goes on, whatever its place in the list
        for request in self.requests:
            waited.discard(request.digest)
            full = self._outages or len(self._waiting) >= AT_ONCE
            if full and request.digest not in self._waited:
                if not waited:
                    return
                continue
            if request.digest not in begun and not self.results.has(request.digest):
                begun.add(request.digest)
                yield request

    async def _one(self, request: Request, kie: Gated, pool: Executor) -> tuple[Request, Item | None]:
        """Return what has become of a request; None where that is not known yet."""
        try:
            if not request.problem and request.digest not in self._waited:
                # It may read connections and S3: within an event loop Airflow refuses the one, and the other blocks it.
                check = self.requests.operator.check_body
                await asyncio.to_thread(check, request.body, f"request no. {request.index}")
            return request, await self._item(request, kie, pool)
        except KieError as error:
            return request, self._failed(error)
        except Exception as error:
            log.exception("Request no. %d failed unexpectedly.", request.index)
            return request, self._failed(KieUnexpected(f"{type(error).__name__}, see the log"))

    async def _item(self, request: Request, kie: Gated, pool: Executor) -> Item | None:
        if request.problem:
            return Item(Status.REFUSED, reason="invalid_request", error=request.problem)
        known, event = self._waited.get(request.digest), self._events.get(request.digest)
        if known and event is None:
            self._waiting[request.digest] = known
            return None
        error = error_from_event(dict(event)) if event and event["outcome"] != Outcome.DONE else None
        if event and event["outcome"] == Outcome.TIMEOUT:
            return Item.of_error(error or KieError(), timed_out=True)
        ended = event is not None and error is None
        archive = self.results.archive
        loop = asyncio.get_running_loop()
        driver = self._driver(request)
        if ended and archive is None and known and event:
            return await asyncio.to_thread(_settled, driver, known, event)
        if known is None and archive:
            made = functools.partial(self._made, driver)
            if item := await loop.run_in_executor(pool, archive.archived_before, request, made):
                return item
        record = known or self._record(request)
        to_the_end = self.wait and (self.defer is None or ended)
        failed = Ended(event["task_id"], error) if event and error and event["task_id"] else None
        followed = await follow_one(request.digest, record, driver, kie, failed, to_the_end=to_the_end)
        if followed.result is None:
            return self._failed(followed.error or KieError(), timed_out=followed.timed_out)
        if self.wait and followed.result.details is None:
            self._waiting[request.digest] = followed.result.record
            return None
        if archive and followed.result.details:
            return await loop.run_in_executor(pool, archive.archived_now, request, followed.result.details)
        return _done(followed)

    def _failed(self, error: KieError, *, timed_out: bool = False) -> Item | None:
        """Return the item of a request that failed; None for an outage, after which it is requested again."""
        if error.scope is not Scope.TASK and not timed_out:
            self._outages.append(error)
            return None
        return Item.of_error(error, timed_out=timed_out)

    def _record(self, request: Request) -> TaskRecord:
        source = self.kind.source_in(request.body)
        return TaskRecord(self.kind.name, source, self.hook.kie_conn_id, digest=request.digest)

    def _made(self, driver: TaskDriver) -> str | None:
        """Return the task that KIE has made for a request before."""
        found = driver.paid.find() if driver.paid else None
        return found.task_id if isinstance(found, AlreadyMade) else None

    def _sender(self, body: Mapping[str, Any]) -> Sender:
        to = self.requests.operator.to or ""
        return Sender(self.hook, self.kind, body, self.ti, self.open_ledger, PERMIT_SECONDS, False, self.labels, to)

    def _driver(self, request: Request) -> TaskDriver:
        sender = self._sender(request.body)

        def permit() -> None:
            self.probe()
            sender.permit()

        driver = sender.driver(
            request.digest,
            deadline=time.time() + self.timeout,
            rules=settings.rules(self.poll_interval, self.hook.account.api),
        )
        return replace(driver, permit=permit)


def _settled(driver: TaskDriver, record: TaskRecord, event: Mapping[str, Any]) -> Item:
    """Count what a task has used that the trigger saw end, and return its item."""
    if record.number:
        driver.settle(record, event.get("used"))
    return Item(Status.DONE, event["task_id"])


def _done(followed: Followed) -> Item:
    return Item(Status.DONE, followed.result.record.task_id if followed.result else None)


def run_list(
    operator: ListOperator,
    context: Context,
    records: Mapping[str, Any] | None = None,
    event: Mapping[str, Any] | None = None,
    archive: Callable[[KieHook], ListResults] | None = None,
) -> Any:
    """Run the list of an operator, and return its rows, or where they are in S3.

    :param operator: whose `requests` are made.
    :param context: the task's context.
    :param records: the tasks that the trigger has waited for.
    :param event: how they ended.
    :param archive: opens where the results go; None: the operator's `to`.
    :raises KieSomeFailed: when more requests failed than `fail_on` allows; the XCom ``results`` is there all the same.
    """
    refuse_as_list(operator)
    share_of(operator.fail_on)  # refused before anything is paid
    labels = labels_in(operator.task_id, operator.labels)
    hook, ti, store = KieHook(operator.kie_conn_id), context["ti"], context["task_state_store"]
    with ExitStack() as stack:
        results: ListResults
        if archive:
            results = archive(hook)
        elif operator.to:
            from airflow_kie.operators.lists.archive import open_archive

            results = open_archive(operator, hook, context)
        else:
            results = InTaskState(store)
        requests = open_requests(operator, ti, store, stack)
        linger = LINGER_SECONDS if results.archive else None

        def defer(waiting: Mapping[str, TaskRecord]) -> None:
            defer_list(
                cast("BaseOperator", operator),
                operator.kie_conn_id,
                waiting,
                operator.timeout_seconds,
                operator.poll_interval,
                linger=linger,
            )

        tasks = TaskList(
            operator.row,
            requests,
            hook,
            functools.cache(lambda: ledger_of(context, hook)),
            ti,
            results,
            wait=operator.wait_for_completion,
            defer=defer if operator.deferrable and operator.wait_for_completion else None,
            timeout=operator.timeout_seconds,
            poll_interval=operator.poll_interval,
            labels=labels,
            probe=functools.cache(operator.probe) if operator.probes else lambda: None,
        )
        waited, _ = read_records(records or {})  # of one that is damaged the ledger has the id
        tasks.run(None if records is None else waited, event)
        value, counts, failures = results.finish(requests)
        if isinstance(operator, LineageMethods):
            operator.set_lineage(of_list(operator.lineage_at_start(), *results.made))
    ti.xcom_push(key="results", value=value)
    check_all(counts, failures, operator.fail_on)
    return value
