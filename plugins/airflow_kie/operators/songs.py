"""The two ends of a run of many songs: what is asked for, checked and noted; and what became of each."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowFailException

from airflow_kie import settings
from airflow_kie.client.errors import KieError
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.task import RETRIES, is_true
from airflow_kie.patience import bucket_place, patiently
from airflow_kie.retry import KieRetryPolicy
from airflow_kie.songs import (
    SongOrder,
    SongsRefused,
    ids_in,
    in_words,
    labels_in,
    mistakes_in_ids,
    mistakes_in_prefix,
    songs_in,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.bucket import Bucket

ARCHIVED_KEY = "archived_already"
"""XCom key of the songs that had all that was asked for before the run began."""
_PARALLEL = 8
"""Requests to S3 at a time, while songs are noted."""


class KieSongListOperator(BaseOperator):
    """Says which songs a run works on, and returns one map of arguments for each.

    The songs come from the event that made the run (its partition key is the music task id), otherwise from the
    arguments. Everything is checked first and all mistakes come in one message. Then the bucket is tried with a small
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
    :param songs: further songs that carry their own labels: ``[{"music_task_id": …, "labels": {…}}]``.
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

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Check, note and return the songs; a bucket that refuses is waited for in runs that nobody watches."""
        bucket = self.bucket or settings.text("bucket")
        places = [bucket_place(self.aws_conn_id, bucket, self.prefix or settings.text("prefix", "songs"))]
        return patiently(context, lambda: self._list(context), *(places if bucket else ()))

    def _list(self, context: Context) -> list[dict[str, Any]]:
        bucket = self.bucket or settings.text("bucket")
        prefix = (self.prefix or settings.text("prefix", "songs")).strip("/")
        orders, mistakes = self._orders(context, bucket, prefix)
        if not bucket:
            mistakes.append("No bucket is named, neither in the form nor as `bucket` in the [kie] configuration.")
        mistakes += mistakes_in_prefix(prefix)
        if mistakes:
            raise SongsRefused(" ".join(mistakes))
        for kie_conn_id in dict.fromkeys(order.kie_conn_id for order in orders):
            KieHook(kie_conn_id).account  # noqa: B018 - a connection that cannot be used is told of before any song
        opened = self._tried_bucket(bucket, prefix)
        note = functools.partial(self._note, context, opened, prefix)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            noted = list(pool.map(note, orders))
        archived = [archive for archive in noted if archive]
        context["ti"].xcom_push(key=ARCHIVED_KEY, value=archived)
        todo = [order for order, done in zip(orders, noted, strict=True) if not done]
        self.log.info("%s to work on, %s archived already.", in_words(len(todo)).capitalize(), in_words(len(archived)))
        return [_arguments(order, bucket, prefix) for order in todo]

    # --- what is asked for ---

    def _orders(self, context: Context, bucket: str, prefix: str) -> tuple[list[SongOrder], list[str]]:
        music_task_id = _partition_key(context)
        if music_task_id:
            told = {**self._noted_facts(bucket, prefix, music_task_id), **_event_extra(context)}
            return self._checked([{**told, "music_task_id": music_task_id}], heard_from="event")
        listed = [{"music_task_id": task_id} for task_id in ids_in(self.music_task_ids)]
        mistakes: list[str] = []
        own = _gathered(mistakes, functools.partial(songs_in, self.songs), [])
        orders, more = self._checked([*listed, *own], heard_from="form")
        mistakes += more
        if not orders and not mistakes:
            mistakes.append("No music task ids were given: paste them, one on a line, from kie.ai/logs.")
        limit = conf.getint("core", "max_map_length")
        if len(orders) > limit:
            mistakes.append(f"{len(orders)} songs were given, and one run takes at most {limit}: split the list.")
        return orders, mistakes

    def _checked(self, given: Iterable[Mapping[str, Any]], heard_from: str) -> tuple[list[SongOrder], list[str]]:
        mistakes: list[str] = []
        labels = _gathered(mistakes, functools.partial(labels_in, self.labels), {})
        orders: dict[str, SongOrder] = {}
        for song in given:
            task_id = str(song.get("music_task_id") or "")
            mistakes += mistakes_in_ids([task_id])
            own = _gathered(mistakes, functools.partial(labels_in, song.get("labels")), {})
            orders[task_id] = SongOrder(
                music_task_id=task_id,
                kie_conn_id=str(song.get("kie_conn_id") or self.kie_conn_id or KieHook.default_conn_name),
                labels={**labels, **own},
                archive_audio=self._asked("archive_audio", song),
                archive_lyrics=self._asked("archive_lyrics", song),
                heard_from=str(song.get("heard_from") or heard_from),
            )
        return list(orders.values()), [*mistakes, *_mistakes_in_connections(orders.values())]

    def _asked(self, option: str, song: Mapping[str, Any]) -> bool:
        return is_true(getattr(self, option)) or is_true(song.get(option, False)) or settings.flag(option)

    def _noted_facts(self, bucket: str, prefix: str, music_task_id: str) -> Mapping[str, Any]:
        """Return what the song's pending record says: many songs can share one event, and their labels stand there."""
        from airflow_kie.archive.records import label_map
        from airflow_kie.song_archive import SongArchive

        if not bucket or mistakes_in_ids([music_task_id]) or mistakes_in_prefix(prefix):
            return {}
        archive = SongArchive.open(self.aws_conn_id, bucket, prefix, music_task_id)
        archive.bucket.create_on_loopback()
        pending = archive.pending()
        if pending is None:
            return {}
        return {
            "kie_conn_id": pending.kie_conn_id,
            "labels": label_map(pending.labels),
            "archive_audio": pending.options.audio,
            "archive_lyrics": pending.options.lyrics,
            "heard_from": pending.heard_from,
        }

    # --- before anything is paid ---

    def _tried_bucket(self, name: str, prefix: str) -> Bucket:
        from airflow_kie.archive.keys import ArchiveKeys
        from airflow_kie.song_archive import open_bucket

        bucket = open_bucket(self.aws_conn_id, name)
        bucket.try_to_write(ArchiveKeys(prefix).probe)
        return bucket

    def _note(self, context: Context, bucket: Bucket, prefix: str, order: SongOrder) -> dict[str, Any] | None:
        """Write the song's pending record; return what stands in the bucket if nothing is missing there."""
        from airflow_kie.archive.keys import ArchiveKeys
        from airflow_kie.archive.pending import Options, Working
        from airflow_kie.archive.records import label_list
        from airflow_kie.song_archive import SongArchive, Wanted
        from airflow_kie.transfers.kie_to_s3 import result_of

        archive = SongArchive(bucket, ArchiveKeys(prefix).song(order.music_task_id))
        manifest = archive.manifest()
        wanted = Wanted(audio=order.archive_audio, lyrics=order.archive_lyrics)
        if manifest and not wanted.missing_in(manifest):
            archive.drop_pending()
            return result_of(bucket.name, archive.keys.manifest, manifest, changed=False)
        ti = context["ti"]
        archive.note(
            heard_from=order.heard_from,
            kie_conn_id=order.kie_conn_id,
            working=Working(dag_id=ti.dag_id, run_id=ti.run_id),
            labels=label_list(dict(order.labels)),
            options=Options(audio=order.archive_audio, lyrics=order.archive_lyrics),
        )
        return None


class KieSongReportOperator(BaseOperator):
    """Says what became of every song of a run, and fails if a song failed: it is the run's last task.

    :param songs: what :class:`KieSongListOperator` returned.
    :param list_task_id: its task id.
    :param archive_task_id: the task that archives.
    :param chain_task_ids: every task of a song, in order; the first one that failed explains the song.
    :param aws_conn_id: Airflow connection for S3: a failed song's pending record says why it is still owed, so that
        a later sweep knows whether starting it again can help.
    """

    template_fields: Sequence[str] = ("songs",)
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        songs: Any,
        list_task_id: str,
        archive_task_id: str,
        chain_task_ids: Sequence[str],
        aws_conn_id: str | None = "aws_default",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", RETRIES)
        super().__init__(**kwargs)
        self.songs = songs
        self.aws_conn_id = aws_conn_id
        self.list_task_id = list_task_id
        self.archive_task_id = archive_task_id
        self.chain_task_ids = tuple(chain_task_ids)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Log and return the table: song, result in words, keys, reason.

        :raises AirflowFailException: when a song is not archived, counting and naming them.
        """
        songs = self.songs
        if not isinstance(songs, list):
            raise AirflowFailException(
                f"Nothing was started: task {self.list_task_id} did not come to an end; its log says why."
            )
        rows = [*self._archived_before(context), *self._worked_on(context, songs)]
        context["ti"].xcom_push(key="table", value=rows)
        for row in rows:
            self.log.info("%s", " | ".join(str(cell) for cell in _cells(row)))
        failed = [row for row in rows if row["reason"]]
        if failed:
            raise AirflowFailException(_verdict(rows, failed))
        self.log.info("%s", _verdict(rows, failed))
        return rows

    def _archived_before(self, context: Context) -> list[dict[str, Any]]:
        pulled = _pulled(context, self.list_task_id, ARCHIVED_KEY)
        flat = [song for item in pulled for song in (item if isinstance(item, list) else [item])]
        return [_row(song, "archived already") for song in flat]

    def _worked_on(self, context: Context, songs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        archived = {song["music_task_id"]: song for song in _pulled(context, self.archive_task_id, "return_value")}
        failures: dict[str, Mapping[str, Any]] = {}
        for task_id in self.chain_task_ids:
            for failure in _pulled(context, task_id, FAILURE_KEY):
                failures.setdefault(failure["music_task_id"], failure)
        for song in songs:
            if song["music_task_id"] in failures and song["music_task_id"] not in archived:
                self._note_failure(song, failures[song["music_task_id"]])
        return [_outcome(song, archived, failures) for song in songs]

    def _note_failure(self, song: Mapping[str, Any], failure: Mapping[str, Any]) -> None:
        from airflow_kie.song_archive import SongArchive

        archive = SongArchive.open(self.aws_conn_id, song["bucket"], song["prefix"], song["music_task_id"])
        try:
            archive.note_failure(failure["reason"], failure["message"])
        except KieError as error:  # the report is still worth reading
            self.log.warning("Why song %s failed could not be noted in the bucket: %s", song["music_task_id"], error)


FAILURE_KEY = "failure"
"""XCom key under which a task of the chain says why it failed."""


def note_failure(context: Context) -> None:
    """Tell the run's report why a song failed: the `on_failure_callback` of the chain's tasks."""
    error = context.get("exception")
    task: Any = context["task"]
    ti = context["ti"]
    failure = {
        "music_task_id": getattr(task, "music_task_id", None),
        "task_id": ti.task_id,
        "reason": error.reason if isinstance(error, KieError) else type(error).__name__,
        "message": str(error),
    }
    ti.xcom_push(key=FAILURE_KEY, value=failure)


def _arguments(order: SongOrder, bucket: str, prefix: str) -> dict[str, Any]:
    """Return what the tasks of one song are given."""
    return {
        "music_task_id": order.music_task_id,
        "kie_conn_id": order.kie_conn_id,
        "bucket": bucket,
        "prefix": prefix,
        "archive_audio": order.archive_audio,
        "archive_lyrics": order.archive_lyrics,
        "labels": dict(order.labels),
    }


def _partition_key(context: Context) -> str | None:
    key = context.get("partition_key")
    return str(key) if key else None


def _event_extra(context: Context) -> Mapping[str, Any]:
    """Return what the events of this run say of the song; a later event wins."""
    extra: dict[str, Any] = {}
    for events in (context.get("triggering_asset_events") or {}).values():
        for event in events:
            extra.update(event.extra or {})
    return extra


def _mistakes_in_connections(orders: Iterable[SongOrder]) -> list[str]:
    allowed = settings.allowed_connections()
    strangers = sorted({order.kie_conn_id for order in orders} - set(allowed))
    return [
        f"The connection {name!r} is not one of `kie_conn_ids` in the [kie] configuration ({', '.join(allowed)})."
        for name in strangers
    ]


def _gathered(mistakes: list[str], read: Any, otherwise: Any) -> Any:
    try:
        return read()
    except ValueError as error:
        mistakes.append(str(error))
        return otherwise


def _pulled(context: Context, task_id: str, key: str) -> list[Any]:
    """Return what all instances of a task have pushed under a key."""
    pulled = context["ti"].xcom_pull(task_ids=task_id, key=key)
    values = pulled if isinstance(pulled, list) else [pulled]
    return [value for value in values if value is not None]


def _outcome(
    song: Mapping[str, Any], archived: Mapping[str, Mapping[str, Any]], failures: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    music_task_id = song["music_task_id"]
    if music_task_id in archived:
        return _row(archived[music_task_id], "archived")
    failure = failures.get(music_task_id)
    said = failure["message"] if failure else "it did not come to an end; the log of its red task says why"
    where = f"failed at {failure['task_id']}" if failure else "not archived"
    return _row({**song, "reason": said}, where)


def _row(song: Mapping[str, Any], result: str) -> dict[str, Any]:
    return {
        "music_task_id": song["music_task_id"],
        "title": song.get("title"),
        "result": result,
        "manifest_key": song.get("manifest_key"),
        "keys": [file["key"] for file in song.get("files", ())],
        "reason": song.get("reason"),
    }


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ", ".join(row["keys"]) or "no files"
    return (row["title"] or "", row["music_task_id"], row["result"], row["reason"] or keys)


def _verdict(rows: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]) -> str:
    """Return the last line: "nine songs are archived, three failed: …"."""
    archived = len(rows) - len(failed)
    verb = "is" if archived == 1 else "are"
    told = f"{in_words(archived).capitalize()} {verb} archived"
    if not failed:
        return f"{told}."
    named = " ".join(f"[{row['title'] or row['music_task_id']}] {row['reason']}" for row in failed)
    return f"{told}, {in_words(len(failed)).removesuffix('s').removesuffix(' song')} failed: {named}"
