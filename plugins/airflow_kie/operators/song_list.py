"""The beginning of a run of many songs: what is asked for, checked, noted, and weighed against balance and caps."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import (
    SongOrder,
    SongsRefused,
    counted,
    first_of,
    id_errors,
    ids_in,
    labels_in,
    name_errors,
    prefix_errors,
    songs_in,
)
from airflow_kie.client.untrusted import is_true
from airflow_kie.durable.defaults import RETRIES
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.retry_policy import KieRetryPolicy
from airflow_kie.durable.xcom import ARCHIVED_KEY
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.offered_covers import check_offered
from airflow_kie.operators.spending_preflight import PARALLEL, check_balances, of_account, over_cap

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.pending import Pending
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.archive.song_folder import SongArchive
    from airflow_kie.hooks.archive import ExtraArgs


class KieSongListOperator(BaseOperator):
    """Says which songs a run works on, and returns one map of arguments for each.

    The songs come from the event that made the run (its partition key is the music task id), otherwise from the
    arguments. Everything is checked first and all problems come in one message. Then the bucket is tried with a small
    object, and every song gets its pending record, before anything is paid. Songs that have all that is asked for
    already are left out.

    :param music_task_ids: ids as a list or in any text.
    :param kie_conn_id: the connection whose account made the songs; it must be one of `[kie] kie_conn_ids`.
    :param bucket: empty: `[kie] bucket`.
    :param prefix: empty: `[kie] prefix`.
    :param aws_conn_id: Airflow connection for S3.
    :param archive_audio: archive the audio files too; `[kie] archive_audio` asks for it in any run.
    :param archive_lyrics: archive the lyrics too; `[kie] archive_lyrics` asks for it in any run.
    :param labels: people's own names for the songs, kept in the manifest.
    :param max_covers: refuse the run if it would pay for more covers than this; None or empty: no cap.
    :param songs: further songs that carry their own labels: ``[{"music_task_id": …, "labels": {…}}]``.
    :param extra_args: for S3, such as ``{"ServerSideEncryption": "aws:kms"}``; None: `[kie] s3_extra_args`.
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
        "max_covers",
        "extra_args",
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
        max_covers: int | str | None = None,
        extra_args: ExtraArgs = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", RETRIES)
        kwargs.setdefault("retry_policy", KieRetryPolicy())
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
        self.max_covers = max_covers
        self.extra_args = extra_args
        self._recorded_song: SongArchive | None = None

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Check, note and return the songs; a bucket that refuses is waited for in runs that nobody watches."""
        bucket = self.bucket or settings.text("bucket")
        prefix = (self.prefix or settings.text("prefix", "songs")).strip("/")
        return run_with_outage_backoff(
            context,
            lambda: self._list(context, bucket, prefix),
            song=lambda: self._song_of_event(context, bucket, prefix),
        )

    def _list(self, context: Context, bucket: str, prefix: str) -> list[dict[str, Any]]:
        orders, problems = self._orders(context, bucket, prefix)
        problems = [*_misspelt(context), *problems]
        if not bucket:
            problems.append("No bucket is named, neither in the form nor as `bucket` in the [kie] configuration.")
        problems += prefix_errors(prefix)
        if problems:
            raise self._refused(context, first_of(problems))
        for kie_conn_id in dict.fromkeys(order.kie_conn_id for order in orders):
            with of_account(kie_conn_id):  # a connection that cannot be used is told of before any song
                KieHook(kie_conn_id).account  # noqa: B018 - asking for it checks it
        opened = self._tried_bucket(bucket, prefix)
        # Before a song is noted: the sweep starts what is noted, and knows no cap.
        if over := over_cap(self.max_covers, opened, prefix, orders):
            raise self._refused(context, over)
        note = functools.partial(self._note, context, opened, prefix)
        with ThreadPoolExecutor(PARALLEL) as pool:
            noted = list(pool.map(note, orders))
        archived = [item.archived for item in noted if item.archived]
        todo = [item.order for item in noted if not item.archived]
        check_balances(item.order for item in noted if item.archived is None and not item.cover_is_paid)
        context["ti"].xcom_push(key=ARCHIVED_KEY, value=archived)
        self.log.info("%s to work on, %s archived already.", counted(len(todo)), counted(len(archived)))
        return [order.arguments(bucket, prefix) for order in todo]

    # --- what is asked for ---

    def _orders(self, context: Context, bucket: str, prefix: str) -> tuple[list[SongOrder], list[str]]:
        music_task_id = _partition_key(context)
        if music_task_id:
            told = {**self._recorded_facts(bucket, prefix, music_task_id), **_event_extra(context)}
            return self._checked([{**told, "music_task_id": music_task_id}], received_from="event")
        listed = [{"music_task_id": task_id} for task_id in ids_in(self.music_task_ids)]
        problems: list[str] = []
        own = _gathered(problems, functools.partial(songs_in, self.songs), [])
        own += _gathered(problems, functools.partial(self._inbox_songs, context), [])
        orders, more = self._checked([*listed, *own], received_from="form")
        problems += more
        if not orders and not problems:
            problems.append("No music task ids were given: paste them, one on a line, from kie.ai/logs.")
        limit = conf.getint("core", "max_map_length")
        if len(orders) > limit:
            problems.append(f"{len(orders)} songs were given, and one run takes at most {limit}: split the list.")
        return orders, problems

    def _checked(self, given: Iterable[Mapping[str, Any]], received_from: str) -> tuple[list[SongOrder], list[str]]:
        problems: list[str] = []
        labels = _gathered(problems, functools.partial(labels_in, self.labels), {})
        orders: dict[str, SongOrder] = {}
        for song in given:
            task_id = str(song.get("music_task_id") or "")
            problems += id_errors([task_id])
            offered = str(song.get("cover_task_id") or "")
            if offered and (wrong := id_errors([offered])):
                problems += wrong if received_from != "event" else []  # of an event nobody could correct it
                offered = ""
            own = _gathered(problems, functools.partial(labels_in, song.get("labels"), labels), {})
            orders[task_id] = SongOrder(
                music_task_id=task_id,
                kie_conn_id=str(song.get("kie_conn_id") or self.kie_conn_id or KieHook.default_conn_name),
                labels=own,
                archive_audio=self._asked("archive_audio", song),
                archive_lyrics=self._asked("archive_lyrics", song),
                received_from=str(song.get("received_from") or received_from),
                cover_task_id=offered or None,
            )
        named = (order.kie_conn_id for order in orders.values())
        return list(orders.values()), [*problems, *settings.connection_errors(named)]

    def _asked(self, option: str, song: Mapping[str, Any]) -> bool:
        return is_true(getattr(self, option)) or is_true(song.get(option, False)) or settings.flag(option)

    def _inbox_songs(self, context: Context) -> list[Mapping[str, Any]]:
        """Return the songs of the inbox object that the run is for, as its conf names it.

        :raises ValueError: when nothing is kept of such an object.
        """
        from airflow_kie.archive.inbox.bucket import InboxBucket
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.hooks.archive import open_bucket
        from airflow_kie.operators.inbox import ORDER_FIELD

        run, name = context.get("dag_run"), settings.text("bucket")
        digest = str((getattr(run, "conf", None) or {}).get(ORDER_FIELD) or "")
        if not digest:
            return []
        inbox = InboxBucket(
            open_bucket(self.aws_conn_id, name, self.extra_args), ArchiveKeys(settings.text("prefix", "songs"))
        )
        order = inbox.order(digest)
        if order is None:
            raise ValueError("What the inbox object of this run asked for is no longer kept: put it into inbox/ again.")
        return [song.asked() for song in order.songs]

    def _recorded_facts(self, bucket: str, prefix: str, music_task_id: str) -> Mapping[str, Any]:
        """Return what the song's pending record says: many songs can share one event, and their labels stand there."""
        from airflow_kie.archive.record_base import label_map

        archive = self._open_song(bucket, prefix, music_task_id)
        if archive is None:
            return {}
        archive.bucket.create_on_loopback()
        pending = archive.pending()
        if pending is None:
            return {}
        return {
            "kie_conn_id": pending.kie_conn_id,
            "labels": label_map(pending.labels),
            "archive_audio": pending.options.audio,
            "archive_lyrics": pending.options.lyrics,
            "received_from": pending.received_from,
        }

    def _open_song(self, bucket: str, prefix: str, music_task_id: str) -> SongArchive | None:
        from airflow_kie.hooks.archive import open_song

        if not bucket or id_errors([music_task_id]) or prefix_errors(prefix):
            return None
        if self._recorded_song is None:
            self._recorded_song = open_song(self.aws_conn_id, bucket, prefix, music_task_id, self.extra_args)
        return self._recorded_song

    def _song_of_event(self, context: Context, bucket: str, prefix: str) -> SongArchive | None:
        music_task_id = _partition_key(context)
        return self._open_song(bucket, prefix, music_task_id) if music_task_id else None

    def _refused(self, context: Context, why: str) -> SongsRefused:
        """Return the refusal of the run, which an event's song keeps: the sweep would start it over and over."""
        refused, archive = SongsRefused(why), self._recorded_song
        if _partition_key(context) and archive and archive.pending():
            archive.record_failure(refused.reason, str(refused))
        return refused

    # --- before anything is paid ---

    def _tried_bucket(self, name: str, prefix: str) -> Bucket:
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.hooks.archive import open_bucket

        bucket = open_bucket(self.aws_conn_id, name, self.extra_args)
        bucket.try_to_write(ArchiveKeys(prefix).probe)
        return bucket

    def _note(self, context: Context, bucket: Bucket, prefix: str, order: SongOrder) -> _Noted:
        """Write the song's pending record, unless nothing that is asked for is missing in the bucket."""
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.archive.manifest import Wanted
        from airflow_kie.archive.pending import Options, Working
        from airflow_kie.archive.record_base import label_list
        from airflow_kie.archive.song_folder import SongArchive
        from airflow_kie.durable.xcom import result_of

        archive = SongArchive(bucket, ArchiveKeys(prefix).song(order.music_task_id))
        manifest = archive.manifest()
        wanted = Wanted(audio=order.archive_audio, lyrics=order.archive_lyrics)
        if manifest and not wanted.missing_in(manifest):
            archive.settle_pending()
            self.log.info("Song %s has all that is asked for.", order.music_task_id)
            return _Noted(order, result_of(bucket.name, archive.keys.manifest, manifest, changed=False))
        ti = context["ti"]
        pending = archive.update_pending(
            received_from=order.received_from,
            kie_conn_id=order.kie_conn_id,
            working=Working(dag_id=ti.dag_id, run_id=ti.run_id),
            labels=label_list(dict(order.labels)),
            options=Options(audio=order.archive_audio, lyrics=order.archive_lyrics),
            offered_cover_task_ids=(order.cover_task_id,) if order.cover_task_id else (),
        )
        pending = self._checked_offers(archive, order, pending)
        self.log.info("Song %s is noted, heard of by %s.", order.music_task_id, pending.received_from)
        return _Noted(order, cover_is_paid=bool(manifest or pending.cover_task_ids))

    def _checked_offers(self, archive: SongArchive, order: SongOrder, pending: Pending) -> Pending:
        """Take a cover task that somebody has named, if none is known as ours and KIE says that it is this song's."""
        offers = [name for name in pending.offered_cover_task_ids if name not in pending.refused_cover_task_ids]
        if pending.cover_task_ids or not offers:
            return pending
        with of_account(order.kie_conn_id):
            checked = check_offered(order.kie_conn_id, order.music_task_id, offers)
        if not (checked.cover_task_id or checked.refused):
            return pending
        ours = (checked.cover_task_id,) if checked.cover_task_id else ()
        return archive.update_pending(
            received_from=order.received_from, cover_task_ids=ours, refused_cover_task_ids=checked.refused
        )


@dataclass(frozen=True)
class _Noted:
    """A song once it is noted.

    :param order: what is asked for.
    :param archived: what stands in the bucket, if nothing is missing there.
    :param cover_is_paid: a cover task is known from an earlier run.
    """

    order: SongOrder
    archived: dict[str, Any] | None = None
    cover_is_paid: bool = False


def _misspelt(context: Context) -> list[str]:
    """Return which fields of the run's conf are misspelt: Airflow takes any name, and the form's value would hold."""
    run, dag = context.get("dag_run"), context.get("dag")
    return name_errors(run.conf or {}, list(dag.params)) if run and dag else []


def _partition_key(context: Context) -> str | None:
    key = context.get("partition_key")
    return str(key) if key else None


def _event_extra(context: Context) -> Mapping[str, Any]:
    """Return what the events of this run say of the song; a later event wins."""
    extra: dict[str, Any] = {}
    for events in (context.get("triggering_asset_events") or {}).values():
        for event in events:
            extra.update({name: value for name, value in (event.extra or {}).items() if value is not None})
    return extra


def _gathered(problems: list[str], read: Any, otherwise: Any) -> Any:
    try:
        return read()
    except ValueError as error:
        problems.append(str(error))
        return otherwise
