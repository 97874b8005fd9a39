"""What an answer says about a task: the values that the step function reasons about."""

from __future__ import annotations

import functools
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_kie.client import errors
from airflow_kie.client.answers.details import Result, TaskDetails, Track, parse_time
from airflow_kie.client.answers.envelope import COMMON_CODES, Response, decode_envelope, error_in
from airflow_kie.client.answers.refusals import gone, no_record
from airflow_kie.client.errors import KieError, Remedy, Scope
from airflow_kie.client.operations.json_path import value_at, values_at
from airflow_kie.client.operations.operation import MEDIA_LIFETIME, Form, Medium, State, TaskOperation
from airflow_kie.client.redact import storable, texts_in, without_urls

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Created:
    """KIE named the task.

    :param task_id: its id.
    :param duplicate: KIE made it before and names it now: it was adopted, not paid for.
    """

    task_id: str
    duplicate: bool = False


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

_INVALID = 422
"""A code of a duplicate only where it names one; otherwise the request is not valid."""

_ID = re.compile(r"(?!\S*://)\S{1,200}")


def may_have_paid(answer: CreateAnswer) -> bool:
    """Return whether a create may have made a new task: KIE neither refused it nor named an earlier one."""
    return isinstance(answer, Lost) or (isinstance(answer, Created) and not answer.duplicate)


def decode_create(kind: TaskOperation, source: Mapping[str, Any], response: Response) -> CreateAnswer:
    """Return what a create's answer says.

    An envelope with an error code, and a real HTTP 4xx, say that nothing was made. A gateway's page, a server error
    under a real HTTP 5xx, and a success without an id say nothing about whether a task was made: lost. A duplicate
    that names no id, or that names the source's own id, cannot be adopted.

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
    task_id = _named_id(kind, envelope.data)
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
    if refusal is None:
        accepted = "KIE accepted the create and named no task"
        return Created(task_id) if task_id else Lost(errors.KieBadAnswer(accepted, kind=kind.name, code=200))
    if envelope.code in _UNDECIDED:
        return Lost(errors.KieServerError(envelope.msg, code=envelope.code, kind=kind.name))
    undecided = envelope.http_status >= 500 and isinstance(refusal, errors.KieServerError)
    return Lost(refusal) if undecided else Refused(refusal)


def decode_details(kind: TaskOperation, task_id: str, response: Response) -> DetailsAnswer:
    """Return what a details answer says.

    :param kind: the row.
    :param task_id: the id that was asked for.
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
    if refusal is None and kind.reads and isinstance(model, str) and model not in kind.reads:
        return Invisible()  # a task of another operation: one endpoint reads them all
    named = _named_id(kind, envelope.data)
    if refusal is None and not isinstance(envelope.data, dict):
        refusal = errors.KieBadAnswer("Details are not an object", kind=kind.name)
    elif refusal is None and named not in (None, task_id):
        refusal = errors.KieBadAnswer(f"KIE answered with details of task {named}", kind=kind.name)
    if refusal is not None:
        return Unreadable((gone(kind, kind.details, refusal) or refusal).with_facts(task_id=task_id))
    return Read(task_details(kind, task_id, envelope.data))


def task_details(kind: TaskOperation, task_id: str, data: Mapping[str, Any]) -> TaskDetails:
    """Return details as a typed record.

    :param kind: the row.
    :param task_id: the id that was asked for.
    :param data: the `data` of KIE's answer.
    """
    param = _param(kind, data)
    word = value_at(data, kind.state_path)
    state = _state(kind, word)
    message = value_at(data, kind.error_message_path)
    parent = value_at(data, kind.parent_path) if kind.parent_path else None
    return TaskDetails(
        kind=kind.name,
        form=kind.form,
        task_id=_named_id(kind, data) or task_id,
        state=state or State.RUNNING,
        word="" if word is None else without_urls(str(word)),
        known_word=state is not None or word is None,
        parent_id=None if parent is None else storable(str(parent)),
        results=tuple(_results(kind, data, param)),
        required=frozenset(row.role for row in kind.results if row.required),
        kept=min((row.kept for row in kind.results), default=MEDIA_LIFETIME),
        tracks=_tracks(kind, data),
        error_code=_error_code(value_at(data, kind.error_code_path)),
        error_message=_text(message) if message else None,
        param=param,
        created_at=parse_time(value_at(data, "createTime")),
        completed_at=parse_time(value_at(data, "completeTime")),
        credits_consumed=_credits(value_at(data, "creditsConsumed || consumeCredits")),
        raw=data,
    )


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


def _results(kind: TaskOperation, data: Mapping[str, Any], param: Any) -> Iterator[Result]:
    """Yield the results that details name, without links that an earlier row or the request has named.

    A separation that failed can name the track itself beside its success (``originUrl``), and no stem.
    """
    given = [*(values_at(data, kind.inputs) if kind.inputs else ()), *texts_in(param)]
    known = {_bare(value) for value in given} - {None}
    for row in kind.results:
        found = values_at(data, row.path)
        if row.inline:
            values = ({"value": value if row.medium is Medium.JSON else _text(value)} for value in found)
        else:
            urls = [value for value in found if isinstance(value, str) and _bare(value) not in known]
            known |= {_bare(url) for url in urls} - {None}
            values = ({"url": url} for url in urls)
        for position, result in enumerate(values, start=1):
            yield Result(row.role, position, row.medium, **result)


def _bare(value: Any) -> str | None:
    """Return a URL without its query, as signatures differ from one answer to the next; None for anything else."""
    is_url = isinstance(value, str) and value.startswith(("https://", "http://"))
    return value.partition("?")[0] if is_url else None


def _named_id(kind: TaskOperation, data: Any) -> str | None:
    """Return the task id that an answer names, or None; an id is one word and not an address."""
    named = value_at(data, kind.id_path) or data
    if isinstance(named, bool) or not isinstance(named, (str, int)):
        return None
    return str(named) if _ID.fullmatch(str(named)) else None


def _state(kind: TaskOperation, word: Any) -> State | None:
    """Return the state that a word names, None for no word and for one that no page documents."""
    if isinstance(word, str) and re.fullmatch("[0-9]{1,4}", word):
        word = int(word)
    state = kind.states.get(word) if isinstance(word, (str, int)) else None
    if state is None and word is not None:
        _warn_unknown(kind.name, without_urls(str(word)))
    return state


@functools.lru_cache(maxsize=256)
def _warn_unknown(kind: str, word: str) -> None:
    """Log a state word that no page documents, once for a process."""
    log.warning("KIE names a state that its pages do not document: %s is %r; it counts as running.", kind, word[:60])


def _error_code(value: Any) -> int | None:
    """Return an error code, or None for none: a successful cover carries 200, others null, 0 or an empty text."""
    try:
        code = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if code in (0, 200) else code


def _credits(value: Any) -> float | None:
    """Return credits as KIE reports them; what is not an amount is None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def _tracks(kind: TaskOperation, data: Mapping[str, Any]) -> tuple[Track, ...]:
    found = values_at(data, kind.tracks) if kind.tracks else ()
    return tuple(
        Track(position=number, **{name: _field(name, value) for name, value in track.items()})
        for number, track in enumerate(found, start=1)
    )


def _field(name: str, value: Any) -> Any:
    """Return a track's field in its type, None for empty and for what is of another type."""
    if name != "duration_seconds":
        return value.strip() or None if isinstance(value, str) else None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _param(kind: TaskOperation, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request that details repeat; the unified form encodes its `input` a second time."""
    param = value_at(data, "from_json(param)")
    if not isinstance(param, dict):
        return {}
    inner = value_at(param, "from_json(input)")
    if kind.model:
        return kind.named(inner) if isinstance(inner, dict) else {}
    return {**param, "input": inner} if isinstance(inner, dict) else param
