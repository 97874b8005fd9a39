"""Refusals that say that the other one of KIE's API variants may be the right one."""

from __future__ import annotations

import re

from airflow_kie.client import errors
from airflow_kie.client.errors import KieError
from airflow_kie.client.operations.operation import TaskOperation

_GONE = frozenset({404, 405, 505})
"""Codes, or HTTP statuses of a page that is none of KIE's answers, that say that there is nothing at this address."""
_NO_MODEL = re.compile(r"model name you specified is not supported", re.IGNORECASE)
"""What ``createTask`` says of a model that it does not have, with code 422 (observed); of these rows it is ours."""
_NO_RECORD = re.compile(r"\b(record|music|task|audio)\b.{0,40}\b(does not|doesn't) exist", re.IGNORECASE)


def gone(kind: TaskOperation, path: str, error: KieError) -> KieError | None:
    """Return the error of an address that is gone, of an operation that can be requested in another API variant.

    :param kind: the row.
    :param path: where it was asked.
    :param error: how that ended.
    """
    code = error.facts.code
    no_path = code in _GONE and code not in kind.create_errors
    no_model = bool(kind.model and _NO_MODEL.search(error.facts.message))
    if not kind.both_forms or not (no_path or no_model):
        return None
    return errors.KieFormGone(f"the {kind.form} API variant, {path}: {error.facts.message}", code=code, kind=kind.name)


def says_no_record(message: str) -> bool:
    """Return whether a refusal says that KIE does not know what something is made from."""
    return bool(_NO_RECORD.search(message))


def no_record(kind: TaskOperation, facts: errors.Facts) -> KieError | None:
    """Return the error of a source that KIE does not know: only its message says so.

    :param kind: the row.
    :param facts: of KIE's refusal, or of a task that has failed.
    """
    if kind.parent is None or not kind.both_forms or not says_no_record(facts.message):
        return None
    return errors.KieNoRecord(**facts.known() | {"kind": kind.name})
