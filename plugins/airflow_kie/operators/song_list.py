"""The beginning of a run: which songs are asked for, checked and recorded before anything is paid."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import (
    Labelled,
    SongRequest,
    SongsRefused,
    counted,
    first_of,
    gathering,
    ids_in,
    name_errors,
    requests_in,
    songs_in,
)
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.run_songs import MOST, write_batches
from airflow_kie.client.task_ids import KeyRefused, is_task_id
from airflow_kie.client.untrusted import is_true
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.retried import Retried
from airflow_kie.durable.xcom import ARCHIVED_KEY
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.inbox import ORDER_FIELD
from airflow_kie.operators.spending_preflight import (
    KnownSong,
    adopt_cover,
    check_balances,
    known_song,
    of_account,
    over_cap,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.archive.song_folder import SongArchive
    from airflow_kie.hooks.archive import ExtraArgs

log = logging.getLogger(__name__)

_PARALLEL = 8
"""Songs that are read, or recorded, at a time."""


class KieSongListOperator(Retried, BaseOperator):
    """Says which songs a run works on, and returns the batches in which the steps of the chain take them.

    A batch of one song is its arguments. One of many says where the songs are in an object that this task writes:
    ``{songs, first, list, start, end, bucket, prefix, kie_conn_id}``. A batch's songs are of one account.

    The songs come from the event that made the run (its partition key is the music task id), otherwise from the
    arguments. Everything is checked first and all problems come in one message. Then every song gets its pending
    record, before anything is paid: where the archive cannot be written, nothing is. Songs that have all that is asked
    for already are left out.

    :param music_task_ids: ids as a list or in any text.
    :param kie_conn_id: the connection whose account made the songs; it must be one of `[kie] kie_conn_ids`.
    :param bucket: empty: `[kie] bucket`.
    :param prefix: empty: `[kie] prefix`.
    :param aws_conn_id: Airflow connection for S3.
    :param archive_audio: archive the audio files too; `[kie] archive_audio` asks for it in any run.
    :param archive_lyrics: archive the lyrics too; `[kie] archive_lyrics` asks for it in any run.
    :param labels: people's own names for the songs, kept in the manifest.
    :param max_credits: refuse the run if its covers cost more credits than this; None or empty: no cap.
    :param songs: further songs that carry their own labels: ``[{"music_task_id": …, "labels": {…}}]``.
    :param extra_args: for S3, such as ``{"ServerSideEncryption": "aws:kms"}``; None: `[kie] s3_extra_args`.
    :param batch_size: songs that one task instance works on, at most 200; None: one each of up to 20 songs, of more 25
        in the first batch and more in the next ones.
    """

    template_fields: Sequence[str] = (
        "music_task_ids",
        "kie_conn_id",
        "bucket",
        "prefix",
        "archive_audio",
        "archive_lyrics",
        "labels",
        "songs",
        "max_credits",
        "extra_args",
        "batch_size",
    )
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        music_task_ids: Any = None,
        kie_conn_id: str = "",
        bucket: str = "",
        prefix: str = "",
        aws_conn_id: str | None = "aws_default",
        archive_audio: bool | str = False,
        archive_lyrics: bool | str = False,
        labels: Any = None,
        songs: Any = None,
        max_credits: float | str | None = None,
        extra_args: ExtraArgs = None,
        batch_size: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.music_task_ids = music_task_ids
        self.kie_conn_id = kie_conn_id
        self.bucket = bucket
        self.prefix = prefix
        self.aws_conn_id = aws_conn_id
        self.archive_audio = archive_audio
        self.archive_lyrics = archive_lyrics
        self.labels = labels
        self.songs = songs
        self.max_credits = max_credits
        self.extra_args = extra_args
        self.batch_size = batch_size
        self._opened: dict[str, Bucket] = {}

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Check, record and return the songs; a bucket that refuses is waited for in runs that nobody watches.

        :raises SongsRefused: naming all that is wrong with what was asked for.
        """
        self.bucket = self.bucket or settings.text("bucket")
        self.prefix = (self.prefix or settings.text("prefix", "songs")).strip("/")
        return run_with_outage_backoff(context, lambda: self._list(context), song=lambda: self._song_of_event(context))

    def _list(self, context: Context) -> list[dict[str, Any]]:
        requests = self._requests(context)
        for kie_conn_id in dict.fromkeys(request.kie_conn_id for request in requests):
            with of_account(kie_conn_id):  # a connection that cannot be used is named before any song is recorded
                KieHook(kie_conn_id).account  # noqa: B018 - asking for it checks it
        bucket, keys = self._open(self.bucket), ArchiveKeys(self.prefix)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            songs = bucket.made_if_missing(
                lambda: list(pool.map(functools.partial(known_song, bucket, keys), requests))
            )
            # Before a song is recorded: whatever is recorded is dispatched again later, and that knows no cap.
            if over := over_cap(self.max_credits, songs):
                raise self._refused(context, over)
            results = list(pool.map(functools.partial(_record, context), songs))
        check_balances(songs)
        archived = [result for result in results if result]
        todo = [song.request for song in songs if not song.is_archived]
        run = f"{context['ti'].dag_id}/{context['ti'].run_id}/{context['ti'].task_id}"
        batches = write_batches(bucket, keys, run, todo, _limit(), _number(self.batch_size))
        context["ti"].xcom_push(key=ARCHIVED_KEY, value=archived)
        self.log.info("%s to work on, %s archived already.", counted(len(todo)), counted(len(archived)))
        return batches

    # --- what is asked for ---

    def _requests(self, context: Context) -> list[SongRequest]:
        """Return the songs that the run is for, with what the run asks for all of them.

        :raises SongsRefused: naming all that is wrong.
        """
        problems: list[str] = []
        labels: Mapping[str, str] = {}
        run, dag = context.get("dag_run"), context.get("dag")
        if run and dag:  # Airflow takes any name, and the form's value would hold
            problems += name_errors(run.conf or {}, list(dag.params))
        with gathering(problems):
            labels = Labelled.model_validate({"labels": self.labels}).labels
        given = self._given(context, problems)
        requests, wrong = requests_in(given, labels)
        problems += wrong
        if not (requests or problems):
            problems.append("No music task ids were given: paste them, one on a line, from kie.ai/logs.")
        if len(requests) > (most := MOST * _limit()):
            problems.append(f"{len(requests)} songs were given, and one run takes at most {most}: split the list.")
        requests = [self._with_options_of_the_run(request) for request in requests]
        problems += settings.connection_errors(request.kie_conn_id for request in requests)
        if not self.bucket:
            problems.append("No bucket is named, neither in the form nor as `bucket` in the [kie] configuration.")
        with gathering(problems):
            ArchiveKeys(self.prefix)
        if problems:
            raise self._refused(context, first_of(problems))
        return requests

    def _given(self, context: Context, problems: list[str]) -> list[Mapping[str, Any]]:
        if music_task_id := _partition_key(context):
            extra = _event_extra(context)
            offered = str(extra.pop("cover_task_id", ""))
            if is_task_id(offered):  # otherwise it is left out: nobody could correct an event
                extra["cover_task_id"] = offered
            recorded = self._recorded(context)
            return [{"received_from": "event", **recorded, **extra, "music_task_id": music_task_id}]
        given: list[Mapping[str, Any]] = [{"music_task_id": task_id} for task_id in ids_in(self.music_task_ids)]
        with gathering(problems):
            given += songs_in(self.songs)
        with gathering(problems):
            given += self._inbox_songs(context)
        return given

    def _with_options_of_the_run(self, request: SongRequest) -> SongRequest:
        options = {
            option: getattr(request, option) or is_true(getattr(self, option)) or settings.flag(option)
            for option in ("archive_audio", "archive_lyrics")
        }
        kie_conn_id = request.kie_conn_id or self.kie_conn_id or KieHook.default_conn_name
        return request.model_copy(update={**options, "kie_conn_id": kie_conn_id})

    def _inbox_songs(self, context: Context) -> list[Mapping[str, Any]]:
        """Return the songs of the inbox object that the run is for, as its conf names it.

        :raises ValueError: when nothing is kept of such an object.
        """
        from airflow_kie.archive.inbox.bucket import InboxBucket

        digest = str((getattr(context.get("dag_run"), "conf", None) or {}).get(ORDER_FIELD) or "")
        if not digest:
            return []
        bucket = self._open(settings.text("bucket"))
        item = InboxBucket(bucket, ArchiveKeys(settings.text("prefix", "songs"))).taken(digest)
        if item is None:
            raise ValueError("What the inbox object of this run asked for is no longer kept: put it into inbox/ again.")
        return [dict(song) for song in item.songs]

    def _recorded(self, context: Context) -> Mapping[str, Any]:
        """Return what the pending record of an event's song asks for: many songs can share one event."""
        from airflow_kie.archive.record_base import label_map

        archive = self._song_of_event(context)
        if archive is None:
            return {}
        pending = archive.bucket.made_if_missing(archive.pending)
        if pending is None:
            return {}
        return {
            "kie_conn_id": pending.kie_conn_id,
            "labels": label_map(pending.labels),
            "archive_audio": pending.options.audio,
            "archive_lyrics": pending.options.lyrics,
            "received_from": pending.received_from,
        }

    def _song_of_event(self, context: Context) -> SongArchive | None:
        """Return the place of the song whose event has made the run; None if there is none, or it cannot be one."""
        from airflow_kie.archive.song_folder import SongArchive

        music_task_id = _partition_key(context)
        if not (music_task_id and self.bucket):
            return None
        try:
            keys = ArchiveKeys(self.prefix).song(music_task_id)
        except KeyRefused:
            return None
        return SongArchive(self._open(self.bucket), keys)

    def _refused(self, context: Context, why: str) -> SongsRefused:
        """Return the refusal of the run, which an event's song keeps: it would be dispatched over and over."""
        refused, archive = SongsRefused(why), self._song_of_event(context)
        if archive and archive.pending():
            archive.record_failure(refused.reason, str(refused))
        return refused

    def _open(self, name: str) -> Bucket:
        from airflow_kie.hooks.archive import open_bucket

        if name not in self._opened:  # an S3 client takes a tenth of a second to make
            self._opened[name] = open_bucket(self.aws_conn_id, name, self.extra_args)
        return self._opened[name]


def _record(context: Context, song: KnownSong) -> dict[str, Any] | None:
    """Write a song's pending record; where nothing is missing in the bucket, return what is there instead."""
    from airflow_kie.archive.pending import Working
    from airflow_kie.durable.xcom import result_of

    archive, ti = song.archive, context["ti"]
    if song.manifest and song.is_archived:
        archive.settle_pending(song.manifest)
        log.info("Song %s has all that is asked for.", song.request.music_task_id)
        return result_of(archive.bucket.name, archive.keys.manifest, song.manifest, changed=False)
    pending = archive.update_pending(
        **song.request.facts(),
        working=Working(dag_id=ti.dag_id, run_id=ti.run_id),
    )
    if song.adopted:
        adopt_cover(context, song.request.kie_conn_id, song.request.music_task_id, song.adopted)
    log.info("Song %s is recorded; it came from: %s.", song.request.music_task_id, pending.received_from)
    return None


def _number(given: int | str | None) -> int | None:
    text = str(given or "").strip()
    return int(text) if text else None


def _limit() -> int:
    """Return how many batches a run may have."""
    return conf.getint("core", "max_map_length")


def _partition_key(context: Context) -> str | None:
    key = context.get("partition_key")
    return str(key) if key else None


def _event_extra(context: Context) -> dict[str, Any]:
    """Return what the events of this run say of the song; a later event wins."""
    extra: dict[str, Any] = {}
    for events in (context.get("triggering_asset_events") or {}).values():
        for event in events:
            extra.update({name: value for name, value in (event.extra or {}).items() if value is not None})
    return extra
