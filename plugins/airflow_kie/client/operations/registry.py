"""Every KIE operation that this package knows, by name.

Sources are the pages at docs.kie.ai that each row names; where recorded traffic contradicts a page, the traffic wins.
Sensor, trigger, operator and callback receiver read these rows and have no KIE path of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TypeVar

from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations import (
    account,
    images,
    market,
    runway,
    suno,
    suno_music,
    suno_tracks,
    veo,
    voice,
)
from airflow_kie.client.operations.operation import CallOperation, Operation, TaskOperation

_FAMILIES = (suno, suno_tracks, suno_music, voice, market, veo, runway, images, account)

OPERATIONS: Mapping[str, Operation] = {
    row.name: row for family in _FAMILIES for row in vars(family).values() if isinstance(row, Operation)
}
"""Every operation by name."""
Row = TypeVar("Row", TaskOperation, CallOperation)


@functools.cache
def task_kind(name: str, form: str = "") -> TaskOperation:
    """Return the row of a task kind.

    :param name: such as ``suno.cover``.
    :param form: the API variant in which its task was requested; empty: unknown, or it does not matter.
    :raises KeyError: with the known names, when no task kind has this one.
    """
    row = OPERATIONS.get(name)
    if not isinstance(row, TaskOperation):
        raise KeyError(f"Unknown KIE task kind {name!r}. Known: {_names(TaskOperation)}.")
    return row.in_form(form)


def task_operation(name: str) -> TaskOperation:
    """Return the row of an operation that makes a task, as people name it.

    :raises KieInvalidRequest: with the known names, when none has this one.
    """
    return _named(name, TaskOperation, "makes a task")


def call_operation(name: str) -> CallOperation:
    """Return the row of an operation that answers at once, as people name it.

    :raises KieInvalidRequest: with the known names, when none has this one.
    """
    return _named(name, CallOperation, "answers at once")


def _named(name: str, of: type[Row], what: str) -> Row:
    row = OPERATIONS.get(name)
    if not isinstance(row, of):
        raise KieInvalidRequest(f"{name!r} is not an operation that {what}; these are: {_names(of)}")
    return row


def _names(of: type[Operation]) -> str:
    return ", ".join(sorted(name for name, row in OPERATIONS.items() if isinstance(row, of)))
