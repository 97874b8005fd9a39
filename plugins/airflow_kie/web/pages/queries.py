"""The song pages' view of the Airflow that they run in: where songs are archived, and which songs a run has."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_kie import settings
from airflow_kie._airflow_private import metadata, web_ui
from airflow_kie.archive.layout import ArchiveKeys, SongKeys
from airflow_kie.archive.pending import Working
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.assets import COVER
from airflow_kie.client.errors import KieConnectionInvalid
from airflow_kie.client.task_ids import KeyRefused
from airflow_kie.durable.xcom import ARCHIVED_KEY, FAILURE_KEY
from airflow_kie.web.kept import Kept

log = logging.getLogger(__name__)

_LISTS_SONGS = ("KieSongListOperator", "KieCoverToS3Operator")  # from Z to A: who lists gives the order
_KNOWS_A_BUCKET = ("KieCoverToS3Operator", "KieGenerateCoverOperator")
_MANIFEST = "manifest.json"
_EVENTS_FOR_EACH = 4
"""Events that are read for each song that is shown: some tell of other buckets, or of a song again."""


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

        :raises KeyRefused: for what is no id.
        """
        return ArchiveKeys(self.prefix).song(music_task_id)


@dataclass
class SongQueries:
    """What the song pages ask of Airflow.

    The S3 connection is always the one of the [kie] configuration. The bucket is the configured one, or one that the
    tasks of a run have stored: never one that an address names.
    """

    _opened: Kept[Bucket] = field(default_factory=lambda: Kept(_open))

    def configured(self) -> Place | None:
        """Return the place of the [kie] configuration, None where it names no bucket."""
        bucket = settings.text("bucket")
        return Place(bucket, settings.text("prefix", "songs")) if bucket else None

    def open(self, place: Place) -> Bucket:
        """Return the bucket of a place, through the configured S3 connection.

        :raises KieConnectionInvalid: when there is no such connection.
        """
        return self._opened.of(place.bucket)

    def in_work(self, working: Working | None) -> bool:
        """Return whether the run that works on a song is queued or running."""
        if working is None:
            return False
        return metadata.run_is_active(working.dag_id, working.run_id)

    def songs_of_run(self, dag_id: str, run_id: str) -> Mapping[str, Place]:
        """Return the songs of a run and where its tasks archive each, in the order in which they were asked for."""
        told = web_ui.xcoms_of_run(dag_id, run_id, _LISTS_SONGS, ("return_value", ARCHIVED_KEY))
        rendered = web_ui.rendered_arguments(dag_id, run_id, operators=_KNOWS_A_BUCKET)
        songs: dict[str, Place] = {}
        for value in (*_flat(told), *rendered):
            found = _place_in(value)
            if found:
                songs.setdefault(*found)
        return songs

    def refusal_of_run(self, dag_id: str, run_id: str) -> tuple[str, str] | None:
        """Return reason and message with which the list of a run's songs has failed, None if it has not."""
        told = web_ui.xcoms_of_run(dag_id, run_id, ("KieSongListOperator",), (FAILURE_KEY,))
        found = ((failure.get("reason"), failure.get("message")) for failure in told if isinstance(failure, Mapping))
        return next(((str(reason), str(message)) for reason, message in found), None)

    def lately_archived(self, place: Place, count: int) -> list[str]:
        """Return the songs of a place whose covers were archived last, as the events of their asset tell, newest first.

        :param count: how many at most.
        """
        told = web_ui.latest_extras(COVER.uri, _EVENTS_FOR_EACH * count)
        found = (_place_in(extra) for extra in told)
        return list(dict.fromkeys(song for song, at in filter(None, found) if at == place))[:count]

    def song_of_task(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> str | None:
        """Return the music task id that a task instance works on, None before it has begun."""
        rendered = web_ui.rendered_arguments(dag_id, run_id, task_id=task_id, map_index=map_index)
        found = rendered[0].get("music_task_id") if rendered else None
        return found if isinstance(found, str) else None

    def login_address(self, next_url: str) -> str:
        """Return where a person logs in and comes back from."""
        return web_ui.login_address(next_url)


def _open(name: str) -> Bucket:
    from airflow_kie.hooks.archive import open_bucket

    aws_conn_id = settings.text("aws_conn_id", "aws_default")
    try:
        bucket = open_bucket(aws_conn_id, name)
    except Exception as error:
        log.exception("S3 connection %s cannot be opened; song pages show no songs.", aws_conn_id)
        raise KieConnectionInvalid(f"S3 connection {aws_conn_id} cannot be opened") from error
    # Some S3 services send the whole object's checksum with a part of it, which boto3 would refuse at the part's end.
    bucket.client.meta.config.response_checksum_validation = "when_required"
    return bucket


def _flat(values: Iterable[Any]) -> list[Any]:
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


def _place_in(value: Any) -> tuple[str, Place] | None:
    """Return the song that a task was given or has archived, with its place; None for anything else."""
    if not isinstance(value, Mapping):
        return None
    song, bucket, prefix = (value.get(name) for name in ("music_task_id", "bucket", "prefix"))
    ending = f"{song}/{_MANIFEST}"
    key = value.get("manifest_key")
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
