"""The ledger of paid requests as tests need it: a worker that dies at a named point, and intents that become old."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_kie.client.rate_limiter.paid_requests import DatabaseLedgerStore
from airflow_kie.client.rate_limiter.store import PAID_REQUESTS
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


class Entries(Protocol):
    """The objects of a ledger, wherever they are."""

    def read(self) -> Mapping[str, bytes]:
        """Return them by their keys."""

    def overwrite(self, key: str, body: bytes) -> None:
        """Change one, as nobody but a test does."""


@dataclass(frozen=True)
class InMemory:
    """Of a store in memory."""

    store: MemoryLedgerStore

    def read(self) -> Mapping[str, bytes]:
        return dict(self.store.objects)

    def overwrite(self, key: str, body: bytes) -> None:
        self.store.objects[key] = body


@dataclass(frozen=True)
class InTaskState:
    """Of a task instance's own state."""

    store: FakeTaskStateStore

    def read(self) -> Mapping[str, bytes]:
        rows = [self.store.record(row) for row in self.store.rows if row.startswith("paid/")]
        return {key: body.encode() for row in rows for key, body in row.items()}

    def overwrite(self, key: str, body: bytes) -> None:
        row = f"paid/{key.rpartition('/')[0]}"
        self.store.rows[row] = json.dumps({**self.store.record(row), key: body.decode()})


@dataclass(frozen=True)
class InBucket:
    """Of a bucket."""

    files: StoredFiles
    folder: str = FOLDER

    def read(self) -> Mapping[str, bytes]:
        listed = self.files.client.list_objects_v2(Bucket=self.files.bucket, Prefix=self.folder)
        return {item["Key"]: self.files.body(item["Key"]) for item in listed.get("Contents", ())}

    def overwrite(self, key: str, body: bytes) -> None:
        self.files.put(key, body)


@dataclass(frozen=True)
class InDatabase:
    """Of the limiter's database."""

    store: DatabaseLedgerStore

    def read(self) -> Mapping[str, bytes]:
        return {key: self.store.read(key) or b"" for key in self.store.list("")}

    def overwrite(self, key: str, body: bytes) -> None:
        with self.store.store.locked("paid requests") as locked:
            table = PAID_REQUESTS
            locked.connection.execute(table.update().where(table.c.key == key).values(body=body.decode()))


def recorded(entries: Entries) -> list[str]:
    """Return the names of a ledger's objects, without what tells requests apart: ``1.intent``, ``1.task.<id>``."""
    besides = ("/_doubt/", "/_released/")
    keys = [key for key in entries.read() if not key.startswith("_") and not any(part in key for part in besides)]
    return sorted(key.rpartition("/")[2] for key in keys)


def become_old(entries: Entries, seconds: float = 3600) -> None:
    """Let every intent of a ledger be so much older: what nobody has answered is in doubt then."""
    for key, body in entries.read().items():
        if key.endswith(".intent"):
            value: dict[str, Any] = json.loads(body)
            times = {name: value[name] - seconds for name in ("at", "not_after", "callback_by") if name in value}
            entries.overwrite(key, json.dumps(value | times).encode())
