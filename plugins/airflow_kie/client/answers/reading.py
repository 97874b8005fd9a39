"""Details of a task as a typed record: what KIE's answer says, read by the paths of the operation's row."""

from __future__ import annotations

import functools
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_kie.client.answers.details import Result, TaskDetails, Track, parse_time
from airflow_kie.client.operations.json_path import value_at, values_at
from airflow_kie.client.operations.operation import MEDIA_LIFETIME, Medium, State, TaskOperation
from airflow_kie.client.redact import storable, texts_in, without_urls

log = logging.getLogger(__name__)

_ID = re.compile(r"(?!\S*://)\S{1,200}")


def task_details(kind: TaskOperation, task_id: str, data: Mapping[str, Any]) -> TaskDetails:
    """Return details as a typed record.

    :param kind: the row.
    :param task_id: the id that was requested.
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
        task_id=named_id(kind, data) or task_id,
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


def named_id(kind: TaskOperation, data: Any) -> str | None:
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
    log.warning("KIE returned an undocumented state: %s is %r; it is treated as running.", kind, word[:60])


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
    """Return the request that details repeat; the unified API variant encodes its `input` a second time.

    An API variant that shows the tasks of the other one may repeat their requests as that one does.
    """
    param = value_at(data, "from_json(param)")
    if not isinstance(param, dict):
        return {}
    inner = value_at(param, "from_json(input)")
    if kind.both_forms:
        return kind.named(inner if isinstance(inner, dict) else param)
    return {**param, "input": inner} if isinstance(inner, dict) else param
