"""The results of a list in S3: each is archived as it ends, and a table has a row for each request."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_kie import metrics
from airflow_kie.archive.index.entry import IndexEntry, entry_of
from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.manifest import AirflowRecord, FileRecord, TaskManifest
from airflow_kie.archive.s3.address import bucket_and_key
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.tables.results import ResultTable
from airflow_kie.archive.task_archiver import archive_task, is_archived
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.catalogue.prices import quote
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.durable.xcom import files_in
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.hooks.kie import KieHook, fetching
from airflow_kie.hooks.once_a_day import as_known
from airflow_kie.hooks.unarchived import record_archived
from airflow_kie.lineage.lists import MOST
from airflow_kie.operators.lists.requests import ListOperator, Request
from airflow_kie.operators.lists.results import Item, Status, row_failure

if TYPE_CHECKING:
    from airflow.sdk import Context

ROWS = 50
"""Rows after which what has ended is written down."""
SECONDS = 20.0
"""Seconds after which it is written down."""
_STORE_KEY = "results"


@dataclass
class ListArchive:
    """Archives what the tasks of a list have made, and records what became of each.

    :param kind: what has made it.
    :param hook: the account.
    :param bucket: where.
    :param keys: the archive's keys.
    :param table: the list's own table.
    :param airflow: the Airflow task.
    """

    kind: TaskOperation
    hook: KieHook
    bucket: Bucket
    keys: ArchiveKeys
    table: ResultTable
    airflow: AirflowRecord
    _statuses: dict[str, str] = field(default_factory=dict, init=False)
    _earlier: dict[str, str] = field(default_factory=dict, init=False)
    _rows: list[dict[str, Any]] = field(default_factory=list, init=False)
    _entries: list[IndexEntry] = field(default_factory=list, init=False)
    _made: list[Mapping[str, Any]] = field(default_factory=list, init=False)
    _flushed_at: float = field(default_factory=time.monotonic, init=False)

    @property
    def archive(self) -> ListArchive:
        """It archives, too."""
        return self

    @property
    def made(self) -> tuple[Sequence[Mapping[str, Any]], str, str]:
        """The first rows of a list that was finished, and bucket and key of its table, for the lineage."""
        return self._made, self.bucket.name, self.table.key

    def begin(self, *, again: bool) -> None:
        """Read what is recorded."""
        known = self.table.known()
        kept = {digest: row for digest, row in known.items() if not again or Status(row[0]).good}
        self._statuses = {digest: status for digest, (status, _) in kept.items()}
        self._earlier = {digest: task_id for digest, (_, task_id) in kept.items() if task_id}

    def forget(self, given_up: Callable[[Mapping[str, str]], Iterable[str]]) -> None:
        """Let requests of an earlier try count as not made; the parameter as of :class:`ListResults`.

        A clear has emptied the table before.
        """
        for digest in given_up(self._earlier) if self._earlier else ():
            del self._statuses[digest]

    def has(self, digest: str) -> bool:
        """Return whether a request has ended."""
        return digest in self._statuses

    def add(self, request: Request, item: Item) -> bool:
        """Record what became of a request; return whether it is time to write that down."""
        self._statuses[request.digest] = item.status
        self._rows.append(
            {
                "index": request.index,
                "key": request.key,
                "status": item.status.value,
                "task_id": item.task_id,
                "files": list(item.files),
                "quoted": None if request.problem else quote(self.kind, request.body).high,
                "used": item.used,
                "reason": item.reason,
                "error": item.error,
                "request": request.digest,
            }
        )
        return len(self._rows) >= ROWS or time.monotonic() - self._flushed_at > SECONDS

    def flush(self) -> None:
        """Write down what is recorded, and list what was archived in the index."""
        rows, self._rows, entries, self._entries = self._rows, [], self._entries, []
        if entries:
            Index(self.bucket, self.keys).add(entries)
        if rows:
            self.table.add(rows)
        self._flushed_at = time.monotonic()

    def finish(self, requests: Iterable[Request]) -> tuple[Any, Counter[str], list[str]]:
        """Write the table; return where it is, and counts that sum to the requests."""
        counts: Counter[str] = Counter()
        failures: list[str] = []
        used: dict[str, float] = {}
        quoted: dict[str, float | None] = {}

        def count(row: Mapping[str, Any]) -> None:
            counts[row["status"]] += 1
            if len(self._made) < MOST:
                self._made.append(row)
            if row["task_id"]:  # two rows can share a task
                quoted[row["task_id"]] = row["quoted"]
            if row["used"] is not None:
                used[row["task_id"]] = row["used"]
            if not Status(row["status"]).good and len(failures) < 3:
                failures.append(row_failure(row))

        self.table.finish(((request.index, request.digest) for request in requests), count)
        known = [credits for credits in quoted.values() if credits is not None]
        value = {
            "results": self.bucket.url(self.table.key),
            "rows": counts.total(),
            "counts": {status.value: counts[status] for status in Status},
            "credits_quoted": round(sum(known), 4) if len(known) == len(quoted) else None,
            "credits_used": round(sum(used.values()), 4),
        }
        return value, counts, failures

    def archived_before(self, request: Request, made: Callable[[], str | None]) -> Item | None:
        """Return the item of a request whose files are all there, without asking KIE.

        :param made: returns the task that the ledger has of it.
        """
        if not (task_id := made()):
            return None
        manifest = TaskManifest.read(self.bucket, self.keys.task(self.kind.name, task_id))[0]
        return self._item(manifest) if manifest and is_archived(self.bucket, manifest, None) else None

    def archived_now(self, request: Request, details: TaskDetails) -> Item:
        """Archive what a request's task has made.

        :raises KieError: why that was not possible.
        """
        manifest, added = archive_task(
            self.bucket,
            self.keys.task(self.kind.name, details.task_id),
            details,
            self.airflow,
            kie_conn_id=self.hook.kie_conn_id,
            account=self.hook.account.account or None,
            **fetching(self.hook),
        )
        self.count(added)
        record_archived(self.kind, details.task_id)
        return self._item(manifest)

    def count(self, added: Sequence[FileRecord]) -> None:
        """Count the bytes of files that were archived now."""
        metrics.ARCHIVED_BYTES.add(sum(file.size for file in added), connection=self.hook.kie_conn_id)

    def _item(self, manifest: TaskManifest) -> Item:
        entry = entry_of(manifest)  # before the list is read, which `flush` replaces in another thread
        self._entries.append(entry)  # an earlier try may have died before it listed it
        used = [cost.credits for cost in manifest.credits_used if cost.task_id == manifest.task_id]
        return Item(Status.ARCHIVED, manifest.task_id, files_in(manifest.files), used=used[0] if used else None)


def open_archive(
    operator: ListOperator, hook: KieHook, context: Context, made_by: Callable[..., ListArchive] = ListArchive
) -> ListArchive:
    """Return where the results of a list go; the bucket is tried before anything is paid.

    :param operator: whose list it is.
    :param hook: the account.
    :param context: the task's context.
    :param made_by: makes it.
    :raises KeyRefused: when `to` is not an address in S3.
    :raises S3Error: when the bucket cannot be written.
    """
    ti, store = context["ti"], context["task_state_store"]
    name, prefix = bucket_and_key(operator.to or "")
    keys, bucket = ArchiveKeys(prefix), open_bucket(operator.aws_conn_id, name, operator.extra_args)
    mapped = [str(ti.map_index)] if ti.map_index is not None and ti.map_index >= 0 else []
    table = ResultTable(bucket, keys.list_of(ti.dag_id, ti.run_id, ti.task_id, *mapped))
    airflow = AirflowRecord.model_validate(ti, from_attributes=True)
    archive = made_by(operator.row, hook, as_known(hook, bucket), keys, table, airflow)
    if store.get(_STORE_KEY) != ti.max_tries:  # no retry: what is recorded is of an earlier list
        bucket.try_to_write(keys.probe)
        table.clear()
        store.set(_STORE_KEY, ti.max_tries)
    return archive
