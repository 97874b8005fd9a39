"""The ledger of paid requests as tests need it: a worker that dies at a named point, and intents that become old."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from airflow_kie.lifecycle import crash_points
from airflow_task import FakeTaskStateStore, StoredFiles, WorkerCrash
from ledgers import MemoryLedgerStore

POINTS = ("before intent", "after intent", "before post", "after post", "before task", "after task")
FOLDER = "songs/_paid/"
"""Where the ledger is in the bucket of the tests."""


@contextmanager
def dying_at(point: str) -> Iterator[None]:
    """Let the worker's process end each time it gets to a point."""

    def die() -> None:
        raise WorkerCrash

    with at_point(point, die):
        yield


@contextmanager
def at_point(point: str, action: Callable[[], None]) -> Iterator[None]:
    """Let something happen each time the process gets to a point."""
    crash_points.at(point, action)
    try:
        yield
    finally:
        crash_points.at(point, None)


def recorded(where: FakeTaskStateStore | StoredFiles | MemoryLedgerStore) -> list[str]:
    """Return the names of a ledger's objects, without what tells requests apart: ``1.intent``, ``1.task.<id>``."""
    if isinstance(where, FakeTaskStateStore):
        keys = [key for row in where.rows if row.startswith("paid/") for key in where.record(row)]
    elif isinstance(where, MemoryLedgerStore):
        keys = list(where.objects)
    else:
        keys = [key for key in where.listed() if key.startswith(FOLDER)]
    return sorted(key.rpartition("/")[2] for key in keys)


def become_old(where: FakeTaskStateStore | StoredFiles | MemoryLedgerStore, seconds: float = 3600) -> None:
    """Let every intent of a ledger be so much older: what nobody has answered is in doubt then."""
    if isinstance(where, FakeTaskStateStore):
        for row in [row for row in where.rows if row.startswith("paid/")]:
            entries = {key: _older(body.encode(), seconds).decode() for key, body in where.record(row).items()}
            where.rows[row] = json.dumps(entries)
    elif isinstance(where, MemoryLedgerStore):
        where.objects.update({key: _older(body, seconds) for key, body in where.objects.items()})
    else:
        for key in [key for key in where.listed() if key.startswith(FOLDER) and key.endswith(".intent")]:
            where.put(key, _older(where.body(key), seconds))


def _older(body: bytes, seconds: float) -> bytes:
    value: dict[str, Any] = json.loads(body)
    times = {name: value[name] - seconds for name in ("at", "not_after", "callback_by") if name in value}
    return json.dumps(value | times).encode()
