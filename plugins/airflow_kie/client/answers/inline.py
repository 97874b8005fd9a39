"""A result that is in the answer to its create: KIE then names no task, and shows it nowhere else.

Two clients report it of timestamped lyrics in the unified API variant (September 2026); the pages speak of no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_kie.client import errors
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.answers.envelope import Envelope, error_in
from airflow_kie.client.answers.reading import task_details
from airflow_kie.client.operations.json_path import value_at
from airflow_kie.client.operations.operation import State, TaskOperation
from airflow_kie.client.redact import is_address

CALL_SECONDS = 120.0
"""Seconds for which a call waits that KIE has made a task of instead."""
CALL_PAUSE = 2.0
"""Seconds between its reads."""
_NO_RESULT = frozenset(
    {"taskId", "task_id", "recordId", "code", "msg", "message", "success", "status", "state", "successFlag"}
)
"""Members of an answer to a create that are no result."""
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_KEPT_ID = re.compile(r"answer-([0-9a-f]{32}(?:-[0-9]+)?)-([0-9]+)")


def inline_answer(name: str, data: Any) -> Any:
    """Return the result that an answer to ``createTask`` holds, in ``data`` or in ``data.data`` with a code of its own.

    :param name: the operation's.
    :param data: the answer's `data`.
    :raises KieError: when that code is one of an error, or there is a task's id, or nothing, instead of a result.
    """
    if isinstance(data, dict) and isinstance(data.get("code"), int) and "data" in data:
        error = error_in(Envelope(data["code"], str(data.get("msg") or ""), None, 200), name, {})
        if error is not None:
            raise error
        data = data["data"]
    if not data or only_id(data):
        raise errors.KieBadAnswer("KIE accepted the call but returned no answer", kind=name, code=200)
    return data


def only_id(data: Any) -> str | None:
    """Return the id of the task that an answer to ``createTask`` names, if it holds nothing else."""
    if not isinstance(data, dict) or set(data) - {"taskId", "recordId"}:
        return None
    return next((str(value) for value in data.values() if value), None)


def checked_result(kind: TaskOperation, data: Any) -> Any:
    """Return an answer to a create that names no task and is the result itself.

    :param kind: the row.
    :param data: the answer's `data`.
    :raises KieError: when it has no result, a state that is not that of a success, or the code of an error.
    """
    word = value_at(data, kind.state_path)
    unfinished = isinstance(word, str | int) and kind.states.get(word) is not State.SUCCEEDED
    if unfinished or not _is_result(inline_answer(kind.name, data)):
        raise errors.KieBadAnswer("KIE accepted the create but returned no task id", kind=kind.name, code=200)
    return data


def _is_result(made: Any) -> bool:
    if isinstance(made, dict):
        return any(value not in _EMPTY for key, value in made.items() if key not in _NO_RESULT)
    if isinstance(made, list):
        return any(_is_result(item) for item in made)
    return isinstance(made, str) and is_address(made)


def kept_id(digest: str, number: int) -> str:
    """Return the id of a kept answer, as KIE has named none: it is read by it like any task.

    :param digest: of the request's identity.
    :param number: which attempt at it.
    """
    return f"answer-{digest}-{number}"


def kept_under(task_id: str) -> tuple[str, int] | None:
    """Return digest and attempt of a kept answer's id, None for an id of KIE's."""
    found = _KEPT_ID.fullmatch(task_id)
    return (found[1], int(found[2])) if found else None


def kept_body(answer: Any, form: str, at: float) -> bytes:
    """Return an answer as it is kept.

    :param answer: the `data` of KIE's answer to the create.
    :param form: the API variant in which KIE was asked.
    :param at: epoch seconds at which it came.
    """
    return json.dumps({"at": at, "form": form, "answer": answer}, ensure_ascii=False).encode()


def kept_details(kind: TaskOperation, task_id: str, body: bytes) -> TaskDetails:
    """Return a kept answer as the details of a task that has succeeded.

    Where the row finds no result in it, the answer itself is the result.

    :param kind: the row.
    :param task_id: the answer's id.
    :param body: what :func:`kept_body` returned.
    """
    kept = json.loads(body)
    outer, made = kept["answer"], inline_answer(kind.name, kept["answer"])
    row, at = kind.in_form(kept["form"]), int(kept["at"] * 1000)
    shown = {
        # Where rows find it in a task's record.
        "response": made,
        "resultJson": {"data": made} if isinstance(made, list) else made,
        **(made if isinstance(made, Mapping) else {}),
        "createTime": at,
        "completeTime": at,
    }
    read = task_details(row, task_id, shown)
    raw = outer if isinstance(outer, Mapping) else {"data": outer}
    details = replace(read, task_id=task_id, state=State.SUCCEEDED, word="", known_word=True, raw=raw)
    if details.complete:
        return details
    return replace(details, tracks=(), required=frozenset()).with_answer()
