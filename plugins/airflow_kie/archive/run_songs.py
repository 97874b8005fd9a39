"""The songs of a run: of many, one object of JSON Lines, of which each batch reads its own part; and a run's claim.

The claims of the runs that continue say which songs are worked on, without a record being read. A run that has ended
claims nothing; what it has worked on is kept for when it is cleared.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from airflow_kie.archive.inbox.song_request import SongRequest
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.record_base import Record
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable

log = logging.getLogger(__name__)

Batch = Mapping[str, Any]
"""Where a batch's songs are, ``{songs, first, list, start, end}``: how many they are, the first one's number in the
run from 1, the object's key, and the bytes of it that are theirs."""


ALONE = 20
"""Up to so many songs that a person has named have a batch each, so that the grid shows each song's own way."""
ALONE_WOKEN = 2
"""The same of a run that an event has started: close together, events make many runs of a few songs, and each task
instance costs as much as the work on twenty songs."""
SIZES = (25, 50, 100)
"""Songs of the first batches of more: the first covers come soon, and what follows costs less a song."""
MOST = 200
"""Songs of a batch at most: one trigger waits for all of them."""
T = TypeVar("T")


def write_batches(
    bucket: Bucket,
    keys: ArchiveKeys,
    run: str,
    songs: Sequence[SongRequest],
    most_batches: int,
    size: int | None,
    *,
    alone: int = ALONE,
) -> list[dict[str, Any]]:
    """Return the batches of a run's songs, as its tasks take them, and write the songs of those of many.

    A batch of one song is the arguments of its tasks; of many it is what :func:`write_songs` returns, bucket, prefix
    and connection: its songs are of one account. Other parameters as in :func:`write_songs` and :func:`in_batches`.

    :param songs: the songs.
    :param alone: up to so many songs have a batch each where no size is given.
    """
    if size is None and len(songs) <= alone:
        size = 1
    accounts = list(dict.fromkeys(song.kie_conn_id for song in songs))
    batches = [
        batch
        for account in accounts
        for batch in in_batches(
            [song for song in songs if song.kie_conn_id == account], most_batches // len(accounts), size
        )
    ]
    many = [[song.listed() for song in batch] for batch in batches if len(batch) > 1]
    written = iter(write_songs(bucket, keys, run, many) if many else ())
    place = {"bucket": bucket.name, "prefix": keys.prefix}
    return [
        batch[0].arguments(bucket.name, keys.prefix)
        if len(batch) == 1
        else {**next(written), **place, "kie_conn_id": batch[0].kie_conn_id}
        for batch in batches
    ]


def in_batches(songs: Sequence[T], most_batches: int, size: int | None = None) -> Iterator[list[T]]:
    """Yield the batches of a run's songs, in their order.

    :param songs: the songs.
    :param most_batches: how many there may be at most; batches of a given size are larger where they have to be.
    :param size: songs of each batch; None: growing batches.
    """
    least = min(MOST, math.ceil(len(songs) / max(1, most_batches)))
    sizes = itertools.repeat(max(size, least)) if size else itertools.chain(SIZES, itertools.repeat(MOST))
    start = 0
    while start < len(songs):
        end = start + min(next(sizes), MOST)
        yield list(songs[start:end])
        start = end


def write_songs(
    bucket: Bucket, keys: ArchiveKeys, run: str, batches: Sequence[Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Write the songs of a run, a line each, and return where each batch of them is.

    A list that has changed, as after a clear, is another object: a batch that still works reads what it was given.

    :param bucket: where.
    :param keys: the archive's keys.
    :param run: names the task that lists them, over all DAGs and runs.
    :param batches: the songs, as plain values with a ``music_task_id``.
    :raises S3Error: its subclass says why it cannot be written.
    """
    parts = ["".join(f"{json.dumps(song, ensure_ascii=False)}\n" for song in songs).encode() for songs in batches]
    body = b"".join(parts)
    key = f"{keys.runs}{_digest(run.encode())}/{_digest(body)}.jsonl"
    bucket.put_bytes(body, key, content_type="application/x-ndjson")
    found, first, start = [], 1, 0
    for songs, part in zip(batches, parts, strict=True):
        found.append({"songs": len(songs), "first": first, "list": key, "start": start, "end": start + len(part)})
        first, start = first + len(songs), start + len(part)
    return found


def read_songs(bucket: Bucket, batch: Batch) -> list[dict[str, Any]]:
    """Return the songs of a batch.

    :param bucket: where.
    :param batch: as :func:`write_songs` returned it.
    :raises ArchiveUnreadable: when the object is gone or is another one.
    """
    start, end = batch["start"], batch["end"]
    found = bucket.get_version(batch["list"], max_bytes=end - start, Range=f"bytes={start}-{end - 1}")
    try:
        songs = [json.loads(line) for line in (found[1] if found else b"").splitlines()]
    except ValueError as error:
        raise ArchiveUnreadable(f"{bucket.url(batch['list'])} is not JSON Lines: {error}") from error
    if len(songs) != batch["songs"]:
        raise ArchiveUnreadable(f"{bucket.url(batch['list'])} has {len(songs)} of {batch['songs']} songs")
    return songs


class Claim(Record):
    """The songs that a run works on."""

    schema_version: int = 1
    dag_id: str
    run_id: str
    songs: tuple[str, ...]


def write_claim(bucket: Bucket, keys: ArchiveKeys, run: str, claim: Claim) -> None:
    """Claim songs for a run; parameters as in :func:`write_songs`."""
    bucket.put_json(claim.to_json(), _claim_key(keys, run))


def read_claims(bucket: Bucket, keys: ArchiveKeys) -> dict[str, Claim]:
    """Return the claims that were not ended yet, by key; a damaged one counts as none."""
    found = {facts.key: _read_claim(bucket, facts.key) for facts in bucket.list(_claims(keys))}
    return {key: claim for key, claim in found.items() if claim}


def claimed_at(bucket: Bucket, keys: ArchiveKeys) -> list[datetime]:
    """Return when the claims were made that were not ended yet."""
    return [facts.last_modified for facts in bucket.list(_claims(keys))]


def end_claim(bucket: Bucket, keys: ArchiveKeys, key: str, claim: Claim) -> None:
    """Keep what a run that has ended has worked on, where no other run reads claims."""
    bucket.put_json(claim.to_json(), f"{keys.runs}{key.removeprefix(_claims(keys)).removesuffix('.json')}/songs.json")
    bucket.delete(key)


def songs_claimed_by(bucket: Bucket, keys: ArchiveKeys, run: str) -> tuple[str, ...]:
    """Return the songs that a run has claimed, whether it goes on or was ended and cleared."""
    kept = f"{keys.runs}{_digest(run.encode())}/songs.json"
    claim = _read_claim(bucket, _claim_key(keys, run)) or _read_claim(bucket, kept)
    return claim.songs if claim else ()


def _read_claim(bucket: Bucket, key: str) -> Claim | None:
    try:
        stored = bucket.get_json(key)
        return None if stored is None else Claim.from_json(stored, bucket.url(key))
    except ArchiveUnreadable as error:  # at worst two runs work on a song, which costs and changes nothing
        log.warning("%s", error)
        return None


def _claims(keys: ArchiveKeys) -> str:
    return f"{keys.runs}claims/"


def _claim_key(keys: ArchiveKeys, run: str) -> str:
    return f"{_claims(keys)}{_digest(run.encode())}.json"


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:32]
