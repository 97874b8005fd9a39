"""The extras of a list of takes: each goes into its song's folder as it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from airflow_kie.archive.extras.storing import files_of, is_there, keys_of, store_extra
from airflow_kie.archive.extras.table import Extra, Take
from airflow_kie.archive.file_transfer import Fetcher
from airflow_kie.archive.index.entry import entry_of
from airflow_kie.archive.manifest import CreditsRecord, FileRecord, Manifest
from airflow_kie.archive.task_archiver import paid_for, sources_of
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.errors import KieError
from airflow_kie.durable.xcom import files_in
from airflow_kie.hooks.kie import fetching
from airflow_kie.hooks.unarchived import record_archived
from airflow_kie.operators.lists.archive import ListArchive
from airflow_kie.operators.lists.requests import Request
from airflow_kie.operators.lists.results import Item, Status


@dataclass
class SongExtraArchive(ListArchive):
    """Archives an extra of each take, and lists its song in the index.

    :param extra: what is made.
    :param takes: of which; the requests are in their order.
    :param added: song and file of what was archived now.
    """

    extra: Extra = field(kw_only=True)
    takes: Sequence[Take] = field(kw_only=True)
    added: list[tuple[str, FileRecord]] = field(default_factory=list, init=False)

    def archived_before(self, request: Request, made: Callable[[], str | None]) -> Item | None:
        """Return the item of a take whose song has the extra already, paid for by any run."""
        take = self.takes[request.index]
        if self.extra.adds_to:  # each request makes another one
            return None
        manifest = Manifest.read(self.bucket, self.keys.song(take.song))[0]
        there = manifest is not None and is_there(self.bucket, files_of(manifest, self.extra, take))
        return self._of(manifest, take) if manifest and there else None

    def archived_now(self, request: Request, details: TaskDetails) -> Item:
        """Archive what a request's task has made.

        :raises KieError: why that was not possible.
        """
        take, how = self.takes[request.index], fetching(self.hook)
        keys = keys_of(self.keys.prefix, self.extra, take)
        fetcher = Fetcher(self.bucket, keys, now=lambda: datetime.now(UTC), **how)
        cost = CreditsRecord(task_id=details.task_id, kind=details.kind, credits=details.credits_consumed)
        try:
            manifest, added = store_extra(fetcher, self.extra, take, sources_of(details), cost, self.airflow)
        except KieError as e:
            raise e.with_facts(task_id=details.task_id, source_id=take.song, paid=paid_for(details)) from e
        self.count(added)
        record_archived(self.kind, details.task_id)
        self.added += [(take.song, file) for file in added]
        return self._of(manifest, take, details.task_id)

    def _of(self, manifest: Manifest, take: Take, made_by: str | None = None) -> Item:
        entry = entry_of(manifest)  # before the list is read, which `flush` replaces in another thread
        self._entries.append(entry)  # an earlier try may have died before it listed it
        files = [file for file in files_of(manifest, self.extra, take) if made_by in (None, file.task_id)]
        task_id = made_by or (files[0].task_id if files else None)
        used = [cost.credits for cost in manifest.credits_used if cost.task_id == task_id]
        return Item(Status.ARCHIVED, task_id, files_in(files), used=used[0] if used else None)
