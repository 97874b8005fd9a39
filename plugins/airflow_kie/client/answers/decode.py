"""What an answer says about a task: the values that the step function reasons about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_kie.client import errors
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.answers.envelope import COMMON_CODES, Envelope, Response, decode_envelope, error_in
from airflow_kie.client.answers.inline import checked_result
from airflow_kie.client.answers.reading import named_id, task_details
from airflow_kie.client.answers.refusals import gone, no_record, says_no_record
from airflow_kie.client.errors import KieError, Remedy, Scope
from airflow_kie.client.operations.operation import Form, State, TaskOperation


@dataclass(frozen=True)
class Created:
    """KIE named the task, or made and answered it at once.

    :param task_id: its id; empty where there is only an answer.
    :param duplicate: KIE made it before and names it now: it was adopted, not paid for.
    :param answer: the result itself, of a task that KIE does not name: it is paid and finished.
    """

    task_id: str
    duplicate: bool = False
    answer: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Refused:
    """KIE did not make a task: nothing was paid."""

    error: KieError


@dataclass(frozen=True)
class Lost:
    """The answer to a create was lost: a task may have been made and paid for."""

    error: KieError


@dataclass(frozen=True)
class Read:
    """Details came."""

    details: TaskDetails


@dataclass(frozen=True)
class Invisible:
    """KIE knows no task with this id, or does not show it yet."""


@dataclass(frozen=True)
class Unreadable:
    """Details could not be read this time."""

    error: KieError


@dataclass(frozen=True)
class Ended:
    """Somebody else (the trigger) has watched a task to a failure that is to be believed.

    :param task_id: the task that has failed; about any other one this says nothing.
    :param error: how.
    """

    task_id: str | None
    error: KieError


CreateAnswer = Created | Refused | Lost
DetailsAnswer = Read | Invisible | Unreadable
Answer = CreateAnswer | DetailsAnswer | Ended

_UNDECIDED = frozenset({408, 504})
"""Codes of a create after which KIE may have made the task all the same: it gave up waiting, not working."""
_FAILED = (errors.KieServerError, errors.KieGenerationFailed)
"""What says that something went wrong at KIE (500, 501, 531, …), and not that no task was made before."""

_VERSION = re.compile(r"V[0-9][0-9A-Z_]*")
"""A version of Suno: a song of the dedicated API variant can name it instead of the operation's model."""
_INVALID = 422
"""A code of a duplicate only where it names one; otherwise the request is not valid."""


def may_have_paid(answer: CreateAnswer) -> bool:
    """Return whether a create may have made a new task: KIE neither refused it nor named an earlier one."""
    return isinstance(answer, Lost) or (isinstance(answer, Created) and not answer.duplicate)


def decode_create(kind: TaskOperation, source: Mapping[str, Any], response: Response) -> CreateAnswer:
    """Return what a create's answer says.

    An envelope with the code of a refusal, and a real HTTP 4xx, say that nothing was made. A gateway's page, a success
    without id and result, and an error of KIE's own say nothing about whether a task was made: lost. Where nothing is
    paid for, an error in an envelope under HTTP 200 counts as a refusal. A duplicate that names no id, or that names
    the source's own id, cannot be adopted.

    :param kind: the row.
    :param source: what the task is made from.
    :param response: KIE's answer.
    """
    try:
        envelope = decode_envelope(response)
    except KieError as error:
        decided = 400 <= response.status < 500 and response.status not in _UNDECIDED
        known = (gone(kind, kind.create, error) if decided else None) or error.with_facts(kind=kind.name)
        return Refused(known) if decided else Lost(known)
    task_id = named_id(kind, envelope.data)
    refusal = error_in(envelope, kind.name, kind.create_errors)
    # In the unified form such a code says nothing of duplicates, unless it names one.
    if envelope.code in kind.duplicate_codes and (
        task_id or (kind.form is Form.DEDICATED and envelope.code != _INVALID)
    ):
        own = [str(value) for value in source.values()]
        if task_id and task_id not in own:
            return Created(task_id, duplicate=True)
        facts = {"kind": kind.name, "source_id": next(iter(own), None), "code": envelope.code}
        return Refused(errors.KieDuplicateWithoutId(envelope.msg, **facts))
    if refusal is not None and (better := gone(kind, kind.create, refusal) or no_record(kind, refusal.facts)):
        return Refused(better)
    if isinstance(refusal, errors.KieBadAnswer) and task_id and isinstance(envelope.data, dict):
        refusal = None  # an unknown code for "accepted": the task that it names says the rest
    if refusal is None:
        return Created(task_id) if task_id else _answered_at_once(kind, envelope.data)
    if _leaves_open(kind, envelope, refusal):
        return Lost(errors.KieServerError(envelope.msg, code=envelope.code, kind=kind.name))
    return Refused(refusal)


def _leaves_open(kind: TaskOperation, envelope: Envelope, refusal: KieError) -> bool:
    """Return whether an error code does not say if a task was made.

    KIE has answered 500 to requests that it never takes, and in passing to good ones; nobody has seen whether it makes,
    and charges, a task then. A message about what the task is made from says that none was.
    """
    if envelope.code in _UNDECIDED or isinstance(refusal, errors.KieBadAnswer):
        return True
    if envelope.http_status >= 500 and isinstance(refusal, errors.KieServerError):
        return True
    return not kind.free and isinstance(refusal, _FAILED) and not says_no_record(envelope.msg)


def _answered_at_once(kind: TaskOperation, data: Any) -> CreateAnswer:
    """Return what an accepted create without a task's id means: the result itself is paid and finished."""
    try:
        return Created("", answer=checked_result(kind, data))
    except KieError as error:  # an error within an accepted answer does not say that nothing was made
        return Lost(errors.KieBadAnswer(error.facts.message, kind=kind.name, code=error.facts.code))


def decode_details(kind: TaskOperation, task_id: str, response: Response) -> DetailsAnswer:
    """Return what a details answer says.

    :param kind: the row.
    :param task_id: the id that was requested.
    :param response: KIE's answer.
    """
    try:
        envelope = decode_envelope(response)
    except KieError as error:
        known = gone(kind, kind.details, error) or error
        return Unreadable(known.with_facts(kind=kind.name, task_id=task_id))
    refusal = error_in(envelope, kind.name, kind.details_errors)
    if envelope.code in kind.unknown_codes or (refusal is None and envelope.data is None):
        return Invisible()
    model = envelope.data.get("model") if isinstance(envelope.data, dict) else None
    named_other = isinstance(model, str) and model not in kind.reads and not _VERSION.fullmatch(model)
    if refusal is None and kind.reads and named_other:
        return Invisible()  # a task of another operation: one endpoint reads them all
    named = named_id(kind, envelope.data)
    if refusal is None and not isinstance(envelope.data, dict):
        refusal = errors.KieBadAnswer("Details are not an object", kind=kind.name)
    elif refusal is None and named not in (None, task_id):
        refusal = errors.KieBadAnswer(f"KIE answered with details of task {named}", kind=kind.name)
    if refusal is not None:
        return Unreadable((gone(kind, kind.details, refusal) or refusal).with_facts(task_id=task_id))
    return Read(task_details(kind, task_id, envelope.data))


def failure_of(kind: TaskOperation, details: TaskDetails) -> KieError:
    """Return the typed error of details that say, or announce, a failure.

    A state word about the content wins. A code that says that the request can never succeed decides as in the
    envelope; every other code, and none, is a failure of the generation, after which a new task may succeed. An
    undelivered callback without all files never leads to a new task: the paid one may still finish.
    """
    facts = {"kind": kind.name, "task_id": details.task_id, "last_state": details.word}
    message = details.error_message or ""
    if details.state in (State.SUCCEEDED, State.UNDELIVERED):
        return errors.KieNoFiles(message, **facts)
    if missing := no_record(kind, errors.KieError(message, code=details.error_code, **facts).facts):
        return missing
    if details.word == "SENSITIVE_WORD_ERROR":
        return errors.KieContentRejected(message, code=details.error_code, **facts)
    meaning = kind.details_errors.get(details.error_code or 0) or COMMON_CODES.get(details.error_code or 0)
    hopeless = meaning is not None and meaning.scope is Scope.TASK and meaning.remedy is Remedy.PERSON
    error = meaning if meaning is not None and hopeless else errors.KieGenerationFailed
    return error(message, code=details.error_code, **facts)
