"""The beginning of a run: its songs are listed, checked and recorded before anything is paid."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, XComArg, conf

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
from airflow_kie.archive.run_songs import ALONE, ALONE_WOKEN, MOST, Claim, write_batches, write_claim
from airflow_kie.archive.s3.retrying import asked_again
from airflow_kie.assets import PENDING
from airflow_kie.client.errors import KieError
from airflow_kie.client.task_ids import KeyRefused
from airflow_kie.client.untrusted import is_true
from airflow_kie.durable.active_runs import ActiveRuns
from airflow_kie.durable.defaults import optional
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.rendered_fields import HidesCredentials
from airflow_kie.durable.retried import Retried
from airflow_kie.durable.xcom import ARCHIVED_KEY
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.event_songs import PARALLEL, EventSongs, is_woken, partition_of
from airflow_kie.operators.inbox import ORDER_FIELD
from airflow_kie.operators.spending_preflight import (
    check_balances,
    known_song,
    of_account,
    over_cap,
    record_song,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.archive.song_folder import SongArchive
    from airflow_kie.hooks.archive import ExtraArgs

log = logging.getLogger(__name__)


class KieSongListOperator(HidesCredentials, Retried, BaseOperator):
    """Lists the songs of a run, records them as pending, and returns the batches that the next tasks are mapped over.

    A batch of one song holds its arguments. A larger batch names the part of an S3 object that lists its songs:
    ``{songs, first, list, start, end, bucket, prefix, kie_conn_id}``. All songs of a batch belong to one account.

    The songs come from the arguments, from the run's inbox object, or from the partition of the event that started
    the run. They are checked first, and all problems are reported in one message. Then each song gets its pending
    record, before anything is paid: if the archive cannot be written, nothing is paid. Songs that already have every
    requested file are left out.

    A run without songs that was started by an event without a partition takes the pending songs in the bucket that
    were never tried and that no other run works on. In such a run, a song that cannot be processed is left out, and
    its pending record says why. Only one instance runs at a time, so no two runs take the same songs.

    :param music_task_ids: the songs' music task ids, as a list, in any text, or another task's output (only those).
    :param kie_conn_id: Airflow connection of the account that made the songs, one of `[kie] kie_conn_ids`.
    :param bucket: bucket of the archive; empty: `[kie] bucket`.
    :param prefix: key prefix in the bucket; empty: `[kie] prefix`.
    :param aws_conn_id: Airflow connection for S3; None or empty: boto3's default credential chain.
    :param archive_audio: archive the audio files too; always on if `[kie] archive_audio` is.
    :param archive_lyrics: archive the lyrics too; always on if `[kie] archive_lyrics` is.
    :param labels: your own names for the songs, at most 10, as a map or its JSON text; stored in the manifests.
    :param max_credits: refuse the run if its covers cost more credits by KIE's price list; None or empty: no cap.
    :param songs: further songs with labels of their own: ``[{"music_task_id": …, "labels": {…}}]``.
    :param extra_args: for S3, such as ``{"ServerSideEncryption": "aws:kms"}``; None: `[kie] s3_extra_args`.
    :param batch_size: songs per task instance, at most 200; None: one for up to 20 songs (for up to two in an event
        run); for more songs, 25 in the first batch and more in later ones.
    """

    template_fields: Sequence[str] = (
        *("music_task_ids", "kie_conn_id", "bucket", "prefix", "aws_conn_id", "archive_audio", "archive_lyrics"),
        *("labels", "songs", "max_credits", "extra_args", "batch_size"),
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
        super().__init__(**{"inlets": [PENDING], "max_active_tis_per_dag": 1, **kwargs})
        self._of_task = isinstance(music_task_ids, XComArg) or isinstance(songs, XComArg)
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
        self._woken: EventSongs | None = None

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Check, record and return the songs; a bucket that refuses is waited for in runs that nobody watches.

        :raises SongsRefused: naming all that is wrong with what was requested.
        """
        self.bucket = self.bucket or settings.text("bucket")
        self.prefix = (self.prefix or settings.text("prefix", "songs")).strip("/")
        return run_with_outage_backoff(context, lambda: self._list(context), song=lambda: self._song_of_event(context))

    def _list(self, context: Context) -> list[dict[str, Any]]:
        requests = self._usable(self._requests(context))
        bucket, keys, ti = self._open(self.bucket), ArchiveKeys(self.prefix), context["ti"]
        if len(requests) > (0 if self._woken else ALONE):  # of fewer, the songs' records say enough
            ids = tuple(request.music_task_id for request in requests)
            write_claim(bucket, keys, self._name(context), Claim(dag_id=ti.dag_id, run_id=ti.run_id, songs=ids))
        with ThreadPoolExecutor(PARALLEL) as pool:
            known = self._each(functools.partial(known_song, bucket, keys))
            songs = [song for song in bucket.made_if_missing(lambda: list(pool.map(known, requests))) if song]
            # Before a song is recorded: whatever is recorded is dispatched again later, and that knows no cap.
            if over := over_cap(self.max_credits, songs):
                raise self._refused(context, over)
            recorded = list(pool.map(self._each(functools.partial(record_song, context)), songs))
        if not self._woken:  # otherwise each song waits for its own account
            check_balances(songs)
        archived = [result for result in recorded if isinstance(result, dict)]
        todo = [song.request for song, result in zip(songs, recorded, strict=True) if result is True]
        alone = ALONE_WOKEN if self._woken else ALONE
        batches = write_batches(
            bucket, keys, self._name(context), todo, _limit(), _number(self.batch_size), alone=alone
        )
        context["ti"].xcom_push(key=ARCHIVED_KEY, value=archived)
        if self._woken:
            self._woken.named.set_recorded()
        self.log.info("%s to process, %s already archived.", counted(len(todo)), counted(len(archived)))
        return batches

    def _usable(self, requests: Sequence[SongRequest]) -> list[SongRequest]:
        """Return the songs whose connection can be used; one that cannot is named before any song is recorded.

        :raises KieError: where it cannot, and the songs were named together; otherwise they stay pending.
        """
        unusable: set[str] = set()
        for kie_conn_id in dict.fromkeys(request.kie_conn_id for request in requests):
            try:
                with of_account(kie_conn_id):
                    KieHook(kie_conn_id).account  # noqa: B018 - asking for it checks it
            except KieError as error:
                if not self._woken:
                    raise
                self.log.error("Songs of connection %s stay pending. %s", kie_conn_id, error)
                unusable.add(kie_conn_id)
        return [request for request in requests if request.kie_conn_id not in unusable]

    def _each(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return a step that leaves out a song for which it fails, in a run of songs that nobody named together.

        In any run trouble of S3 with one song's objects is waited out before it ends the work on all of them.
        """
        patient = functools.partial(asked_again, step)
        return functools.partial(self._woken.each, patient) if self._woken else patient

    @staticmethod
    def _name(context: Context) -> str:
        ti = context["ti"]
        return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}"

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
        woken = not (given or self._of_task) and is_woken(context)
        if not (requests or problems or woken or self._of_task or ORDER_FIELD in (getattr(run, "conf", None) or {})):
            problems.append("No music task ids were given: paste them from kie.ai/logs, one per line.")
        if len(requests) > (most := MOST * _limit()):
            problems.append(f"{len(requests)} songs were given, but one run takes at most {most}: split the list.")
        requests = [self._with_options_of_the_run(request) for request in requests]
        problems += settings.connection_errors(request.kie_conn_id for request in requests)
        if not self.bucket:
            problems.append("No bucket is set: set one in the form, or `bucket` in the [kie] configuration.")
        with gathering(problems):
            _number(self.batch_size)
        with gathering(problems):
            ArchiveKeys(self.prefix)
        if problems:
            raise self._refused(context, first_of(problems))
        return self._pending(context, labels) if woken else requests

    def _pending(self, context: Context, labels: Mapping[str, str]) -> list[SongRequest]:
        """Return what this run takes of the songs that are pending; each is checked by itself."""
        self._woken = EventSongs(context, self._open(self.bucket), ArchiveKeys(self.prefix))
        taken: list[SongRequest] = []
        self._woken.gather()
        for song in self._woken.pending(self._name(context))[: MOST * _limit()]:
            found, problems = requests_in([song], labels)
            requests = [self._with_options_of_the_run(request) for request in found]
            problems += settings.connection_errors(request.kie_conn_id for request in requests)
            if problems:
                self._woken.refuse(song["music_task_id"], SongsRefused(first_of(problems)))
            else:
                taken += requests
        return taken

    def _given(self, context: Context, problems: list[str]) -> list[Mapping[str, Any]]:
        given: list[Mapping[str, Any]] = [{"music_task_id": task_id} for task_id in ids_in(self.music_task_ids)]
        with gathering(problems):
            given += songs_in(self.songs)
        with gathering(problems):
            given += self._inbox_songs(context)
        if partition_of(context) and not (given or self._of_task):
            events = self._partition(context)
            return [events.given_by_partition() if events else {"music_task_id": partition_of(context)}]
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
        bucket, keys = self._open(settings.text("bucket")), ArchiveKeys(settings.text("prefix", "songs"))
        item = InboxBucket(bucket, keys).taken(digest)
        if item is None:
            raise ValueError("The record of this run's inbox object is gone: put the object into inbox/ again.")
        others = ActiveRuns(context["ti"]).songs_of_others(bucket, keys)  # woken runs take what is recorded
        return [dict(song) for song in item.songs if song.music_task_id not in others]

    def _partition(self, context: Context) -> EventSongs | None:
        """Return the songs of the event whose partition the run is; None where it is none, or without a place."""
        try:
            keys = ArchiveKeys(self.prefix)
        except KeyRefused:
            return None
        return EventSongs(context, self._open(self.bucket), keys) if partition_of(context) and self.bucket else None

    def _song_of_event(self, context: Context) -> SongArchive | None:
        events = self._partition(context)
        return events.of_partition() if events else None

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


def _number(given: int | str | None) -> int | None:
    text = optional(given)
    try:
        return int(float(text)) if text else None
    except (ValueError, OverflowError):
        raise ValueError(f"batch_size is {text!r:.60}, which is not a number of songs.") from None


def _limit() -> int:
    """Return how many batches a run may have."""
    return conf.getint("core", "max_map_length")
