"""The pending record: this song is known, and something of it is still owed.

It is written when a song is first heard of, before any event and before anything is paid, and deleted after the
manifest. So the bucket alone says who is owed a cover, and a second run finds the cover task that the first paid for.

Two writers can meet (a callback and a run): each reads, merges and writes, and S3 has no lock that every service
keeps. A cover task id must not get lost in that, so a writer reads back what stands there and merges again until its
own ids are in it. What remains is a writer that overwrites after the other's last look; that is safe enough because
one task per song creates covers, it keeps the id in Airflow's task store too, and KIE answers a second create for the
same song with the id of the first instead of charging again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pydantic import Field

from airflow_kie.archive.bucket import Bucket, ObjectFacts
from airflow_kie.archive.keys import ArchiveKeys, SongKeys
from airflow_kie.archive.records import ArchiveUnreadable, Label, Record, UtcTime, label_list, label_map

SCHEMA_VERSION = 1
_MERGES = 4


class Working(Record):
    """Who works on the song: the sweep leaves it alone while that run is active."""

    dag_id: str
    run_id: str
    map_index: int = -1


class Failure(Record):
    """How the last attempt ended."""

    reason: str = Field(description="Short reason, such as out_of_credits.")
    message: str = Field(default="", description="What a person reads.")
    at: UtcTime


class Options(Record):
    """What is owed besides the covers."""

    audio: bool = False
    lyrics: bool = False


class Pending(Record):
    """A song that is owed something."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    music_task_id: str
    kie_conn_id: str | None = None
    title: str | None = None
    first_heard_at: UtcTime
    heard_from: str = Field(description="event, form, inbox, callback or generate.")
    updated_at: UtcTime
    expires_at: UtcTime | None = Field(default=None, description="When KIE deletes its copy of the song.")
    working: Working | None = None
    cover_task_ids: tuple[str, ...] = Field(default=(), description="Cover tasks that are paid for, oldest first.")
    labels: tuple[Label, ...] = ()
    options: Options = Options()
    last_failure: Failure | None = None
    unconfirmed: str | None = Field(
        default=None,
        description="A callback alone names this song: not_asked or not_found is what KIE has said of it so far.",
    )

    def merged_with(self, news: Pending) -> Pending:
        """Return this record with what a newer one adds.

        Cover task ids, labels, options and unknown fields only grow; the first hearing stays; a song that one writer
        has confirmed is confirmed; of the rest the newer word counts where it says something.
        """
        first = min(self, news, key=lambda record: record.first_heard_at)
        changes: dict[str, object] = {
            **(news.model_extra or {}),
            "schema_version": max(self.schema_version, news.schema_version),
            "first_heard_at": first.first_heard_at,
            "heard_from": first.heard_from,
            "unconfirmed": self.unconfirmed and news.unconfirmed,
            "updated_at": max(self.updated_at, news.updated_at),
            "cover_task_ids": tuple(dict.fromkeys((*self.cover_task_ids, *news.cover_task_ids))),
            "labels": label_list(label_map(self.labels) | label_map(news.labels)),
            "options": self.options.changed(
                **(news.options.model_extra or {}),
                audio=self.options.audio or news.options.audio,
                lyrics=self.options.lyrics or news.options.lyrics,
            ),
        }
        for name in ("kie_conn_id", "title", "expires_at", "working", "last_failure"):
            said = getattr(news, name)
            if said is not None:
                changes[name] = said
        return self.changed(**changes)


def new_pending(music_task_id: str, *, heard_from: str, now: datetime) -> Pending:
    """Return the record of a song that is heard of now; add what is known with ``changed(...)``."""
    return Pending(music_task_id=music_task_id, heard_from=heard_from, first_heard_at=now, updated_at=now)


def read_pending(bucket: Bucket, keys: SongKeys) -> Pending | None:
    """Return the song's pending record, or None if nothing is owed.

    :raises ArchiveUnreadable: when it is damaged or another song's.
    :raises S3Error: its subclass says why.
    """
    where = bucket.url(keys.pending)
    try:
        value = bucket.get_json(keys.pending)
    except ValueError as e:
        raise ArchiveUnreadable(str(e)) from e
    if value is None:
        return None
    pending = Pending.from_json(value, where)
    if pending.music_task_id != keys.music_task_id:
        raise ArchiveUnreadable(f"{where} is the record of another song")
    return pending


def note_pending(bucket: Bucket, keys: SongKeys, news: Pending) -> Pending:
    """Write the song's pending record, merged with the one that stands there, and return what stands there now.

    :param news: what is known now; it need not repeat what is stored.
    :raises ArchiveUnreadable: when the stored record is damaged: overwriting it could lose a paid cover task.
    :raises S3Error: its subclass says why.
    """
    stored = read_pending(bucket, keys)
    for _ in range(_MERGES):
        merged = stored.merged_with(news) if stored else news
        if merged == stored:
            return merged
        bucket.put_json(merged.to_json(), keys.pending)
        stored = read_pending(bucket, keys)
        if stored is not None and set(merged.cover_task_ids) <= set(stored.cover_task_ids):
            return stored
    raise ArchiveUnreadable(
        f"{bucket.url(keys.pending)} does not keep what is written to it", source_id=keys.music_task_id
    )


def delete_pending(bucket: Bucket, keys: SongKeys) -> None:
    """Delete the record: nothing of the song is owed any more."""
    bucket.delete(keys.pending)


def list_pending(bucket: Bucket, archive: ArchiveKeys) -> Iterator[tuple[SongKeys, ObjectFacts]]:
    """Return the keys of every song that is owed something, with what S3 says of its record; none is read."""
    for facts in bucket.list(archive.pending):
        for music_task_id in archive.pending_ids(iter((facts.key,))):
            yield archive.song(music_task_id), facts


def pending_schema() -> dict[str, Any]:
    """Return the JSON Schema that ``pending.schema.json`` publishes."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:airflow-provider-kie-ai:pending:1",
        **Pending.model_json_schema(mode="serialization"),
    }
