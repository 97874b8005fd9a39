"""What the inbox has of a song: objects that name it, waiting, done or rejected, and what was kept of them for runs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from airflow_kie.archive.inbox.bucket import MAX_BYTES
from airflow_kie.archive.inbox.objects import InboxUnreadable, read_songs
from airflow_kie.archive.layout import INBOX, ArchiveKeys
from airflow_kie.archive.s3.bucket import Bucket

_PARALLEL = 8
_REASON = ".reason.txt"


@dataclass(frozen=True)
class Named:
    """An object that names a song.

    :param key: its key.
    :param alone: it names no other song; otherwise, and where it cannot be read, it stays.
    """

    key: str
    alone: bool


def objects_that_name(bucket: Bucket, archive: ArchiveKeys, song: str) -> Iterator[Named]:
    """Yield the objects of the inbox that name a song, with the reasons of those that were rejected.

    :param bucket: where the inbox is.
    :param archive: the archive's keys.
    :param song: its music task id.
    """
    listed = (facts.key for folder in (INBOX, archive.inbox_orders) for facts in bucket.list(folder))
    keys = (key for key in listed if not key.endswith("/"))
    with ThreadPoolExecutor(_PARALLEL) as pool:
        while some := list(islice(keys, _PARALLEL * 4)):
            found = pool.map(lambda key: _named(bucket, archive, key, song), some)
            yield from (named for named in found if named)


def _named(bucket: Bucket, archive: ArchiveKeys, key: str, song: str) -> Named | None:
    version = None if key.endswith(_REASON) else bucket.get_version(key, max_bytes=MAX_BYTES)
    if version is None or song.encode() not in version[1]:
        return None
    return Named(key, _alone(bucket, archive, key, version[1], song))


def _alone(bucket: Bucket, archive: ArchiveKeys, key: str, body: bytes, song: str) -> bool:
    if key.startswith(archive.inbox_orders):
        songs = (bucket.get_json(key) or {}).get("songs", ())
        return {one.get("music_task_id") for one in songs} == {song}
    try:
        return {one.music_task_id for one in read_songs(key, body)} == {song}
    except InboxUnreadable:
        return False


def reason_of(key: str) -> str:
    """Return the key of the text that says why an object was rejected."""
    return f"{key}{_REASON}"
