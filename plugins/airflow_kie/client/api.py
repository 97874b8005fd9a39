"""What a caller does with KIE: create, read, call. Two thin shells around the same requests and answers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import (
    CreateAnswer,
    Created,
    DetailsAnswer,
    Invisible,
    Lost,
    Read,
    Refused,
    Unreadable,
    decode_create,
    decode_details,
    failure_of,
)
from airflow_kie.client.answers.envelope import decode_envelope, error_in
from airflow_kie.client.answers.inline import CALL_PAUSE, CALL_SECONDS, inline_answer, kept_details, kept_under, only_id
from airflow_kie.client.answers.refusals import says_no_record
from airflow_kie.client.errors import KieError, KieNotSent, Scope
from airflow_kie.client.http.transport import KieAsyncTransport, KieTransport
from airflow_kie.client.operations.account import CREDIT, DOWNLOAD_URL
from airflow_kie.client.operations.json_path import value_at
from airflow_kie.client.operations.market import JOBS
from airflow_kie.client.operations.operation import CallOperation, Form, State, TaskOperation
from airflow_kie.client.requests import call_request, create_request, details_request
from airflow_kie.threads import in_thread

_last_turns: dict[str, float] = {}
_turn = threading.Lock()


def _take_turn(account: str, pace: float) -> None:
    """Wait until the account's last call of this kind in this process is so many seconds ago."""
    with _turn:
        time.sleep(max(0.0, _last_turns.get(account, -pace) + pace - time.monotonic()))
        _last_turns[account] = time.monotonic()


KeptAnswer = Callable[[str, str], bytes | None]
"""Returns what is kept of an operation's answer that was its result; the second argument is the answer's id."""


def _none_kept(operation: str, task_id: str) -> bytes | None:
    return None


def _read_kept(kind: TaskOperation, task_id: str, kept: KeptAnswer) -> DetailsAnswer:
    """Return a kept answer as details; KIE itself shows it nowhere."""
    try:
        body = kept(kind.name, task_id)
        if body is None:
            raise errors.KieResultsExpired("KIE answered with the result itself, and that answer is not stored here")
        return Read(kept_details(kind, task_id, body))
    except KieError as error:
        return Unreadable(error.with_facts(kind=kind.name, task_id=task_id))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Unreadable(errors.KieResultsExpired("the stored answer is damaged", kind=kind.name, task_id=task_id))


def _says_all(answer: DetailsAnswer) -> bool:
    """Return whether a task of unknown API variant need not be read in the other one: it was found, or KIE is down."""
    return isinstance(answer, Read) or (isinstance(answer, Unreadable) and answer.error.scope is not Scope.TASK)


def _of_all_forms(answers: Sequence[DetailsAnswer]) -> DetailsAnswer:
    """Return the combined result of reading a task in each API variant: it is unknown only if all of them say so.

    :param answers: in the order of the reads, at least one.
    """
    rank = (Read, Unreadable, Invisible)
    return min(answers, key=lambda answer: rank.index(type(answer)))


class Kie:
    """KIE for code that may block.

    :param transport: sends for one account.
    :param before_create: called directly before each create; raises KieSpendingStopped when it may not be sent now.
    :param kept: finds the answers that were results themselves.
    """

    def __init__(
        self,
        transport: KieTransport,
        before_create: Callable[[], None] = lambda: None,
        kept: KeptAnswer = _none_kept,
    ) -> None:
        self._transport = transport
        self._before_create = before_create
        self._kept = kept
        self.account = transport.account

    def create(
        self,
        kind: TaskOperation,
        body: Mapping[str, Any],
        source: Mapping[str, Any],
        callback_url: str,
        *,
        not_after: float = math.inf,
    ) -> CreateAnswer:
        """Ask for a task; never raises for what KIE answers, since the answer says whether something was paid.

        :param kind: the row.
        :param body: the fields as KIE names them.
        :param source: what it is made from.
        :param callback_url: where KIE shall call back.
        :param not_after: epoch seconds from which on it is not sent any more, as others count it as in doubt.
        :raises KieSpendingStopped: when new paid tasks of the account are stopped; nothing was sent then.
        """
        self._before_create()  # which can take long: Airflow is asked
        if time.time() >= not_after:
            return Refused(KieNotSent("too much time passed before it could be sent", kind=kind.name))
        if not kind.create:
            return Created(str(next(iter(source.values()))))
        try:
            request = create_request(kind, body, callback_url)
            response = self._transport.send(request)
        except (KieNotSent, errors.KieInvalidRequest, errors.KieConnectionInvalid) as error:
            return Refused(error.with_facts(kind=kind.name))
        except KieError as error:
            return Lost(error.with_facts(kind=kind.name))
        return decode_create(kind, source, response)

    def details(self, kind: TaskOperation, task_id: str) -> DetailsAnswer:
        """Read a task; never raises for what KIE answers.

        :param kind: its row; one for both API variants is read in both until one shows the task.
        :param task_id: KIE's id.
        """
        if kept_under(task_id):
            return _read_kept(kind, task_id, self._kept)
        answers: list[DetailsAnswer] = []
        for row in kind.readings(self.account.api):
            try:
                answers.append(decode_details(row, task_id, self._transport.send(details_request(row, task_id))))
            except KieError as error:
                answers.append(Unreadable(error.with_facts(kind=row.name, task_id=task_id)))
            if _says_all(answers[-1]):
                break
        return _of_all_forms(answers)

    def call(
        self,
        call: CallOperation,
        body: Mapping[str, Any] | None = None,
        file: tuple[str, bytes | BinaryIO] | None = None,
    ) -> Any:
        """Return the `data` of an operation that answers at once.

        :param call: the row.
        :param body: the fields as KIE names them.
        :param file: (file name, bytes) where the row uploads one as multipart.
        :raises KieError: whatever KIE's code means.
        """
        try:
            return self._called(call, body, file, self.account.api or Form.DEDICATED)
        except errors.KieInvalidRequest as error:
            if not call.model or self.account.api or not says_no_record(error.facts.message):
                raise
        return self._called(call, body, file, Form.UNIFIED)  # nothing was paid: its song may be of the other form

    def _called(
        self,
        call: CallOperation,
        body: Mapping[str, Any] | None,
        file: tuple[str, bytes | BinaryIO] | None,
        form: str,
    ) -> Any:
        if call.pace:
            _take_turn(self.account.name, call.pace)
        envelope = decode_envelope(self._transport.send(call_request(call, body, file, form)))
        error = error_in(envelope, call.name, {})
        if error is not None:
            raise error
        if not call.model or form != Form.UNIFIED:
            return envelope.data
        task_id = only_id(envelope.data)
        return inline_answer(call.name, self._made(call, task_id) if task_id else envelope.data)

    def _made(self, call: CallOperation, task_id: str) -> Any:
        """Return what a task has made where KIE has made one instead of answering: the pages leave both open.

        :raises KieError: when it has failed, or has not ended in time; the message names it.
        """
        ends_at = time.monotonic() + CALL_SECONDS
        while time.monotonic() < ends_at:
            time.sleep(CALL_PAUSE)
            read = self.details(JOBS, task_id)
            if isinstance(read, Read) and read.details.state is State.FAILED:
                raise failure_of(JOBS, read.details)
            if isinstance(read, Read) and read.details.state is State.SUCCEEDED:
                return value_at(read.details.raw, "from_json(resultJson) || from_json(response)")
        late = f"KIE created task {task_id} for this call, which has not ended yet; operation `market` reads it"
        raise errors.KieBadAnswer(late, kind=call.name, task_id=task_id)

    def credits(self) -> float:
        """Return the account's balance in credits (a float, though the page says integer)."""
        balance = self.call(CREDIT)
        if isinstance(balance, bool) or not isinstance(balance, (int, float)):
            raise errors.KieBadAnswer("The balance is not a number", kind=CREDIT.name)
        return float(balance)

    def download_url(self, url: str) -> str:
        """Return a fresh link to one of KIE's result files, valid for 20 minutes.

        :raises KieInvalidRequest: "url is wrong": not a file of KIE, or no longer there.
        """
        link = self.call(DOWNLOAD_URL, {"url": url})
        if not isinstance(link, str) or not link:
            raise errors.KieBadAnswer("KIE returned no link", kind=DOWNLOAD_URL.name)
        return link


class KieAsync:
    """KIE for event loops: what a trigger needs.

    :param transport: sends for one account.
    :param kept: finds the answers that were results themselves; it may block.
    """

    def __init__(self, transport: KieAsyncTransport, kept: KeptAnswer = _none_kept) -> None:
        self._transport = transport
        self._kept = kept
        self.account = transport.account

    async def details(self, kind: TaskOperation, task_id: str) -> DetailsAnswer:
        """Read a task, as :meth:`Kie.details` does."""
        if kept_under(task_id):
            return await in_thread(_read_kept, kind, task_id, self._kept)
        answers: list[DetailsAnswer] = []
        for row in kind.readings(self.account.api):
            try:
                answers.append(decode_details(row, task_id, await self._transport.send(details_request(row, task_id))))
            except KieError as error:
                answers.append(Unreadable(error.with_facts(kind=row.name, task_id=task_id)))
            if _says_all(answers[-1]):
                break
        return _of_all_forms(answers)

    async def close(self) -> None:
        """Close the connections; a later request opens them again."""
        await self._transport.close()
