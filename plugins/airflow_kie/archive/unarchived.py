"""What KIE was paid for and nobody has archived yet: an object for each task, which goes when it is archived.

Songs have their pending records instead. The key names operation and task, and the object's age says when KIE deletes
what it has made: a listing is enough to know what is urgent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_kie.archive.layout import UNARCHIVED, ArchiveKeys
from airflow_kie.archive.manifest import Manifest
from airflow_kie.archive.record_base import Record, UtcTime
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.client.operations.operation import MEDIA_LIFETIME
from airflow_kie.client.operations.registry import OPERATIONS
from airflow_kie.client.task_ids import KeyRefused

_FOLDER = f"{UNARCHIVED}/"


class Unarchived(Record):
    """A paid task whose results are not archived."""

    schema_version: int = 1
    operation: str
    task_id: str
    kie_conn_id: str
    made_at: UtcTime
    dag_id: str | None = None
    run_id: str | None = None
    airflow_task_id: str | None = None
    source_id: str | None = None
    to: str | None = None

    @property
    def expires_at(self) -> datetime:
        """When KIE deletes what it has made, by the operation's own retention."""
        return self.made_at + kept_for(self.operation)

    def write(self, bucket: Bucket, archive: ArchiveKeys) -> None:
        """Record it."""
        bucket.put_json(self.to_json(), _key(archive, self.operation, self.task_id))


@dataclass(frozen=True)
class Listed:
    """A task as a listing shows it.

    :param operation: what has made it.
    :param task_id: KIE's id.
    :param since: when it was recorded.
    """

    operation: str
    task_id: str
    since: datetime

    @property
    def expires_at(self) -> datetime:
        """When KIE deletes what it has made."""
        return self.since + kept_for(self.operation)


def kept_for(operation: str) -> timedelta:
    """Return how long KIE keeps what an operation makes: the shortest of its results."""
    row = OPERATIONS.get(operation)
    return min((result.kept for result in getattr(row, "results", ())), default=MEDIA_LIFETIME)


def list_unarchived(bucket: Bucket, archive: ArchiveKeys) -> Iterator[Listed]:
    """Yield what is not archived; no object is read."""
    folder = f"{archive.root}{_FOLDER}"
    for facts in bucket.list(folder):
        operation, _, name = facts.key.removeprefix(folder).partition("/")
        task_id = name.removesuffix(".json")
        if operation in OPERATIONS and task_id != name:
            yield Listed(operation, task_id, facts.last_modified)


def read_unarchived(bucket: Bucket, archive: ArchiveKeys, operation: str, task_id: str) -> Unarchived | None:
    """Return what is recorded of a task that is not archived, None where nothing is.

    :raises ArchiveUnreadable: when it is damaged.
    """
    key = _key(archive, operation, task_id)
    value = bucket.get_json(key)
    return None if value is None else Unarchived.from_json(value, bucket.url(key))


def unarchived_keys(bucket: Bucket, archive: ArchiveKeys, task_id: str) -> list[str]:
    """Return the keys of the records of a task, whatever has made it."""
    listed = (one for one in list_unarchived(bucket, archive) if one.task_id == task_id)
    return [_key(archive, one.operation, one.task_id) for one in listed]


def unarchived_of(bucket: Bucket, archive: ArchiveKeys, task_id: str) -> list[Unarchived]:
    """Return what is recorded of a task, whatever has made it."""
    found = (one for one in list_unarchived(bucket, archive) if one.task_id == task_id)
    read = (read_unarchived(bucket, archive, one.operation, task_id) for one in found)
    return [one for one in read if one]


def drop_unarchived(bucket: Bucket, archive: ArchiveKeys, operation: str, task_id: str) -> None:
    """Delete the record of a task, if there is one."""
    bucket.delete(_key(archive, operation, task_id))


def is_archived(bucket: Bucket, archive: ArchiveKeys, one: Unarchived) -> bool:
    """Return whether a task's results are archived: in a folder of its own, or as a part of a song.

    :param bucket: where its results go.
    :param archive: the keys there.
    """
    if bucket.head(archive.task(one.operation, one.task_id).manifest):
        return True
    songs = [one.task_id if one.operation == "suno.music" else one.source_id]
    return any(_names(bucket, archive, song, one.task_id) for song in songs if song)


def _names(bucket: Bucket, archive: ArchiveKeys, song: str, task_id: str) -> bool:
    try:
        manifest = Manifest.read(bucket, archive.song(song))[0]
    except (ArchiveUnreadable, KeyRefused):
        return False
    files = manifest.files if manifest else ()
    return manifest is not None and (song == task_id or any(file.task_id == task_id for file in files))


def _key(archive: ArchiveKeys, operation: str, task_id: str) -> str:
    keys = archive.task(operation, task_id)  # which checks both
    return f"{archive.root}{_FOLDER}{keys.operation}/{keys.task_id}.json"
