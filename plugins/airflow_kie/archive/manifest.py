"""The manifest: what a song's or task's folder holds and where it came from. It is written last.

``manifest.schema.json`` beside this module is the published schema, made from these records. Nulls are written,
varying keys are lists of pairs, names are snake_case, so that Athena and Snowflake read every manifest alike.
What a person chooses of a song is not part of it: see :mod:`airflow_kie.archive.choice`.

A song is archived completely when every kind of file that is requested is in the manifest: decided here alone. The
manifest records which positions of each kind KIE has (``available``), so a kind counts as archived only when there is
a file at each of them, and a kind that KIE does not have is not asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from airflow_kie.archive.layout import SongKeys, TaskKeys
from airflow_kie.archive.record_base import Label, Record, StoredRecord, UtcTime, merged_labels


class FileKind(StrEnum):
    """What a file is to its song."""

    COVER = "cover"
    TRACK = "track"
    LYRICS = "lyrics"


@dataclass(frozen=True)
class Wanted:
    """Which kinds of files are requested.

    :param covers: the cover images.
    :param audio: the audio files.
    :param lyrics: the lyrics as text.
    """

    covers: bool = True
    audio: bool = False
    lyrics: bool = False

    @property
    def kinds(self) -> tuple[FileKind, ...]:
        """Return the kinds that are requested."""
        asked = zip(FileKind, (self.covers, self.audio, self.lyrics), strict=True)
        return tuple(kind for kind, is_asked in asked if is_asked)

    def missing_in(self, manifest: Manifest | None) -> tuple[FileKind, ...]:
        """Return which kinds a song still lacks, none when it is archived completely.

        :param manifest: the song's manifest, None while there is none.
        """
        return tuple(kind for kind in self.kinds if manifest is None or not manifest.has_all(kind))


class SongRecord(Record):
    """The song as KIE describes it."""

    title: str | None = None
    tags: str | None = None
    model: str | None = None
    prompt: str | None = None
    duration_seconds: float | None = Field(default=None, description="Length of the first track in seconds.")
    instrumental: bool | None = None
    created_at: UtcTime | None = None
    completed_at: UtcTime | None = None


class TrackRecord(Record):
    """One track of the song as KIE's details describe it, archived or not."""

    position: int = Field(description="Position in KIE's answer, from 1.", ge=1)
    audio_id: str | None = None
    title: str | None = None
    tags: str | None = None
    model: str | None = None
    duration_seconds: float | None = None
    created_at: UtcTime | None = None


class FileRecord(Record):
    """One archived file."""

    key: str = Field(description="Key in the bucket.")
    kind: str = Field(
        description="cover, track or lyrics of a song, or what an extra has made, such as wav or stems_drums; of "
        "another task the result's role."
    )
    position: int = Field(description="Position in KIE's answer, from 1.", ge=1)
    size: int = Field(description="Bytes.", ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    content_type: str = Field(description="MIME type, decided by content.")
    width: int | None = Field(default=None, description="Pixels, images only.")
    height: int | None = Field(default=None, description="Pixels, images only.")
    duration_seconds: float | None = Field(
        default=None, description="Seconds of audio or video, as the file itself says."
    )
    task_id: str | None = Field(default=None, description="The KIE task that made the file.")
    audio_id: str | None = None
    expires_at: UtcTime | None = Field(default=None, description="When KIE deletes its own copy.")
    origin: str | None = Field(
        default=None,
        description="Where a file comes from that KIE has not made with the song: another_cover (drawn by an image "
        "model), or upload.",
    )
    by: str | None = Field(default=None, description="Who has uploaded it.")
    archived_at: UtcTime
    warning: str | None = Field(default=None, description="Why a person may want to listen to the file or view it.")


class AvailableRecord(Record):
    """Which files of one kind KIE has; they were requested at least once."""

    kind: str = Field(description="cover, track or lyrics; later versions may add kinds.")
    positions: tuple[int, ...] = Field(
        default=(), description="Positions in KIE's answer, from 1. None: KIE has no file of this kind."
    )


class CreditsRecord(Record):
    """What a KIE task cost."""

    task_id: str
    kind: str = Field(description="music or cover of a song; of another task its operation.")
    credits: float | None = Field(
        default=None,
        description="Credits as KIE reports them for this task; null where it reports none. Never derived from "
        "balances: those change with every other task of the account, refunds and other programs included.",
    )


class AirflowRecord(Record):
    """The Airflow task that wrote the manifest last."""

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None


class GeneratorRecord(Record):
    """What made the media, and what archived them."""

    service: str = "kie.ai"
    model: str | None = None
    archived_by: str = "airflow-provider-kie-ai"
    archived_by_version: str | None = None


class TaskManifest(StoredRecord):
    """Everything that is archived of one task; without files, what is known of it before it is archived."""

    ID_FIELD: ClassVar[str] = "task_id"
    operation: str = Field(description="What has made it, such as suno.wav.")
    task_id: str = Field(description="KIE's id of the task.")
    kie_conn_id: str | None = None
    account: str | None = Field(default=None, description="Name of the KIE account, where the connection gives one.")
    files: tuple[FileRecord, ...] = ()
    available: tuple[AvailableRecord, ...] = Field(
        default=(),
        description="What KIE has of each kind that was asked for. A kind is archived completely when a file of it "
        "is at each of these positions.",
    )
    labels: tuple[Label, ...] = ()
    airflow: AirflowRecord = AirflowRecord()
    digital_source_type: str = Field(
        default="trainedAlgorithmicMedia", description="Term of IPTC's digital source type vocabulary."
    )
    generator: GeneratorRecord = GeneratorRecord()
    warnings: tuple[str, ...] = Field(default=(), description="Oddities that a person may want to check.")
    created_at: UtcTime = Field(description="When it was archived first.")
    updated_at: UtcTime = Field(description="When this manifest was written.")
    credits_used: tuple[CreditsRecord, ...] = Field(default=(), description="What its KIE tasks cost.")

    @staticmethod
    def key_of(keys: SongKeys | TaskKeys) -> str:
        """Return the key at which a manifest is stored."""
        return keys.manifest

    @property
    def credits(self) -> float | None:
        """What all of its tasks cost together, None unless KIE reports it for each of them."""
        known = [record.credits for record in self.credits_used if record.credits is not None]
        return sum(known) if known and len(known) == len(self.credits_used) else None

    def file(self, kind: str, position: int) -> FileRecord | None:
        """Return the archived file at a position, or None."""
        return next((f for f in self.files if (f.kind, f.position) == (kind, position)), None)

    def without(self, files: Sequence[FileRecord]) -> Self:
        """Return this manifest without these files."""
        return self.changed(files=tuple(file for file in self.files if file not in files))

    def merged_with(self, news: Self) -> Self:
        """Return this manifest with what a newer one adds, and itself where only who wrote it when would change.

        What is None or empty in the newer one does not erase what is known.
        """
        files = _newest(self.files, news.files)
        new = self.changed(
            kie_conn_id=news.kie_conn_id or self.kie_conn_id,
            account=news.account or self.account,
            files=files,
            available=tuple({known.kind: known for known in (*self.available, *news.available)}.values()),
            labels=merged_labels(self.labels, news.labels),
            airflow=news.airflow if _known(news.airflow) else self.airflow,
            generator=self.generator.changed(model=news.generator.model or self.generator.model),
            warnings=_warnings(files),
            updated_at=news.updated_at,
            credits_used=credits_of(self.credits_used, news.credits_used),
            **self._more(news),
        )
        return self if new.changed(updated_at=self.updated_at, airflow=self.airflow) == self else new

    def labelled(self, name: str, value: str, *, by: str, at: datetime) -> Self:
        """Return this manifest with a label that a person sets.

        :param value: empty: it is removed.
        :param by: name of the person.
        :param at: the time.
        """
        label = Label(name=name, value=value, by=by, at=at)
        return self.changed(labels=merged_labels(self.labels, [label]), updated_at=at)

    def _more(self, news: Self) -> Mapping[str, Any]:
        return {}


class Manifest(TaskManifest):
    """The manifest of a song."""

    operation: str = "suno.music"
    task_id: str = ""
    music_task_id: str
    cover_task_ids: tuple[str, ...] = ()
    song: SongRecord = SongRecord()
    tracks: tuple[TrackRecord, ...] = ()
    first_seen_at: UtcTime | None = Field(default=None, description="When the song became known and was recorded.")

    @model_validator(mode="before")
    @classmethod
    def _names_the_song(cls, value: Any) -> Any:
        return {**value, "task_id": value.get("music_task_id")} if isinstance(value, Mapping) else value

    def has_all(self, kind: FileKind) -> bool:
        """Return whether every file of this kind that KIE has is archived."""
        if kind is FileKind.LYRICS and self.song.instrumental:
            return True
        at_kie = next((known.positions for known in self.available if known.kind == kind), None)
        if at_kie is None:  # no run has asked for this kind yet
            return False
        archived = {file.position for file in self.files if file.kind == kind}
        # Every song has covers and tracks: where KIE names none, they are not there yet. Lyrics need not exist.
        return archived.issuperset(at_kie) and (bool(at_kie) or kind is FileKind.LYRICS)

    def _more(self, news: Self) -> Mapping[str, Any]:
        seen = [moment for moment in (self.first_seen_at, news.first_seen_at) if moment is not None]
        return {
            "cover_task_ids": tuple(dict.fromkeys((*self.cover_task_ids, *news.cover_task_ids))),
            "song": self.song.changed(**_known(news.song)),
            "tracks": news.tracks or self.tracks,
            "first_seen_at": min(seen, default=None),
        }


def credits_of(old: Sequence[CreditsRecord], new: Sequence[CreditsRecord]) -> tuple[CreditsRecord, ...]:
    """Return one record for each task; an amount that KIE once reported stays when it reports none later."""
    known = {record.task_id: record for record in old}
    for record in new:
        if record.credits is not None or record.task_id not in known:
            known[record.task_id] = record
    return tuple(known.values())


def _known(record: Record) -> dict[str, Any]:
    return {name: value for name, value in dict(record).items() if value is not None}


def _newest(stored: Sequence[FileRecord], added: Sequence[FileRecord]) -> tuple[FileRecord, ...]:
    """Return one file for each position: the one that was archived last, which is the one that is at the key."""
    files = {(file.kind, file.position): file for file in stored}
    for file in added:
        other = files.get((file.kind, file.position))
        if other is None or other.archived_at <= file.archived_at:
            files[file.kind, file.position] = file
    return tuple(sorted(files.values(), key=lambda file: (file.kind, file.position)))


def _warnings(files: Sequence[FileRecord]) -> tuple[str, ...]:
    """Return what a person may want to check: a file that may be cut short, one track's content under both names.

    KIE's CDN was seen to serve the same content for two tracks.
    """
    seen: dict[str, FileRecord] = {}
    found = [f"{file.key}: {file.warning}" for file in files if file.warning]
    for file in files:
        if file.kind == FileKind.LYRICS:  # two tracks of one song are sung to the same text
            continue
        first = seen.setdefault(file.sha256, file)
        if first is not file:
            found.append(f"{file.key} has the same content as {first.key}. Compare both.")
    return tuple(found)
