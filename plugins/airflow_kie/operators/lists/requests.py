"""The requests of a list, from a DAG, an XCom or a table in S3: what each is, and what identifies it."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from airflow_kie import settings
from airflow_kie.archive.tables.requests import MAX_BYTES, TableRow, read_rows
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.redact import without_queries
from airflow_kie.durable.defaults import optional
from airflow_kie.durable.requests import asked_by
from airflow_kie.durable.task_state import TaskStateStore, digests_of_this_try
from airflow_kie.lifecycle.identity import request_digest

if TYPE_CHECKING:
    from airflow_kie.hooks.archive import ExtraArgs

Requests = Sequence[Mapping[str, Any]] | str
"""Bodies, or the address of a table in S3."""


@dataclass(frozen=True)
class Request:
    """One request of a list.

    :param index: its place, from 0.
    :param digest: of its identity.
    :param body: its fields as KIE names them.
    :param key: the user's own name for it.
    :param problem: why it is not sent; empty: it can be sent.
    """

    index: int
    digest: str
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    key: str | None = None
    problem: str = ""


class ListOperator(Protocol):
    """An operator that makes a list of tasks, as :class:`~airflow_kie.operators.task.KieTaskOperator` documents it."""

    task_id: str
    row: TaskOperation
    request: Mapping[str, Any] | None
    requests: Requests | None
    to: str | None
    key_field: str | None
    fail_on: float | str
    kie_conn_id: str
    aws_conn_id: str | None
    extra_args: ExtraArgs
    idempotency_key: str | None
    adopt_task_id: str | None
    force_new: str | None
    labels: Mapping[str, str] | str | None
    wait_for_completion: bool
    deferrable: bool
    poll_interval: float | None
    probes: bool

    def probe(self) -> None: ...

    @property
    def timeout_seconds(self) -> float: ...

    def check_body(self, body: Mapping[str, Any], which: str) -> None: ...


@dataclass(frozen=True)
class RequestRows:
    """The requests of one task instance, in their order, as often as they are requested.

    :param operator: whose requests they are.
    :param ti: the task instance.
    :param rows: returns the rows once more.
    :param digests: the rows' digests, where they are fixed; None: it is computed.
    """

    operator: ListOperator
    ti: Any
    rows: Iterable[TableRow]
    digests: Sequence[str] | None = None

    def __iter__(self) -> Iterator[Request]:
        digests = iter(self.digests) if self.digests is not None else None
        seen: Counter[str] = Counter()
        for index, row in enumerate(self.rows):
            request = self._request(index, row)
            if not request.problem:
                digest = next(digests) if digests else _counted(self.operator, request, seen)
                request = Request(index, digest, request.body, request.key)
                if digest == "":
                    problem = f"its key {request.key} is also that of an earlier row"
                    request = Request(index, f"row-{index}", key=request.key, problem=_sentence(index, problem))
            yield request

    def _request(self, index: int, row: TableRow) -> Request:
        """Return a row as a request, with the digest of itself alone."""
        operator, unsent = self.operator, f"row-{index}"
        if row.problem:
            return Request(index, unsent, problem=_sentence(index, row.problem))
        body, key = _joined(operator.request or {}, row.fields), None
        if operator.key_field:
            value = body.pop(operator.key_field, None)
            if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
                return Request(index, unsent, problem=_sentence(index, f"it has no {operator.key_field}"))
            key = without_queries(str(value))
        try:
            return Request(index, _digest(operator, self.ti, body, key), body, key)
        except KieInvalidRequest as error:
            return Request(index, unsent, key=key, problem=_sentence(index, error.facts.message))


def _sentence(index: int, problem: str) -> str:
    return str(KieInvalidRequest(f"request no. {index}: {problem}; it was not sent to KIE"))


def _digest(operator: ListOperator, ti: Any, body: Mapping[str, Any], key: str | None) -> str:
    named = {"key": name} if (name := optional(operator.idempotency_key)) else None
    own = ""
    if key is not None:  # of this list in every run, or of every list of the same name
        scope = named or {"namespace": settings.text("namespace"), "dag": ti.dag_id, "task": ti.task_id}
        own = json.dumps([*scope.values(), key])
    return request_digest(
        operator.row, body, named or asked_by(ti), idempotency_key=own, force_new=optional(operator.force_new)
    )


def _counted(operator: ListOperator, request: Request, seen: Counter[str]) -> str:
    """Return a request's digest; empty where its key is taken.

    Two equal requests of one list are two tasks, unless they are made from the same source: that is one.
    """
    seen[request.digest] += 1
    number = seen[request.digest]
    if number == 1 or (operator.row.parent and request.key is None):
        return request.digest
    return "" if request.key is not None else f"{request.digest}-{number}"


def _joined(default: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that each request has, with a row's own in their place."""
    both = dict(default)
    for name, value in own.items():
        known = both.get(name)
        nested = isinstance(known, Mapping) and isinstance(value, Mapping)
        both[name] = _joined(known, value) if nested and isinstance(known, Mapping) else value
    return both


def refuse_as_one(operator: ListOperator, *, was_list: bool) -> None:
    """Refuse to send one request where the operator's arguments are those of a list: its result would be lost.

    :param operator: has no list.
    :param was_list: it was given one, such as the output of a task that has returned nothing.
    :raises KieInvalidRequest: saying which argument is meant.
    """
    if was_list:
        raise KieInvalidRequest(
            f"requests of task {operator.task_id} is None: what it names has returned nothing. An empty list makes no "
            "request; nothing was sent to KIE"
        )
    if optional(operator.to):
        raise KieInvalidRequest(
            f"`to` of task {operator.task_id} archives what a list makes: give requests=[…], or archive the id that "
            "this task returns with KieResultsToS3Operator; nothing was sent to KIE"
        )
    if optional(operator.key_field) or operator.fail_on != "any":
        raise KieInvalidRequest(
            f"`key_field` and `fail_on` of task {operator.task_id} are about the requests of a list: give requests=[…] "
            "or name one request by its `idempotency_key`; nothing was sent to KIE"
        )


def refuse_as_list(operator: ListOperator) -> None:
    """Refuse a list with an argument of one request, or with arguments that contradict each other.

    :param operator: has a list.
    :raises KieInvalidRequest: saying which argument is meant.
    """
    if optional(operator.adopt_task_id):
        raise KieInvalidRequest(
            f"`adopt_task_id` of task {operator.task_id} is about one request: `airflow kie adopt` gives one of a list "
            "its KIE task; nothing was sent to KIE"
        )
    if optional(operator.to) and not operator.wait_for_completion:
        raise KieInvalidRequest(
            f"`to` of task {operator.task_id} archives results, and wait_for_completion=False waits for none; nothing "
            "was sent to KIE"
        )


def open_requests(operator: ListOperator, ti: Any, store: TaskStateStore, stack: ExitStack) -> RequestRows:
    """Return the requests of a task instance.

    A retry sees what its first try has seen: a list keeps its digests, even if a template renders differently, and a
    table must not have changed. After a clear the requests count as they are then.

    :param operator: whose requests they are.
    :param ti: the task instance.
    :param store: the task state store.
    :param stack: closes the table at the end.
    :raises KieInvalidRequest: when it is neither a list nor a table, or the table has changed.
    """
    given = operator.requests
    if isinstance(given, str):
        return RequestRows(operator, ti, _table(operator, given.strip(), ti, store, stack))
    if not isinstance(given, Sequence):
        raise KieInvalidRequest(
            "requests is neither a list nor an address such as s3://bucket/table.csv; nothing was sent to KIE"
        )
    rows = [TableRow(body) if isinstance(body, Mapping) else TableRow(problem="is not an object") for body in given]
    computed = RequestRows(operator, ti, rows)
    shared = operator.row.parent is not None and not operator.row.by_request
    if shared or optional(operator.idempotency_key) or operator.key_field:
        return computed
    digests = digests_of_this_try(store, [one.digest for one in computed if not one.problem], ti.max_tries)
    return RequestRows(operator, ti, rows, digests)


def _table(
    operator: ListOperator, address: str, ti: Any, store: TaskStateStore, stack: ExitStack
) -> Iterable[TableRow]:
    from airflow_kie.archive.s3.address import bucket_and_key
    from airflow_kie.archive.s3.errors import ArchiveUnreadable
    from airflow_kie.hooks.archive import open_bucket

    bucket, key = bucket_and_key(address)
    file = cast("BinaryIO", stack.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115 - the stack closes it
    try:
        facts = open_bucket(operator.aws_conn_id, bucket).read_facts(key, file, MAX_BYTES) if key else None
    except ArchiveUnreadable as error:  # its advice is for records of the archive, which may be deleted
        raise KieInvalidRequest(f"{error.facts.message}: split the table; nothing was sent to KIE") from error
    if facts is None:
        raise KieInvalidRequest(f"s3://{bucket}/{key} does not exist; nothing was sent to KIE")
    known = store.get("table") or {}
    table = _Table(file, key)
    if known.get("max_tries") != ti.max_tries:
        for _ in table:  # what refuses all of it comes before one of its rows is sent
            pass
        store.set("table", {"max_tries": ti.max_tries, "etag": facts.etag or ""})
    elif known["etag"] != (facts.etag or ""):
        raise KieInvalidRequest(
            f"the table s3://{bucket}/{key} has changed since this task began with it. Clear the task to use the new "
            "one; requests that are already paid are not paid again"
        )
    return table


@dataclass(frozen=True)
class _Table:
    """Reads a table from its beginning, as often as it is requested."""

    file: BinaryIO
    name: str

    def __iter__(self) -> Iterator[TableRow]:
        self.file.seek(0)
        return read_rows(self.file, self.name)
