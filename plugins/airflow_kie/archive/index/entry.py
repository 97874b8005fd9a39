"""One line of the index: what is archived of one task, flat enough for DuckDB and Athena."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from airflow_kie.archive.manifest import Manifest, TaskManifest
from airflow_kie.archive.record_base import Label, Record, UtcTime, label_map

TEXT = 500
"""Characters of a prompt or a title that are kept here; the manifest has all of it."""


class IndexFile(Record):
    """An archived file, as far as a list shows it."""

    name: str = Field(description="Last part of its key.")
    kind: str
    position: int
    content_type: str
    size: int
    duration_seconds: float | None = None


class IndexEntry(Record):
    """What is archived of one task."""

    id: str = Field(description="KIE's id of the task; of a song its music task id.")
    operation: str
    title: str | None = None
    prompt: str | None = Field(default=None, description="Its first 500 characters.")
    tags: str | None = None
    model: str | None = None
    duration_seconds: float | None = None
    labels: tuple[Label, ...] = ()
    files: tuple[IndexFile, ...] = ()
    credits: float | None = None
    kie_conn_id: str | None = None
    account: str | None = None
    dag_id: str | None = None
    run_id: str | None = None
    expires_at: UtcTime | None = Field(default=None, description="When KIE deletes the first of its own copies.")
    archived_at: UtcTime
    updated_at: UtcTime = Field(description="Of two lines of one id, the later one holds.")
    deleted: bool = Field(default=False, description="It is no longer in the archive.")

    def as_deleted(self, now: datetime) -> IndexEntry:
        """Return the line that says that it is gone: nothing else of it is kept.

        :param now: the time.
        """
        return IndexEntry(
            id=self.id, operation=self.operation, archived_at=self.archived_at, updated_at=now, deleted=True
        )

    @property
    def key(self) -> str:
        """Its identity: ids of different operations may be equal."""
        return f"{self.operation}/{self.id}"

    @property
    def media(self) -> tuple[str, ...]:
        """Its media: image, audio, video, text; in the order of its files."""
        return tuple(dict.fromkeys(file.content_type.partition("/")[0] for file in self.files))

    @property
    def words(self) -> str:
        """Everything that a search covers."""
        labels = (f"{name} {value}" for name, value in label_map(self.labels).items())
        parts = (self.title, self.tags, self.prompt, self.model, self.id, self.operation, *labels)
        return " ".join(part for part in parts if part)


def entry_of(manifest: TaskManifest) -> IndexEntry:
    """Return the line of a manifest."""
    known: dict[str, Any] = {}
    if isinstance(manifest, Manifest):
        song = manifest.song
        known = {"title": _cut(song.title), "tags": _cut(song.tags), "prompt": _cut(song.prompt), "model": song.model}
        known["duration_seconds"] = song.duration_seconds
    ends: list[datetime] = [file.expires_at for file in manifest.files if file.expires_at]
    return IndexEntry(
        **{"model": manifest.generator.model, **{name: value for name, value in known.items() if value is not None}},
        id=manifest.task_id,
        operation=manifest.operation,
        labels=manifest.labels,
        files=tuple(
            IndexFile(
                name=file.key.rpartition("/")[2],
                kind=file.kind,
                position=file.position,
                content_type=file.content_type,
                size=file.size,
                duration_seconds=file.duration_seconds,
            )
            for file in manifest.files
        ),
        credits=manifest.credits,
        kie_conn_id=manifest.kie_conn_id,
        account=manifest.account,
        dag_id=manifest.airflow.dag_id,
        run_id=manifest.airflow.run_id,
        expires_at=min(ends, default=None),
        archived_at=manifest.created_at,
        updated_at=manifest.updated_at,
    )


def _cut(text: str | None) -> str | None:
    return text[:TEXT] if text else None
