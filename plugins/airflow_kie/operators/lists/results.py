"""What has become of each request of a list: recorded while it runs, returned at the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol

from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.errors import KieError, KieInvalidRequest, KieSomeFailed
from airflow_kie.durable.task_state import TaskStateStore
from airflow_kie.operators.lists.requests import Request

_STORE_KEY = "items"


class Status(StrEnum):
    """What can become of a request; there is nothing else."""

    ARCHIVED = "archived"
    """Every file is in the bucket."""
    DONE = "done"
    """The task has succeeded, or without waiting, its id is known."""
    REFUSED = "refused"
    """It was not sent, or KIE rejected it: nothing is paid."""
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    """It was sent, but it is not known whether KIE created a task: it may be paid."""
    TIMEOUT = "timeout"
    """It is paid and still running: the next run of the same request waits for it."""

    @property
    def good(self) -> bool:
        """Whether it is what was requested."""
        return self in (Status.ARCHIVED, Status.DONE)


_OF_REASON = {
    "create_in_doubt": Status.IN_DOUBT,
    "invalid_request": Status.REFUSED,
    "over_cap": Status.REFUSED,
    "timeout": Status.TIMEOUT,
}


@dataclass(frozen=True)
class Item:
    """What became of one request of the list.

    :param status: one of :class:`Status`.
    :param task_id: KIE's id, if it has named one.
    :param files: what is in the bucket.
    :param used: credits that KIE says it has cost; None: unknown.
    :param reason: short reason of a failure.
    :param error: what a person reads.
    """

    status: Status
    task_id: str | None = None
    files: Sequence[Mapping[str, Any]] = ()
    used: float | None = None
    reason: str | None = None
    error: str | None = None

    @classmethod
    def of_error(cls, error: KieError, *, timed_out: bool = False) -> Item:
        """Return the item of a request that failed."""
        status = Status.TIMEOUT if timed_out else _OF_REASON.get(error.reason, Status.FAILED)
        return cls(status, error.facts.task_id, reason=error.reason, error=str(error))


class Archive(Protocol):
    """Brings what a task has made into a bucket."""

    def archived_before(self, request: Request, made: Callable[[], str | None]) -> Item | None:
        """Return the item of a request whose files are all there, without asking KIE.

        :param made: returns the task that the ledger has of it, None if there is none.
        """

    def archived_now(self, request: Request, details: TaskDetails) -> Item:
        """Archive what a request's task has made.

        :raises KieError: why that was not possible.
        """


class ListResults(Protocol):
    """Where it is recorded what has become of each request."""

    @property
    def archive(self) -> Archive | None:
        """What archives the results; None: nothing does."""

    def begin(self, *, again: bool) -> None:
        """Read what is recorded.

        :param again: an attempt begins: what has failed is requested again.
        """

    def forget(self, given_up: Callable[[Mapping[str, str]], Iterable[str]]) -> None:
        """Let requests of an earlier try count as not made.

        :param given_up: chooses them by their digests, given KIE's task ids by digest.
        """

    def has(self, digest: str) -> bool:
        """Return whether a request has ended."""

    def add(self, request: Request, item: Item) -> bool:
        """Record what became of a request; return whether it is time to write that down."""

    def flush(self) -> None:
        """Write down what is recorded."""

    @property
    def made(self) -> tuple[Sequence[Mapping[str, Any]], str, str]:
        """The first rows of a list that was finished, and bucket and key of its table, for the lineage."""

    def finish(self, requests: Iterable[Request]) -> tuple[Any, Counter[str], list[str]]:
        """Return what goes into XCom, how many requests have which status, and sentences about the first failures."""


class InTaskState:
    """The results of a list that is not archived, in the task state store.

    :param store: ``context["task_state_store"]``.
    """

    archive: Archive | None = None

    def __init__(self, store: TaskStateStore) -> None:
        self._store = store
        self.made: tuple[Sequence[Mapping[str, Any]], str, str] = ((), "", "")
        self._items: dict[str, dict[str, Any]] = {}

    def begin(self, *, again: bool) -> None:
        """Read what is recorded."""
        known = self._store.get(_STORE_KEY) or {}
        self._items = {digest: item for digest, item in known.items() if not again or item["status"] == Status.DONE}

    def forget(self, given_up: Callable[[Mapping[str, str]], Iterable[str]]) -> None:
        """Let requests of an earlier try count as not made; the parameter as of :class:`ListResults`."""
        made = {digest: item["task_id"] for digest, item in self._items.items() if item.get("task_id")}
        for digest in given_up(made) if made else ():
            del self._items[digest]

    def has(self, digest: str) -> bool:
        """Return whether a request has ended."""
        return digest in self._items

    def add(self, request: Request, item: Item) -> bool:
        """Record what became of a request."""
        known = asdict(item) | {"status": item.status.value, "key": request.key}
        self._items[request.digest] = {name: value for name, value in known.items() if value not in (None, ())}
        return False

    def flush(self) -> None:
        """Write down what is recorded."""
        self._store.set(_STORE_KEY, self._items)

    def finish(self, requests: Iterable[Request]) -> tuple[Any, Counter[str], list[str]]:
        """Return one row a request, in their order."""
        unknown = dict.fromkeys(("task_id", "reason", "error"))
        rows = [{"index": request.index, **unknown, **self._items[request.digest]} for request in requests]
        self.made = (rows, "", "")
        failures = [row_failure(row) for row in rows if not Status(row["status"]).good]
        return rows, Counter(row["status"] for row in rows), failures[:3]


def row_failure(row: Mapping[str, Any]) -> str:
    """Return a sentence about a row that failed."""
    return f"no. {row['index']}: {row['error']}"


def share_of(fail_on: float | str) -> float:
    """Return the share of a list's requests that may fail at most.

    :param fail_on: ``any``, ``never``, or the share.
    :raises KieInvalidRequest: for anything else.
    """
    try:
        share = float({"any": 0.0, "never": 1.0}.get(str(fail_on), fail_on))
    except (TypeError, ValueError):
        share = math.nan
    if not 0 <= share <= 1:
        raise KieInvalidRequest(
            f'fail_on is "any", "never" or a share such as 0.1, not {str(fail_on)!r:.60}; nothing was sent to KIE'
        )
    return share


def check_all(counts: Mapping[str, int], failures: Sequence[str], fail_on: float | str) -> None:
    """Fail the task if too many requests failed; everything else of the list is done by then.

    :param counts: how many requests have which status.
    :param failures: sentences about the first failures.
    :param fail_on: ``any``, ``never``, or the share of the requests that may fail at most.
    :raises KieSomeFailed: with the counts and the first failures.
    """
    total, failed = sum(counts.values()), sum(n for status, n in counts.items() if not Status(status).good)
    if failed > total * share_of(fail_on):
        raise KieSomeFailed(f"{failed} of {total} requests failed. {'; '.join(failures)}")
