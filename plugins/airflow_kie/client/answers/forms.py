"""What is particular to KIE's two forms: a task that is read in both, and a result in the answer to a create."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import DetailsAnswer, Invisible, Read, Unreadable
from airflow_kie.client.answers.envelope import Envelope, error_in
from airflow_kie.client.errors import Scope


def says_all(answer: DetailsAnswer) -> bool:
    """Return whether a task of unknown form need not be read in the other one too: it is there, or KIE is not."""
    return isinstance(answer, Read) or (isinstance(answer, Unreadable) and answer.error.scope is not Scope.TASK)


def of_all_forms(answers: Sequence[DetailsAnswer]) -> DetailsAnswer:
    """Return what the reads of one task in each form say together: only all of them say that KIE does not know it.

    :param answers: in the order of the reads, at least one.
    """
    rank = (Read, Unreadable, Invisible)
    return min(answers, key=lambda answer: rank.index(type(answer)))


def inline_answer(name: str, data: Any) -> Any:
    """Return the result that an answer to ``createTask`` holds, in ``data`` or in ``data.data`` with a code of its own.

    :param name: the operation's.
    :param data: the answer's `data`.
    :raises KieError: when that code is one of an error, or there is a task's id, or nothing, instead of a result.
    """
    if isinstance(data, dict) and isinstance(data.get("code"), int) and "data" in data:
        error = error_in(Envelope(data["code"], str(data.get("msg") or ""), None), name, {})
        if error is not None:
            raise error
        data = data["data"]
    if not data or (isinstance(data, dict) and not set(data) - {"taskId", "recordId"}):
        raise errors.KieBadAnswer("KIE accepted the call and answered nothing", kind=name, code=200)
    return data
