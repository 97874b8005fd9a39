"""A run's memory of its paid tasks, in Airflow's task state store.

The store is keyed by run, task and map index; a map index does not name a song, so every key here names its source.
Values never expire by themselves: they go with the DAG run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # in its __all__, not in its stub

from airflow_kie.lifecycle.record import TaskRecord, read_records

log = logging.getLogger(__name__)

PAID = "paid/"
"""What the keys of the ledger begin with, where it is in a task's own state."""


class TaskStateStore(Protocol):
    """What is used of ``context["task_state_store"]``."""

    def get(self, key: str, default: Any = None) -> Any: ...
    def set(self, key: str, value: Any, *, retention: Any = None) -> None: ...


class RecordStore:
    """Reads and writes the record of one paid task.

    :param store: ``context["task_state_store"]``.
    :param key: names the operation and the request.
    """

    def __init__(self, store: TaskStateStore, key: str) -> None:
        self._store = store
        self.key = key

    def read(self) -> TaskRecord | None:
        """Return the stored record, None when there is none, or one that cannot be read: the ledger has the id then."""
        value = self._store.get(self.key)
        records, damaged = read_records({self.key: value} if isinstance(value, dict) else {})
        for error in damaged.values():
            log.warning("The record %s of this task: %s. It is asked for in the ledger.", self.key, error.facts.message)
        return records.get(self.key)

    def write(self, record: TaskRecord) -> None:
        """Store the record."""
        self._store.set(self.key, record.to_json(), retention=NEVER_EXPIRE)

    def deadline(self, max_tries: int, now: float, timeout: float) -> float:
        """Return when this wait ends: fixed at its first attempt, kept by retries, new after a clear.

        :param max_tries: the task instance's; it rises on a clear and not on a retry.
        :param now: epoch seconds.
        :param timeout: seconds that the wait may last.
        """
        key = f"deadline/{self.key}"
        stored = self._store.get(key)
        if isinstance(stored, dict) and stored.get("max_tries") == max_tries:
            return float(stored["at"])
        self._store.set(key, {"at": now + timeout, "max_tries": max_tries}, retention=NEVER_EXPIRE)
        return now + timeout

    def extend_deadline(self, max_tries: int, at: float) -> None:
        """Let the wait end at another moment: the time of an outage does not count.

        :param max_tries: the task instance's.
        :param at: epoch seconds.
        """
        self._store.set(f"deadline/{self.key}", {"at": at, "max_tries": max_tries}, retention=NEVER_EXPIRE)


def source_key(noun: str, source_id: str) -> str:
    """Return the key of a task that is made from something: ``cover/<music task id>``."""
    return f"{noun}/{source_id}"


def digest_of_this_try(store: TaskStateStore, digest: str, max_tries: int) -> str:
    """Return the digest of a request: see :func:`digests_of_this_try`."""
    return digests_of_this_try(store, [digest], max_tries)[0]


def digests_of_this_try(store: TaskStateStore, digests: list[str], max_tries: int) -> list[str]:
    """Return the digests of requests: a retry keeps them even if a request renders differently.

    A template with a time in it would otherwise make a retry pay for a second task. After a clear the requests count
    as they are then: an equal one adopts its task, another one is another task.

    :param store: ``context["task_state_store"]``.
    :param digests: of the requests as they are now.
    :param max_tries: the task instance's; it rises on a clear and not on a retry.
    """
    stored = store.get("requests")
    if isinstance(stored, dict) and stored["max_tries"] == max_tries and len(stored["digests"]) == len(digests):
        left = [digest for digest in stored["digests"] if digest not in digests]
        return [digest if digest in stored["digests"] or not left else str(left.pop(0)) for digest in digests]
    store.set("requests", {"digests": digests, "max_tries": max_tries}, retention=NEVER_EXPIRE)
    return digests


class TaskStateLedgerStore:
    """The ledger of paid requests in a task instance's own state: it knows what this run has asked for, and no other.

    :param store: ``context["task_state_store"]``.
    """

    kind: ClassVar[str] = "task"

    def __init__(self, store: TaskStateStore) -> None:
        self._store = store

    def create(self, key: str, body: bytes) -> bool:
        """Create an entry; False if there is one already."""
        entries = self._entries(key)
        if key in entries:
            return False
        self._store.set(self._folder(key), {**entries, key: body.decode()}, retention=NEVER_EXPIRE)
        return True

    def list(self, prefix: str) -> Iterable[str]:
        """Return the keys of a folder."""
        return [key for key in self._entries(prefix) if key.startswith(prefix)]

    def read(self, key: str) -> bytes | None:
        """Return an entry's content, None if there is none."""
        body = self._entries(key).get(key)
        return None if body is None else str(body).encode()

    def delete(self, key: str) -> None:
        """Delete an entry, if there is one."""
        if key in (entries := self._entries(key)):
            left = {name: body for name, body in entries.items() if name != key}
            self._store.set(self._folder(key), left, retention=NEVER_EXPIRE)

    def _entries(self, key: str) -> Mapping[str, Any]:
        stored = self._store.get(self._folder(key))
        return stored if isinstance(stored, dict) else {}

    def _folder(self, key: str) -> str:
        return f"{PAID}{key.rpartition('/')[0]}"
