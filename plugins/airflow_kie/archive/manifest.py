"""The manifest: what a song's folder holds and where it came from. It is written last.

``manifest.schema.json`` beside this module is the published schema, made from these records. Nulls are written,
varying keys are lists of pairs, names are snake_case, so that Athena and Snowflake read every manifest alike.
A person's choice of cover is not part of it: ``choice.json`` is reserved for that.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from airflow_kie.archive.bucket import Bucket
from airflow_kie.archive.keys import SongKeys
from airflow_kie.archive.records import ArchiveUnreadable, Label, Record, UtcTime

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
    labels: tuple[Label, ...] = ()
    airflow: AirflowRecord = AirflowRecord()
    digital_source_type: str = Field(
        default="trainedAlgorithmicMedia", description="Term of IPTC's digital source type vocabulary."
    )
    generator: GeneratorRecord = GeneratorRecord()
    warnings: tuple[str, ...] = Field(default=(), description="Oddities that a person may want to look at.")
    first_heard_at: UtcTime | None = Field(
        default=None, description="When the song became known and was noted as owed."
    )
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
    value = _json_of(bucket, keys.manifest)
    if value is None:
        return None
    manifest = Manifest.from_json(value, bucket.url(keys.manifest))
    if manifest.music_task_id != keys.music_task_id:
        raise ArchiveUnreadable(f"{bucket.url(keys.manifest)} is the manifest of another song")
    return manifest


def write_manifest(bucket: Bucket, keys: SongKeys, manifest: Manifest) -> None:
    """Write the manifest; every file that it names must be there already."""
    bucket.put_json(manifest.to_json(), keys.manifest)


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema that ``manifest.schema.json`` publishes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:airflow-provider-kie-ai:manifest:1",
        **Manifest.model_json_schema(mode="serialization"),
    }


def _json_of(bucket: Bucket, key: str) -> Any:
    try:
        return bucket.get_json(key)
    except ValueError as e:
        raise ArchiveUnreadable(str(e)) from e
