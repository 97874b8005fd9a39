"""The manifest: what a song's folder holds and where it came from. It is written last.

``manifest.schema.json`` beside this module is the published schema, made from these records. Nulls are written,
varying keys are lists of pairs, names are snake_case, so that Athena and Snowflake read every manifest alike.
A person's choice of cover is not part of it: ``choice.json`` is reserved for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.record_base import ArchiveUnreadable, Label, Record, UtcTime
from airflow_kie.archive.s3.bucket import Bucket

SCHEMA_VERSION = 1


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
    kind: str = Field(description="cover, track or lyrics; later versions may add kinds.")
    position: int = Field(description="Position in KIE's answer, from 1.", ge=1)
    size: int = Field(description="Bytes.", ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    content_type: str = Field(description="MIME type, decided by content.")
    width: int | None = Field(default=None, description="Pixels, images only.")
    height: int | None = Field(default=None, description="Pixels, images only.")
    duration_seconds: float | None = Field(default=None, description="Seconds, audio only, as the file itself says.")
    task_id: str | None = Field(default=None, description="The KIE task that made the file.")
    audio_id: str | None = None
    source_url: str | None = Field(default=None, description="Where it was downloaded from, without query or secrets.")
    expires_at: UtcTime | None = Field(default=None, description="When KIE deletes its own copy.")
    archived_at: UtcTime
    warning: str | None = Field(default=None, description="Why a person may want to listen to the file or look at it.")


class AvailableRecord(Record):
    """Which files of one kind KIE has; they were asked for at least once."""

    kind: str = Field(description="cover, track or lyrics; later versions may add kinds.")
    positions: tuple[int, ...] = Field(
        default=(), description="Positions in KIE's answer, from 1. None: KIE has no file of this kind."
    )


class CreditsRecord(Record):
    """What one of the song's KIE tasks cost."""

    task_id: str
    kind: str = Field(description="music or cover; later versions may add kinds.")
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


class Manifest(Record):
    """Everything that is archived of one song."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    music_task_id: str
    cover_task_ids: tuple[str, ...] = ()
    kie_conn_id: str | None = None
    account: str | None = Field(default=None, description="Name of the KIE account, where the connection gives one.")
    song: SongRecord = SongRecord()
    tracks: tuple[TrackRecord, ...] = ()
    files: tuple[FileRecord, ...] = ()
    available: tuple[AvailableRecord, ...] = Field(
        default=(),
        description="What KIE has of each kind that was asked for. A kind is archived completely when a file of it "
        "stands at each of these positions.",
    )
    labels: tuple[Label, ...] = ()
    airflow: AirflowRecord = AirflowRecord()
    digital_source_type: str = Field(
        default="trainedAlgorithmicMedia", description="Term of IPTC's digital source type vocabulary."
    )
    generator: GeneratorRecord = GeneratorRecord()
    warnings: tuple[str, ...] = Field(default=(), description="Oddities that a person may want to look at.")
    first_seen_at: UtcTime | None = Field(default=None, description="When the song became known and was noted as owed.")
    created_at: UtcTime = Field(description="When the song was archived first.")
    updated_at: UtcTime = Field(description="When this manifest was written.")
    credits_used: tuple[CreditsRecord, ...] = Field(default=(), description="What the song's KIE tasks cost.")

    @property
    def credits(self) -> float | None:
        """What all of the song's tasks cost together, None unless KIE reports it for each of them."""
        told = [record.credits for record in self.credits_used]
        known = [amount for amount in told if amount is not None]
        return sum(known) if known and len(known) == len(told) else None

    def file(self, kind: str, position: int) -> FileRecord | None:
        """Return the archived file at a position, or None."""
        return next((f for f in self.files if (f.kind, f.position) == (kind, position)), None)


def read_manifest(bucket: Bucket, keys: SongKeys) -> Manifest | None:
    """Return the song's manifest, or None if the song is not archived.

    :raises ArchiveUnreadable: when it is damaged or another song's.
    :raises S3Error: its subclass says why.
    """
    return _read(bucket, keys)[0]


def write_manifest(bucket: Bucket, keys: SongKeys, manifest: Manifest, *, replaces: str | None = None) -> bool:
    """Write the manifest; every file that it names must be there already.

    :param replaces: ETag of the manifest that is replaced, None where there is none yet.
    :return: False if another one stands there by now, and nothing was written.
    """
    return bucket.put_json_if_unchanged(manifest.to_json(), keys.manifest, replaces)


def update_manifest(bucket: Bucket, keys: SongKeys, change: Callable[[Manifest | None], Manifest]) -> Manifest:
    """Change the manifest that stands in the bucket, and return what stands there now.

    Two runs can archive the same song at the same time. What is written is made from what stands there at that moment,
    it is written only if that has not changed, and it is read back, because some S3 services write in any case.

    :param change: returns the new manifest for the one that stands there; it may be called several times.
    :raises ArchiveUnreadable: when the stored manifest is damaged, or does not keep what is written to it.
    :raises S3Error: its subclass says why.
    """
    for _ in range(WRITES):
        stored, etag = _read(bucket, keys)
        new = change(stored)
        if new == stored:
            return new
        write_manifest(bucket, keys, new, replaces=etag)
        # Made again from what stands there now, a manifest that has everything is left as it is: the loop ends above.
    raise ArchiveUnreadable(f"{bucket.url(keys.manifest)} does not keep what is written to it")


WRITES = 10
"""How often a record is written that somebody else changes at the same time."""


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema that ``manifest.schema.json`` publishes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:airflow-provider-kie-ai:manifest:1",
        **Manifest.model_json_schema(mode="serialization"),
    }


def _read(bucket: Bucket, keys: SongKeys) -> tuple[Manifest | None, str | None]:
    """Return the song's manifest and its ETag, or None for both."""
    try:
        value, etag = bucket.get_json_and_etag(keys.manifest)
    except ValueError as e:
        raise ArchiveUnreadable(str(e)) from e
    if value is None:
        return None, etag
    manifest = Manifest.from_json(value, bucket.url(keys.manifest))
    if manifest.music_task_id != keys.music_task_id:
        raise ArchiveUnreadable(f"{bucket.url(keys.manifest)} is the manifest of another song")
    return manifest, etag
