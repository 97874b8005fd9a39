"""People's choice for a song: a cover, a take, or neither. ``choice.json`` in the song's folder, written last.

``choice.schema.json`` beside this module is the published schema. A chosen file is named with its SHA-256: where the
file is replaced later, the choice says nothing about the new one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.manifest import FileKind, FileRecord, Manifest
from airflow_kie.archive.record_base import Record, StoredRecord, UtcTime
from airflow_kie.archive.s3.errors import ArchiveUnreadable

if TYPE_CHECKING:
    from airflow_kie.archive.s3.bucket import Bucket

log = logging.getLogger(__name__)

EARLIER = 20
"""Choices that are kept for *undo*."""
CHOSEN_KINDS: Mapping[str, FileKind] = {"cover": FileKind.COVER, "track": FileKind.TRACK}
"""Field of a choice → the kind of file that it names."""


class ChoiceRefused(ValueError):
    """What is to be chosen is not there."""


class ChosenFile(Record):
    """A chosen file of the song."""

    key: str = Field(description="Key in the bucket.")
    position: int = Field(description="Position in KIE's answer, from 1.", ge=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @classmethod
    def of(cls, file: FileRecord) -> ChosenFile:
        """Return what names an archived file."""
        return cls(key=file.key, position=file.position, sha256=file.sha256)


class Chosen(Record):
    """What somebody chose at one time. Nothing chosen and not rejected: the song waits for a choice."""

    cover: ChosenFile | None = None
    track: ChosenFile | None = Field(default=None, description="The take.")
    rejected: bool = Field(default=False, description="All covers and takes are rejected.")
    by: str = Field(description="Name of the person in Airflow.")
    at: UtcTime

    def position_in(self, files: Iterable[FileRecord], name: str) -> int | None:
        """Return which file is chosen; None where none is, or where another file is at its place now.

        :param files: the song's.
        :param name: one of :data:`CHOSEN_KINDS`.
        """
        chosen: ChosenFile | None = getattr(self, name)
        there = (file.position for file in files if chosen and file.key == chosen.key and file.sha256 == chosen.sha256)
        return next(there, None)


class Choice(StoredRecord, Chosen):
    """The choice that holds, and those before it."""

    ID_FIELD: ClassVar[str] = "music_task_id"
    music_task_id: str
    earlier: tuple[Chosen, ...] = Field(default=(), description="Those before this one, the oldest first; 20 at most.")

    @staticmethod
    def key_of(keys: SongKeys) -> str:
        """Return the key at which a choice is stored."""
        return keys.choice

    @classmethod
    def readable(cls, bucket: Bucket, keys: SongKeys) -> Choice | None:
        """Return a song's choice; None if there is none, or one that is damaged, which is logged.

        :raises S3Error: its subclass says why.
        """
        try:
            return cls.read(bucket, keys)[0]
        except ArchiveUnreadable as error:
            log.warning("%s", error)
            return None


def changed_choice(
    stored: Choice | None, manifest: Manifest, changes: Mapping[str, Any], *, by: str, now: datetime
) -> Choice:
    """Return the choice with what somebody changes of it.

    :param stored: as it is in the bucket, None where nobody has chosen yet.
    :param manifest: the song's, which has the files.
    :param changes: ``cover`` and ``track``: a position or None; ``rejected``: bool; ``undo``: True: back to the choice
        before this one. Choosing a file takes a rejection back, and a rejection takes back what was chosen.
    :param by: name of the person.
    :param now: the time.
    :raises ChoiceRefused: when a change names no archived file, or is none of these.
    """
    last = stored or Choice(music_task_id=manifest.music_task_id, by=by, at=now)
    if changes.get("undo") is True:
        before = last.earlier[-1] if last.earlier else Chosen(by=by, at=now)
        files = {"cover": before.cover, "track": before.track, "rejected": before.rejected}
        return last.changed(**files, by=by, at=now, earlier=last.earlier[:-1])
    news: dict[str, Any] = {}
    for name, kind in CHOSEN_KINDS.items():
        if name in changes:
            news[name] = _file(manifest, kind, changes[name])
    if changes.get("rejected") is True:
        news = {"cover": None, "track": None, "rejected": True}
    elif "rejected" in changes or any(news.values()):
        news["rejected"] = False
    if not news:
        raise ChoiceRefused("A choice is a cover, a take, or a rejection of both.")
    earlier = last.earlier
    if stored:
        before = Chosen(cover=last.cover, track=last.track, rejected=last.rejected, by=last.by, at=last.at)
        earlier = (*last.earlier, before)[-EARLIER:]
    return last.changed(**news, by=by, at=now, earlier=earlier)


def _file(manifest: Manifest, kind: FileKind, position: object) -> ChosenFile | None:
    if position is None:
        return None
    file = manifest.file(kind, position) if type(position) is int else None
    if file is None:
        raise ChoiceRefused(f"The song has no archived {kind} {position!r:.20}.")
    return ChosenFile.of(file)
