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
from airflow_kie.client.answers.details import TaskDetails, Track, parse_time
from airflow_kie.client.answers.envelope import COMMON_CODES, Envelope, Response, decode_envelope, error_in
from airflow_kie.client.errors import KieError, Remedy, Scope
from airflow_kie.client.operations.json_path import first_at, values_at
from airflow_kie.client.operations.operation import Phase, State, Step, TaskOperation, Tracks
from airflow_kie.client.redact import storable, without_urls

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
        known = error.with_facts(kind=kind.name)
        decided = 400 <= response.status < 500 and response.status not in _UNDECIDED
        return Refused(known) if decided else Lost(known)
    task_id = _named_id(kind, envelope.data)
    if envelope.code in kind.duplicate_codes:
        return _duplicate(kind, source, task_id, envelope)
    refusal = error_in(envelope, kind, Phase.CREATE)
    if refusal is not None:
        if envelope.code in _UNDECIDED:
            return Lost(errors.KieServerError(envelope.msg, code=envelope.code, kind=kind.name))
        undecided = envelope.http_status >= 500 and isinstance(refusal, errors.KieServerError)
        return Lost(refusal) if undecided else Refused(refusal)
    if not task_id:
        return Lost(errors.KieBadAnswer("KIE accepted the create and named no task", kind=kind.name, code=200))
    return Created(task_id)


def decode_details(kind: TaskOperation, task_id: str, response: Response) -> DetailsAnswer:
    """Return what a details answer says.

    :param kind: the row.
    :param task_id: the id that was asked for.
    :param response: KIE's answer.
    """
    try:
        envelope = decode_envelope(response)
    except KieError as error:
        return Unreadable(error.with_facts(kind=kind.name, task_id=task_id))
    if envelope.code in kind.unknown_codes:
        return Invisible()
    if envelope.code not in kind.readable_codes or (envelope.code != 200 and not isinstance(envelope.data, dict)):
        refusal = error_in(envelope, kind, Phase.DETAILS)
        if refusal is not None:
            return Unreadable(refusal.with_facts(task_id=task_id))
    if envelope.data is None:
        return Invisible()
    if not isinstance(envelope.data, dict):
        return Unreadable(errors.KieBadAnswer("Details are no object", kind=kind.name, task_id=task_id))
    named = _named_id(kind, envelope.data)
    if named not in (None, task_id) and not kind.id_is_source:
        return Unreadable(
            errors.KieBadAnswer(f"KIE answered with details of task {named}", kind=kind.name, task_id=task_id)
        )
    return Read(task_details(kind, task_id, envelope.data))


def _credits(value: Any) -> float | None:
    """Return credits as KIE reports them; what is no amount is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def task_details(kind: TaskOperation, task_id: str, data: Mapping[str, Any]) -> TaskDetails:
    """Return details as a typed record.

    :param kind: the row.
    :param task_id: the id that was asked for.
    :param data: the `data` of KIE's answer.
    """
    results = _results(kind, data)
    word = first_at(data, kind.state_path) if kind.state_path else None
    state, known = _state(kind, word, bool(results))
    message = first_at(data, *kind.error_message_paths)
    parent = first_at(data, kind.parent_path) if kind.parent_path else None
    credits_consumed = first_at(data, ("creditsConsumed",), ("consumeCredits",))
    return TaskDetails(
        kind=kind.name,
        task_id=_named_id(kind, data) or task_id,
        state=state,
        word="" if word is None else without_urls(str(word)),
        known_word=known,
        parent_id=None if parent is None else storable(str(parent)),
        results=results,
        tracks=_tracks(kind.tracks, data) if kind.tracks else (),
        error_code=_error_code(first_at(data, kind.error_code_path)),
        error_message=_text(message) if message else None,
        param=_param(data),
        created_at=parse_time(first_at(data, ("createTime",))),
        completed_at=parse_time(first_at(data, ("completeTime",))),
        credits_consumed=_credits(credits_consumed),
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
    if details.word == "SENSITIVE_WORD_ERROR":
        return errors.KieContentRejected(message, code=details.error_code, **facts)
    code = details.error_code
    said = kind.code_errors.get(Phase.DETAILS, {}).get(code or 0) or COMMON_CODES.get(code or 0)
    hopeless = said is not None and said.scope is Scope.TASK and said.remedy is Remedy.PERSON
    error = said if said is not None and hopeless else errors.KieGenerationFailed
    return error(message, code=code, **facts)


def _results(kind: TaskOperation, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the results that details name, without URLs that the task was made from.

    A separation that failed can name the track itself beside its success (``originUrl``), and no stem.
    """
    inputs = {_bare(value) for path in kind.input_paths for value in values_at(data, path)}
    inputs.update(_bare(value) for value in _urls_in(_param(data)))
    named = (value for path in kind.result_paths for value in values_at(data, path))
    return tuple(_text(value) for value in named if not (_is_url(value) and _bare(value) in inputs))


def _urls_in(value: Any) -> Iterator[str]:
    left = [value]
    while left:
        inner = left.pop()
        if _is_url(inner):
            yield inner
        elif isinstance(inner, (dict, list)):
            left.extend(inner.values() if isinstance(inner, dict) else inner)


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def _bare(url: Any) -> str:
    """Return a URL without its query: signatures differ from one answer to the next."""
    return str(url).partition("?")[0]


def _named_id(kind: TaskOperation, data: Any) -> str | None:
    """Return the task id that an answer names, or None; an id is one word and no address, whatever stands there."""
    named = first_at(data, *kind.id_paths) or data
    if isinstance(named, bool) or not isinstance(named, (str, int)):
        return None
    return str(named) if _ID.fullmatch(str(named)) else None


def _duplicate(kind: TaskOperation, source: Mapping[str, Any], task_id: str | None, envelope: Envelope) -> CreateAnswer:
    own = [] if kind.id_is_source else [str(value) for value in source.values()]
    if task_id and task_id not in own:
        return Created(task_id, duplicate=True)
    facts = {"kind": kind.name, "source_id": next(iter(own), None), "code": envelope.code}
    if envelope.data is None and kind.id_is_source:
        return Refused(errors.KieInvalidRequest(envelope.msg, **facts))
    return Refused(errors.KieDuplicateWithoutId(envelope.msg, **facts))


def _state(kind: TaskOperation, word: Any, has_results: bool) -> tuple[State, bool]:
    if kind.state_path is None:
        return (State.SUCCEEDED if has_results else State.RUNNING), True
    if isinstance(word, str) and re.fullmatch("[0-9]{1,4}", word):
        word = int(word)
    if isinstance(word, (str, int)) and word in kind.states:
        return kind.states[word], True
    if word is not None:
        _warn_unknown(kind.name, without_urls(str(word)))
    return State.RUNNING, word is None


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


def _tracks(tracks: Tracks, data: Mapping[str, Any]) -> tuple[Track, ...]:
    items = [item for item in values_at(data, tracks.path) if isinstance(item, dict)]
    return tuple(
        Track(position=number, **{name: _field(name, item.get(spelled)) for name, spelled in tracks.fields.items()})
        for number, item in enumerate(items, start=1)
    )


def _field(name: str, value: Any) -> Any:
    """Return a track's field in its type, None for empty and for what is of another type."""
    if name != "duration_seconds":
        return value.strip() or None if isinstance(value, str) else None
    try:
        return float(value) or None
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _param(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request that details repeat; market tasks encode its `input` a second time."""
    param = first_at(data, ("param", Step.JSON))
    if not isinstance(param, dict):
        return {}
    inner = first_at(param, ("input", Step.JSON))
    return {**param, "input": inner} if isinstance(inner, dict) else param
