"""What the song pages ask of the Airflow that they run in: where songs are archived, and which songs a run has.

The S3 connection is always the one of the [kie] configuration. The bucket is the configured one, or one that the tasks
of a run have stored: never one that an address names.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cachetools import LRUCache

from airflow_kie import settings
from airflow_kie._airflow_private import metadata
from airflow_kie.archive.layout import ArchiveKeys, SongKeys
from airflow_kie.archive.pending import Failure
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.assets import COVER
from airflow_kie.client.errors import KieConnectionInvalid, KieError
from airflow_kie.client.task_ids import KeyRefused
from airflow_kie.durable.song_batch import songs_of
from airflow_kie.durable.xcom import ARCHIVED_KEY, FAILURE_KEY
from airflow_kie.web.cache import cached_for_a_minute

log = logging.getLogger(__name__)

_LISTS_SONGS, _ARCHIVES = "KieSongListOperator", "KieCoverToS3Operator"
_GENERATES = ("KieGenerateMusicOperator",)
_KNOWS_A_BUCKET = (_ARCHIVES, "KieGenerateCoverOperator")
_MOST_BATCH_BYTES = 4 * 1024 * 1024
_batches: LRUCache[tuple[str, str, int, int, int], list[str]] = LRUCache(1000)
"""The ids of batches that were read, of 200 songs at most."""
_reading = threading.Lock()
_PARALLEL = 8
_EVENTS_FOR_EACH = 4
"""Events that are read for each song that is shown: some are of other buckets, or of a song again."""


@dataclass(frozen=True)
class Place:
    """Where songs are archived.

    :param bucket: name of the bucket.
    :param prefix: folder in it.
    """

    bucket: str
    prefix: str

    def keys(self, music_task_id: str) -> SongKeys:
        """Return a song's keys.

        :raises KeyRefused: for an invalid id.
        """
        return ArchiveKeys(self.prefix).song(music_task_id)

    def open(self) -> Bucket:
        """Return the bucket, through the configured S3 connection.

        :raises KieConnectionInvalid: when that connection does not exist.
        """
        return _bucket(self.bucket)


def configured_place() -> Place | None:
    """Return the place of the [kie] configuration, None where it names no bucket."""
    bucket = settings.text("bucket")
    return Place(bucket, settings.text("prefix", "songs").strip("/")) if bucket else None


def songs_of_run(dag_id: str, run_id: str) -> Mapping[str, Place]:
    """Return the songs of a run and where its tasks archive each, in the order in which they were requested."""
    songs = _songs_in(_listed(dag_id, run_id, (_LISTS_SONGS,)))
    if not songs:  # what is archived without such a list; the arguments of batches of many would be large
        archived = _listed(dag_id, run_id, (_ARCHIVES,))
        arguments = metadata.rendered_arguments(dag_id, run_id, operators=_KNOWS_A_BUCKET)
        songs = _songs_in([*archived, arguments, _generated(dag_id, run_id)])
    return songs


def batches_of_run(dag_id: str, run_id: str) -> tuple[list[list[str]], list[str]]:
    """Return the songs of each batch of a run, by map index, and those that were archived before it began.

    A run without a list of songs, or with several, has none.
    """
    pushed = metadata.xcoms_of_run(dag_id, run_id, (_LISTS_SONGS,), ("return_value",))
    before = metadata.xcoms_of_run(dag_id, run_id, (_LISTS_SONGS,), (ARCHIVED_KEY,))
    if len(pushed) != 1 or not isinstance(pushed[0], list):
        return [], []
    return [list(_songs_in([batch])) for batch in _read_batches(pushed[0])], list(_songs_in(before))


def _listed(dag_id: str, run_id: str, operators: tuple[str, ...]) -> list[Sequence[Any]]:
    """Return the songs of each batch that tasks have pushed."""
    pushed = metadata.xcoms_of_run(dag_id, run_id, operators, ("return_value", ARCHIVED_KEY))
    return _read_batches([item for value in pushed for item in (value if isinstance(value, list) else [value])])


def _read_batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    """Return the songs of what a task has pushed, side by side: each batch of many is read from the bucket."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(_each, items))


def _songs_in(batches: Iterable[Iterable[Any]]) -> dict[str, Place]:
    songs: dict[str, Place] = {}
    for found in filter(None, map(_place_in, itertools.chain.from_iterable(batches))):
        songs.setdefault(*found)
    return songs


def _generated(dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """Return the songs that a run has generated; none where its tasks store them in several places."""
    made = metadata.xcoms_of_run(dag_id, run_id, _GENERATES, ("return_value",))
    arguments = metadata.rendered_arguments(dag_id, run_id, operators=_GENERATES) if made else []
    places = {(one.get("bucket"), one.get("prefix")) for one in arguments}
    if len(places) != 1:
        return []
    ((bucket, prefix),) = places
    return [{"music_task_id": song, "bucket": bucket, "prefix": prefix} for song in made]


def _each(item: Any) -> Sequence[Any]:
    """Return each song of what a task has pushed: of a batch of many it has pushed where they are.

    The object's key has a digest of it, so what was read once is not read again.
    """
    if not (isinstance(item, Mapping) and isinstance(item.get("list"), str)):
        return [item]
    try:
        bucket, prefix, key = str(item["bucket"]), str(item["prefix"]), item["list"]
        part = (bucket, key, int(item["start"]), int(item["end"]), int(item["songs"]))
        if not key.startswith(ArchiveKeys(prefix).runs) or part[3] - part[2] > _MOST_BATCH_BYTES:
            return []
        with _reading:
            known: list[str] | None = _batches.get(part)
        if known is None:
            known = [str(song.get("music_task_id")) for song in songs_of(_bucket(bucket), item)]
            with _reading:
                _batches[part] = known
    except (KeyError, TypeError, ValueError, AttributeError, KieError) as error:
        log.warning("The songs of a batch cannot be read, so its page does not list them: %s", error)
        return []
    return [{"music_task_id": song, "bucket": bucket, "prefix": prefix} for song in known]


def failure_of_run(dag_id: str, run_id: str) -> Failure | None:
    """Return why the list of a run's songs has failed, None if it has not."""
    for value in metadata.xcoms_of_run(dag_id, run_id, ("KieSongListOperator",), (FAILURE_KEY,)):
        if isinstance(value, Mapping):
            reason, message = str(value.get("reason")), str(value.get("message"))
            return Failure(reason=reason, message=message, at=datetime.now(UTC))
    return None


def last_archived(place: Place, count: int) -> list[str]:
    """Return the songs of a place whose covers were archived last, by the events of their asset, newest first.

    :param count: how many at most.
    """
    found = map(_place_in, metadata.latest_extras(COVER.uri, _EVENTS_FOR_EACH * count))
    return list(dict.fromkeys(song for song, at in filter(None, found) if at == place))[:count]


def song_of_task(dag_id: str, run_id: str, task_id: str, map_index: int) -> str | None:
    """Return the music task id that a task instance works on, None before it has begun."""
    rendered = metadata.rendered_arguments(dag_id, run_id, task_id=task_id, map_index=map_index)
    found = rendered[0].get("music_task_id") if rendered else None
    return found if isinstance(found, str) else None


def _open(name: str) -> Bucket:
    from airflow_kie.hooks.archive import open_bucket

    aws_conn_id = settings.text("aws_conn_id", "aws_default")
    try:
        bucket = open_bucket(aws_conn_id, name)
    except Exception as error:
        log.exception("S3 connection %s cannot be used, so the song pages show no songs.", aws_conn_id)
        raise KieConnectionInvalid(f"S3 connection {aws_conn_id} cannot be opened") from error
    # Some S3 services send the whole object's checksum with a part of it, which boto3 would refuse at the part's end.
    bucket.client.meta.config.response_checksum_validation = "when_required"
    return bucket


_bucket = cached_for_a_minute(_open)


def _place_in(value: Any) -> tuple[str, Place] | None:
    """Return the song that a task was given or has archived, with its place; None for anything else."""
    if not isinstance(value, Mapping):
        return None
    song, bucket, prefix = (value.get(name) for name in ("music_task_id", "bucket", "prefix"))
    key, ending = value.get("manifest_key"), f"{song}/manifest.json"
    if isinstance(key, str) and key.endswith(ending):
        prefix = key.removesuffix(ending)
    if not (isinstance(song, str) and isinstance(bucket, str) and bucket and isinstance(prefix, str)):
        return None
    place = Place(bucket, prefix.strip("/"))
    try:
        place.keys(song)
    except KeyRefused:
        return None
    return song, place
