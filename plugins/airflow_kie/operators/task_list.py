"""Many requests in one Airflow task: each is paid once, waited for and reported by itself."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow_kie import settings
from airflow_kie.client.answers.decode import Ended
from airflow_kie.client.errors import KieError, KieSomeFailed, Scope, error_from_event
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.durable.requests import asked_by, ledger_of
from airflow_kie.durable.sending import Sender
from airflow_kie.durable.task_state import TaskStateStore, digests_of_this_try
from airflow_kie.durable.waiting import defer_list
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.claims import RequestId
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.lifecycle.ledger import Ledger, PaidRequest
from airflow_kie.lifecycle.many import Outcome as Followed
from airflow_kie.lifecycle.many import follow_many
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.triggers.event import Outcome

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

AT_ONCE = 200
"""Tasks that one trigger waits for; of a longer list the next ones follow when these have ended."""
PERMIT_SECONDS = 600.0
"""Seconds that one request of a list waits for the account's permit: a list is sent at the account's rate."""
_STORE_KEY = "items"


@dataclass(frozen=True)
class Item:
    """What became of one request of the list.

    :param status: ``done``, ``failed`` or ``timeout``.
    :param task_id: KIE's id, if it has named one.
    :param reason: short reason of a failure.
    :param error: what a person reads.
    """

    status: str
    task_id: str | None = None
    reason: str | None = None
    error: str | None = None

    @classmethod
    def of_error(cls, error: KieError, *, timed_out: bool = False) -> Item:
        """Return the item of a request that failed."""
        return cls("timeout" if timed_out else "failed", error.facts.task_id, error.reason, str(error))


@dataclass
class TaskList:
    """The requests of one task instance.

    :param kind: the operation.
    :param requests: the bodies, in the caller's order.
    :param digests: what each request goes by.
    :param hook: the account.
    :param open_ledger: returns the account's paid requests.
    :param ti: the task instance.
    :param store: the task state store: what has ended is kept there between two waits.
    :param wait: False: return as soon as KIE has named each task.
    :param defer: leaves until these tasks have ended; None: they are waited for here.
    :param timeout: seconds to wait for the end of a task.
    :param poll_interval: seconds between reads; None: dense near the time at which such tasks usually end.
    """

    kind: TaskOperation
    requests: Sequence[Mapping[str, Any]]
    digests: Sequence[str]
    hook: KieHook
    open_ledger: Callable[[], Ledger]
    ti: Any
    store: TaskStateStore
    wait: bool
    defer: Callable[[Mapping[str, TaskRecord]], None] | None
    timeout: float
    poll_interval: float | None = None
    items: dict[str, Item] = field(default_factory=dict)

    def run(self, waited: Mapping[str, TaskRecord] | None = None, event: Mapping[str, Any] | None = None) -> list[Any]:
        """Make what is not made, wait for it, and return one row a request, in the order of the list.

        :param waited: the tasks that the trigger has waited for.
        :param event: how they ended.
        :raises KieError: an outage of the account or the service; what has ended is kept.
        """
        known = {digest: Item(**item) for digest, item in (self.store.get(_STORE_KEY) or {}).items()}
        # A new attempt asks again for what has failed; the ledger says what may be sent.
        self.items = {digest: item for digest, item in known.items() if waited is not None or item.status == "done"}
        records, ended = dict(waited or {}), self._take(event or {})
        while part := [digest for digest in self._bodies if digest not in self.items][:AT_ONCE]:
            records = {digest: records.get(digest) or self._record(digest) for digest in part}
            records = asyncio.run(self._follow(records, ended))
            ended = {}
            self._keep()
            if records and self.defer:
                self.defer(records)
        return [{"index": index, **_set(self.items[digest])} for index, digest in enumerate(self.digests)]

    @property
    def _bodies(self) -> dict[str, Mapping[str, Any]]:
        """The requests by their digests, by which they are known in the store and in the trigger."""
        return dict(zip(self.digests, self.requests, strict=True))

    def _take(self, event: Mapping[str, Any]) -> dict[str, Ended]:
        """Take in how tasks ended; return the failures after which a new task may be made."""
        ended: dict[str, Ended] = {}
        for digest, known in event.get("tasks", {}).items():
            if known["outcome"] == Outcome.DONE:
                self.items[digest] = Item("done", known["task_id"])
                continue
            error = error_from_event(dict(known))
            if known["outcome"] == Outcome.FAILED:
                ended[digest] = Ended(known["task_id"], error)
            else:
                self.items[digest] = Item.of_error(error, timed_out=True)
        return ended

    async def _follow(self, records: Mapping[str, TaskRecord], ended: Mapping[str, Ended]) -> dict[str, TaskRecord]:
        """Follow tasks until they have ended, or, where that is waited for elsewhere, are made; return the latter."""
        to_the_end = self.wait and self.defer is None
        made: dict[str, TaskRecord] = {}
        outages: list[KieError] = []
        kie = await self.hook.aget_conn()
        try:
            async for one in follow_many(records, self._driver, kie, ended=ended, to_the_end=to_the_end):
                if one.error is not None and one.error.scope is not Scope.TASK and not one.timed_out:
                    outages.append(one.error)
                elif one.result is not None and self.wait and not to_the_end:
                    made[one.key] = one.result.record
                else:
                    self.items[one.key] = _item(one)
        finally:
            await kie.close()
        if outages:
            self._keep()
            raise outages[0]
        return made

    def _record(self, digest: str) -> TaskRecord:
        source = self.kind.source_in(self._bodies[digest])
        return TaskRecord(self.kind.name, source, self.hook.kie_conn_id, digest=digest)

    def _driver(self, digest: str) -> TaskDriver:
        body = self._bodies[digest]
        sender = Sender(self.hook, self.kind, body, self.ti, self.open_ledger, PERMIT_SECONDS, wakes=False)
        request = RequestId(self.hook.account.spending_name, self.kind.name, digest)
        return TaskDriver(
            paid=PaidRequest(self.open_ledger, request, sender.new_intent, sender.adopted),
            create=sender.create,
            permit=sender.permit,
            give_back=sender.give_back,
            deadline=time.time() + self.timeout,
            rules=settings.rules(self.poll_interval),
        )

    def _keep(self) -> None:
        self.store.set(_STORE_KEY, {digest: _set(item) for digest, item in self.items.items()})


def _item(one: Followed) -> Item:
    if one.result is not None:
        return Item("done", one.result.record.task_id)
    return Item.of_error(one.error or KieError(), timed_out=one.timed_out)


def _set(item: Item) -> dict[str, Any]:
    """Return what is known of an item."""
    return {name: value for name, value in asdict(item).items() if value is not None}


class ListOperator(Protocol):
    """An operator that makes a list of tasks, as :class:`~airflow_kie.operators.task.KieTaskOperator` documents it."""

    row: TaskOperation
    requests: Sequence[Mapping[str, Any]] | None
    kie_conn_id: str
    idempotency_key: str | None
    force_new: str | None
    wait_for_completion: bool
    deferrable: bool
    poll_interval: float | None

    @property
    def timeout_seconds(self) -> float: ...


def run_list(
    operator: ListOperator,
    context: Context,
    records: Mapping[str, Any] | None = None,
    event: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Run the list of an operator, and return its rows.

    :param operator: whose `requests` are made.
    :param context: the task's context.
    :param records: the tasks that the trigger has waited for.
    :param event: how they ended.
    :raises KieSomeFailed: when a request failed; the rows are in the XCom ``results`` all the same.
    """
    hook, ti, store = KieHook(operator.kie_conn_id), context["ti"], context["task_state_store"]
    key = {"key": operator.idempotency_key} if operator.idempotency_key else asked_by(ti)
    requests, deadline = operator.requests or (), time.time() + operator.timeout_seconds

    def defer(waiting: Mapping[str, TaskRecord]) -> None:
        defer_list(cast("BaseOperator", operator), operator.kie_conn_id, waiting, deadline, operator.poll_interval)

    digests = list(digests_of(operator.row, requests, key, force_new=operator.force_new or ""))
    if operator.row.parent is None and not operator.idempotency_key:
        digests = digests_of_this_try(store, digests, ti.max_tries)
    tasks = TaskList(
        operator.row,
        requests,
        digests,
        hook,
        functools.cache(lambda: ledger_of(context, hook)),
        ti,
        store,
        wait=operator.wait_for_completion,
        defer=defer if operator.deferrable and operator.wait_for_completion else None,
        timeout=operator.timeout_seconds,
        poll_interval=operator.poll_interval,
    )
    waited = {digest: TaskRecord.from_json(record) for digest, record in (records or {}).items()}
    rows = tasks.run(None if records is None else waited, event)
    ti.xcom_push(key="results", value=rows)
    check_all(rows)
    return rows


def digests_of(
    kind: TaskOperation, requests: Sequence[Mapping[str, Any]], asked_by: Mapping[str, Any], **known: str
) -> Iterator[str]:
    """Return what each request of a list goes by; the order of different requests does not count.

    :param kind: the operation.
    :param requests: the bodies.
    :param asked_by: namespace, DAG, run and Airflow task, or the user's own name for the list.
    :param known: further arguments of :func:`~airflow_kie.lifecycle.identity.request_digest`.
    """
    seen: Counter[str] = Counter()
    for body in requests:
        digest = request_digest(kind, body, asked_by, **known)
        seen[digest] += 1
        # Two equal requests of one list are two tasks, unless they are made from the same source: that is one.
        yield digest if seen[digest] == 1 or kind.parent else f"{digest}-{seen[digest]}"


def check_all(rows: Sequence[Mapping[str, Any]]) -> None:
    """Fail the task if a request failed; everything else of the list is done by then.

    :raises KieSomeFailed: with the counts and the first failures.
    """
    failed = [row for row in rows if row["status"] != "done"]
    if failed:
        first = "; ".join(f"no. {row['index']}: {row['error']}" for row in failed[:3])
        raise KieSomeFailed(f"{len(failed)} of {len(rows)} requests failed. {first}")
