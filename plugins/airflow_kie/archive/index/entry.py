"""One line of the index: what is archived of one task, flat enough for DuckDB and Athena."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field

from airflow_kie.archive.choice import CHOSEN_KINDS, Choice
from airflow_kie.archive.manifest import Manifest, TaskManifest
from airflow_kie.archive.record_base import Label, Record, UtcTime, label_list, label_map

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


class IndexChoice(Record):
    """What somebody has chosen of a song, as positions of its files."""

    cover: int | None = None
    track: int | None = None
    rejected: bool = False
    by: str
    at: UtcTime


class Searched:
    """What a search needs of a line, whichever class has read it."""

    if TYPE_CHECKING:
        id: Any
        operation: Any
        title: Any
        prompt: Any
        tags: Any
        model: Any
        labels: Any
        files: Any
        choice: Any

    @property
    def chosen(self) -> str:
        """``needed``, ``made`` or ``rejected``; empty where there are no two covers or takes to choose from."""
        if self.choice and self.choice.rejected:
            return "rejected"
        if self.choice and (self.choice.cover or self.choice.track):
            return "made"
        kinds = [file.kind for file in self.files if self.operation == "suno.music"]
        return "needed" if any(kinds.count(kind) > 1 for kind in CHOSEN_KINDS.values()) else ""

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
        labels = (f"{label.name} {label.value}" for label in self.labels)
        parts = (self.title, self.tags, self.prompt, self.model, self.id, self.operation, *labels)
        return " ".join(part for part in parts if part)


class IndexEntry(Searched, Record):
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
    choice: IndexChoice | None = Field(default=None, description="Of two lines of one id, the later choice holds.")
    archived_at: UtcTime
    updated_at: UtcTime = Field(description="Of two lines of one id, the later one holds, but for the choice.")
    tasks: tuple[str, ...] = Field(
        default=(), description="Other KIE tasks that have made files of it: covers, extras."
    )
    deleted: bool = Field(default=False, description="It is no longer in the archive.")

    def as_deleted(self, now: datetime) -> IndexEntry:
        """Return the line that says that it is gone: nothing else of it is kept."""
        return IndexEntry(
            id=self.id, operation=self.operation, archived_at=self.archived_at, updated_at=now, deleted=True
        )

    def merged_with(self, other: IndexEntry) -> IndexEntry:
        """Return what holds of two lines of one id: archiving again keeps what somebody has chosen.

        :param other: a line of the same id; of equally old ones it holds.
        """
        older, newer = sorted((self, other), key=lambda entry: entry.updated_at)
        choices = [entry.choice for entry in (older, newer) if entry.choice is not None]
        choice = max(choices, key=lambda choice: choice.at, default=None)
        return newer if newer.deleted or newer.choice == choice else newer.changed(choice=choice)


def entry_of(manifest: TaskManifest, choice: Choice | None = None) -> IndexEntry:
    """Return the line of a manifest.

    :param choice: what is chosen of the song, where it was read: other lines of the index may have it.
    """
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
        labels=label_list(label_map(manifest.labels)),
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
        choice=_choice(manifest, choice) if choice else None,
        tasks=tuple(dict.fromkeys(f.task_id for f in manifest.files if f.task_id and f.task_id != manifest.task_id)),
        archived_at=manifest.created_at,
        updated_at=manifest.updated_at,
    )


def _choice(manifest: TaskManifest, choice: Choice) -> IndexChoice:
    positions = {name: choice.position_in(manifest.files, name) for name in CHOSEN_KINDS}
    return IndexChoice(**positions, rejected=choice.rejected, by=choice.by, at=choice.at)


def _cut(text: str | None) -> str | None:
    return text[:TEXT] if text else None
