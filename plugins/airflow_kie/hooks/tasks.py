"""The methods of KieHook for your own code: tasks that are paid for once, their results, calls, and uploads."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_kie import settings
from airflow_kie.client.answers.decode import DetailsAnswer, Ended, Read, failure_of
from airflow_kie.client.answers.details import Result, TaskDetails
from airflow_kie.client.catalogue.checks import request_errors
from airflow_kie.client.errors import KieBadAnswer, KieError, KieInvalidRequest, KieUnexpected, Remedy
from airflow_kie.client.operations.account import UPLOAD_STREAM
from airflow_kie.client.operations.operation import State
from airflow_kie.client.operations.registry import call_operation, task_operation
from airflow_kie.hooks.calls import PaidCall, is_kept
from airflow_kie.hooks.catalogue import newer_models
from airflow_kie.hooks.connected import Upload
from airflow_kie.hooks.ledger import ledger_of_code
from airflow_kie.hooks.sending import Sender
from airflow_kie.lifecycle.deadline import WaitEnded
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.identity import call_digest, request_digest
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.steps import DriveResult
from airflow_kie.threads import in_thread

if TYPE_CHECKING:
    from airflow_kie.client.account import KieAccount
    from airflow_kie.client.api import Kie, KieAsync
    from airflow_kie.hooks.connected import Connected

ENDED_SECONDS = 150.0
"""Seconds: an ended task is read, and a doubtful answer is read again after 30 s."""
UPLOADS_LIVE = timedelta(hours=24)
"""KIE's upload pages say three days, its newest ones 24 hours: the shorter counts."""
PERMIT_SECONDS = 60.0
"""Seconds that a request of your own code waits for the account's permit: nothing sends it later, as for operators."""


@dataclass(frozen=True)
class Caller:
    """Who asks for a task, for the ledger and the cap of a run.

    :param task_id: the Airflow task, or the program's name.
    :param user: who has started it.
    """

    task_id: str = "KieHook"
    dag_id: str = ""
    run_id: str = ""
    map_index: int | None = None
    user: str = ""


class TaskMethods:
    """The methods of :class:`~airflow_kie.hooks.kie.KieHook` that make, read and feed tasks."""

    kie_conn_id: str
    if TYPE_CHECKING:

        @property
        def account(self) -> KieAccount: ...
        def get_conn(self) -> Kie: ...
        async def aget_conn(self, *, fresh: bool = False) -> KieAsync: ...

    def create(
        self, operation: str, request: Mapping[str, Any], *, idempotency_key: str, check_fields: bool = True
    ) -> str:
        """Create a task, or return the one that was created with the same key: it is paid for once.

        A task that has failed at KIE, which usually refunds it, is replaced by a new one, twice at most.

        :param operation: the operation, such as ``veo.generate``.
        :param request: the request's fields as KIE names them.
        :param idempotency_key: your own name for the request: all requests of the account with the same operation and
            key share one KIE task, wherever they are sent from.
        :param check_fields: False sends fields that this version's catalogue would reject.
        :return: KIE's task id.
        :raises KieInvalidRequest: when KIE would reject the request, or has rejected it; nothing is paid.
        :raises KieCreateInDoubt: when its answer was lost; ``airflow kie doubts`` lists it.
        :raises KieError: when no task was created for another reason; its `remedy` says what helps.
        """
        record, driver = self.paid_task(operation, request, idempotency_key, check_fields=check_fields)
        made = driver.follow(record, self.get_conn(), _sleep, to_the_end=False).record
        if made.adopted and (failed := self._failure(operation, made.task_id or "")):
            ended = Ended(made.task_id, failed)
            made = driver.follow(made, self.get_conn(), _sleep, ended, to_the_end=False).record
        return made.task_id or ""

    def _failure(self, operation: str, task_id: str) -> KieError | None:
        """Return how a task has failed that a new one can replace; None for every other task."""
        read = self.details(operation, task_id)
        if not isinstance(read, Read):
            return None
        row, details = task_operation(operation).in_form(read.details.form), read.details
        has_failed = details.state is State.FAILED or (row.running_errors and details.error_code)
        if has_failed and failure_of(row, details).remedy is Remedy.NEW_TASK:
            try:
                self.results(operation, task_id)  # one read alone is not believed
            except KieError as error:
                return error if error.remedy is Remedy.NEW_TASK else None
        return None

    async def acreate(self, operation: str, request: Mapping[str, Any], **known: Any) -> str:
        """Create a task in an event loop; parameters, result and errors as for :meth:`create`."""
        return await in_thread(self.create, operation, request, **known)

    def details(self, operation: str, task_id: str) -> DetailsAnswer:
        """Read a task once.

        :param operation: the task's operation, such as ``suno.cover``.
        :param task_id: KIE's id.
        """
        return self.get_conn().details(task_operation(operation), task_id)

    async def adetails(self, operation: str, task_id: str) -> DetailsAnswer:
        """Read a task once, in an event loop; see :meth:`details`."""
        return await (await self.aget_conn()).details(task_operation(operation), task_id)

    def wait(
        self,
        operation: str,
        task_id: str,
        *,
        wait_timeout: float | None = None,
        poll_interval: float | None = None,
        source: Mapping[str, Any] | None = None,
        quiet: bool = False,
    ) -> TaskDetails:
        """Wait until a task has its results, and return its details.

        :param operation: the task's operation.
        :param task_id: KIE's id of the task.
        :param wait_timeout: seconds to wait; None: the operation's default.
        :param poll_interval: seconds between reads; None reads most often around the operation's usual duration.
        :param source: what the task must be made from, such as ``{"taskId": …}``; a task of another parent is refused.
        :param quiet: log changes of its state at debug level.
        :raises KieWaitTimeout: when it has not ended in time.
        :raises KieError: when it has failed in two reads.
        """
        record, driver = self._known_task(operation, task_id, wait_timeout, poll_interval, source)
        return _details(replace(driver, quiet=quiet).follow(record, self.get_conn(), _sleep))

    async def await_details(
        self, operation: str, task_id: str, *, wait_timeout: float | None = None, poll_interval: float | None = None
    ) -> TaskDetails:
        """Wait for a task in an event loop; parameters, result and errors as for :meth:`wait`."""
        record, driver = self._known_task(operation, task_id, wait_timeout, poll_interval, None)
        try:
            return _details(await driver.afollow(record, await self.aget_conn()))
        except WaitEnded as late:
            raise late.error from None

    def results(self, operation: str, task_id: str) -> tuple[Result, ...]:
        """Return the results of a finished task: role, position, medium, and a link or the value itself.

        A link can be a credential, and KIE deletes the file after days: archive the file, do not store the link.

        :param operation: the task's operation.
        :param task_id: KIE's id of the task.
        :raises KieError: when the task has failed or is still running.
        """
        return self.wait(operation, task_id, wait_timeout=ENDED_SECONDS).results

    async def aresults(self, operation: str, task_id: str) -> tuple[Result, ...]:
        """Return a task's results, in an event loop; see :meth:`results`."""
        return (await self.await_details(operation, task_id, wait_timeout=ENDED_SECONDS)).results

    def call(
        self, operation: str, request: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None
    ) -> Any:
        """Return the answer of an operation that answers at once, such as ``suno.timestamped_lyrics``.

        A call that costs credits is recorded in the account's ledger before it is sent, and subject to its caps and its
        spending switch. A persona and the timestamped lyrics of a track are made once: later calls return the stored
        answer.

        :param operation: the operation's name.
        :param request: the request's fields as KIE names them.
        :param idempotency_key: your own name for a call that costs credits: with the same key it is paid for once, and
            its answer is stored. None: each call is a new one.
        :raises KieInvalidRequest: when the operation is unknown, or a field is missing.
        :raises KieCreateInDoubt: when a call costs credits and its answer was lost; ``airflow kie doubts`` lists it.
        :raises KieError: for every other error that KIE answers with.
        """
        call, body = call_operation(operation), request or {}
        if problems := request_errors(call, body, by_catalogue=False):
            raise KieInvalidRequest(f"{'; '.join(problems)}; nothing was sent to KIE")
        if not is_kept(call, body):
            return self.get_conn().call(call, body)
        digest = call_digest(call, body, {"call": secrets.token_hex(16)}, idempotency_key or "")
        hook = cast("Connected", self)
        return PaidCall(hook, lambda: ledger_of_code(hook), call, body, digest, current_caller()).answer()

    async def acall(self, operation: str, request: Mapping[str, Any] | None = None, **known: Any) -> Any:
        """Return the answer of an operation that answers at once, in an event loop; see :meth:`call`."""
        return await in_thread(self.call, operation, request, **known)

    def credits(self) -> float:
        """Return the account's balance in credits; this is free."""
        return self.get_conn().credits()

    async def acredits(self) -> float:
        """Return the account's balance in an event loop."""
        return await in_thread(self.credits)

    def download_url(self, url: str) -> str:
        """Return a new link to a result file, valid for 20 minutes; this is free.

        :param url: KIE's link to the file.
        :raises KieInvalidRequest: when it is not KIE's file, or no longer exists.
        """
        return self.get_conn().download_url(url)

    async def adownload_url(self, url: str) -> str:
        """Return a new link to a result file, in an event loop; see :meth:`download_url`."""
        return await in_thread(self.download_url, url)

    def upload(self, file: str | Path | BinaryIO, *, name: str = "", folder: str = "airflow") -> Upload:
        """Upload a file to KIE, which is free. A file with the same folder and name is replaced.

        :param file: its path, or an open binary file.
        :param name: its name at KIE, with its extension; empty: that of the path.
        :param folder: the folder at KIE.
        :raises KieError: for every error that KIE answers with.
        """
        if isinstance(file, str | Path):
            with Path(file).open("rb") as opened:
                return self.upload(opened, name=name or Path(file).name, folder=folder)
        if not name:
            raise KieInvalidRequest("the upload has no name; nothing was sent to KIE")
        body = {"uploadPath": folder.strip("/"), "fileName": name}
        answer = self.get_conn().call(UPLOAD_STREAM, body, (name, file))
        url = answer.get("downloadUrl") if isinstance(answer, Mapping) else None
        if not isinstance(url, str) or not url:
            raise KieBadAnswer("KIE returned no address of the file", kind=UPLOAD_STREAM.name)
        return Upload(url, file.tell(), datetime.now(UTC) + UPLOADS_LIVE)

    async def aupload(self, file: str | Path | BinaryIO, **known: Any) -> Upload:
        """Upload a file to KIE, in an event loop; parameters, result and errors as for :meth:`upload`."""
        return await in_thread(self.upload, file, **known)

    def paid_task(
        self,
        operation: str,
        request: Mapping[str, Any],
        idempotency_key: str,
        *,
        caller: Caller | None = None,
        to: str = "",
        check_fields: bool = True,
    ) -> tuple[TaskRecord, TaskDriver]:
        """Return a request's record, and what carries it to its end; nothing is sent yet.

        :param caller: who asks.
        :param to: where its results are archived, ``s3://bucket/prefix``; empty: elsewhere, or nowhere.
        :raises KieInvalidRequest: when KIE would refuse it.
        """
        row = task_operation(operation)
        if not idempotency_key:
            raise KieInvalidRequest("the request has no idempotency_key; nothing was sent to KIE")
        if problems := request_errors(row, request, by_catalogue=check_fields, newer=newer_models):
            raise KieInvalidRequest(f"{'; '.join(problems)}; nothing was sent to KIE")
        digest = request_digest(row, request, {}, idempotency_key=idempotency_key)
        hook = cast("Connected", self)
        opened = functools.cache(lambda: ledger_of_code(hook))
        asks = caller or current_caller()
        sender = Sender(hook, row, request, asks, opened, PERMIT_SECONDS, wakes=False, to=to)
        record = TaskRecord(row.name, row.source_in(request), self.kie_conn_id, digest=digest)
        ends_at = time.time() + row.timing.timeout
        return record, sender.driver(digest, deadline=ends_at, rules=settings.rules(api=self.account.api))

    def _known_task(
        self,
        operation: str,
        task_id: str,
        timeout: float | None,
        poll_interval: float | None,
        source: Mapping[str, Any] | None,
    ) -> tuple[TaskRecord, TaskDriver]:
        if not task_id:
            raise KieInvalidRequest("no task id was given; nothing was sent to KIE")
        ends_at = time.time() + (task_operation(operation).timing.timeout if timeout is None else timeout)
        record = TaskRecord.of_known_task(operation, task_id, source=dict(source or {}), connection=self.kie_conn_id)
        return record, TaskDriver(deadline=ends_at, rules=settings.rules(poll_interval))


def current_caller() -> Caller:
    """Return the task instance in whose code this runs; outside of one, a program."""
    from airflow.sdk import get_current_context

    try:
        ti = get_current_context()["ti"]
    except RuntimeError:
        return Caller()
    return Caller(ti.task_id, ti.dag_id, ti.run_id, ti.map_index)


def _sleep(_: TaskRecord, until: float) -> None:
    time.sleep(max(0.0, until - time.time()))


def _details(followed: DriveResult) -> TaskDetails:
    if followed.details is None:
        raise KieUnexpected("a finished task has no details")
    return followed.details
