"""Operators of the inbox: read what was dropped, hand it on, put it away; and hand on again what was lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowRuntimeError, AirflowSkipException

from airflow_kie import settings
from airflow_kie.assets import MUSIC
from airflow_kie.client.errors import KieConnectionInvalid, Remedy, error_class
from airflow_kie.hooks.kie import KieHook
from airflow_kie.inbox import MAX_BYTES, InboxObject, InboxUnreadable, read_object, run_for, waiting_keys
from airflow_kie.one_line import one_line
from airflow_kie.operators.task import RETRIES, is_true
from airflow_kie.owed_songs import owed_songs
from airflow_kie.retry import KieRetryPolicy
from airflow_kie.songs import in_words

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.bucket import Bucket
    from airflow_kie.archive.pending import Pending
    from airflow_kie.inbox_day import InboxDay

AT_A_TIME = 200
"""Objects, and swept songs, that one run hands on; the rest wait for the next run."""
SINGLE_SONGS_KEY = "single_songs"
"""XCom key of the songs that arrived alone: each gets a run by an event."""
READ_KEYS_KEY = "read_keys"
"""XCom key of the inbox objects to put away."""
_FAILED_SONG_PAUSE = timedelta(hours=1)


class KieInboxOperator(BaseOperator):
    """Reads what waits in `<bucket>/inbox/` and returns the runs to start for objects that name many songs.

    Every song gets its pending record before anything is handed on, so it cannot be lost. An unreadable object goes
    to `inbox/rejected/` with a `.reason.txt` beside it; what exceeds `[kie] inbox_songs_per_day` waits. Without
    `[kie] bucket` the task is skipped.

    :param aws_conn_id: Airflow connection for S3.
    """

    ui_color = "#eeeeee"

    def __init__(self, *, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        kwargs.setdefault("retries", RETRIES)
        kwargs.setdefault("retry_policy", KieRetryPolicy())
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Read, note, reject; return the arguments of one run for each object of many songs."""
        bucket = configured_bucket(self.aws_conn_id)
        day = _day(bucket)
        objects = list(self._objects(bucket, day))
        if objects:
            day.store()
        for item in objects:
            for song in item.songs:
                _note_heard(bucket, song)
        single = [str(item.songs[0]["music_task_id"]) for item in objects if len(item.songs) == 1]
        many = [item for item in objects if len(item.songs) > 1]
        context["ti"].xcom_push(key=SINGLE_SONGS_KEY, value=single)
        context["ti"].xcom_push(key=READ_KEYS_KEY, value=[item.key for item in objects])
        self.log.info(
            "The inbox held %s that came alone and %s of many.",
            in_words(len(single)),
            in_words(len(many), "object"),
        )
        return [run_for(item) for item in many]

    def _objects(self, bucket: Bucket, day: InboxDay) -> Iterator[InboxObject]:
        from airflow_kie.archive.keys import INBOX

        listed = ((facts.key, facts.size) for facts in bucket.list(INBOX))
        sizes = dict(listed)
        for number, key in enumerate(waiting_keys(iter(sizes))):
            if number >= AT_A_TIME:
                self.log.info("More than %d objects wait; the rest is read by the next run.", AT_A_TIME)
                return
            try:
                if sizes[key] > MAX_BYTES:
                    raise InboxUnreadable(f"It has {sizes[key]:,} bytes; at most {MAX_BYTES:,} are read.")
                body = bucket.get_bytes(key, max_bytes=MAX_BYTES)
                if body is not None:  # somebody took it back in the meantime
                    item = read_object(key, body)
                    _check(item)
                    day.check(item)
                    if not day.takes(item):
                        return
                    yield item
            except InboxUnreadable as error:
                self._reject(bucket, key, str(error))

    def _reject(self, bucket: Bucket, key: str, reason: str) -> None:
        from airflow_kie.archive.keys import inbox_rejected_keys

        rejected, reason_key = inbox_rejected_keys(key)
        text = f"{reason}\nNothing of this object was taken. Correct it and put it into inbox/ again.\n"
        bucket.put_bytes(text.encode(), reason_key, content_type="text/plain; charset=utf-8")
        bucket.move(key, rejected)
        self.log.warning("Inbox object %s was rejected: %s", one_line(key), one_line(reason))


class KieHandOnOperator(BaseOperator):
    """Sends "music complete" for songs, as one event with a partition for each: one run of `music_cover` follows each.

    :param music_task_ids: the songs.
    """

    template_fields: Sequence[str] = ("music_task_ids",)
    ui_color = "#eeeeee"

    def __init__(self, *, music_task_ids: Any, **kwargs: Any) -> None:
        kwargs.setdefault("retries", RETRIES)
        super().__init__(outlets=[MUSIC], **kwargs)
        self.music_task_ids = music_task_ids

    def execute(self, context: Context) -> int:
        """Send the events; return how many songs were handed on."""
        return hand_on(self, context, list(self.music_task_ids or []))


class KiePutAwayOperator(BaseOperator):
    """Moves inbox objects to `inbox/done/`, once their songs are handed on.

    :param keys: the objects' keys.
    :param aws_conn_id: Airflow connection for S3.
    """

    template_fields: Sequence[str] = ("keys",)
    ui_color = "#eeeeee"

    def __init__(self, *, keys: Any, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        kwargs.setdefault("retries", RETRIES)
        kwargs.setdefault("retry_policy", KieRetryPolicy())
        super().__init__(**kwargs)
        self.keys = keys
        self.aws_conn_id = aws_conn_id

    def execute(self, context: Context) -> int:
        """Move what still stands in the inbox; return how many objects that were."""
        from airflow_kie.archive.keys import inbox_done_key

        bucket = configured_bucket(self.aws_conn_id)
        standing = [key for key in self.keys or [] if bucket.head(key)]
        for key in standing:
            bucket.move(key, inbox_done_key(key))
        self.log.info("%s put away in inbox/done/.", in_words(len(standing), "object").capitalize())
        return len(standing)


class KieSweepOperator(BaseOperator):
    """Hands on again every song that is still owed something and that nobody works on.

    Airflow drops events for a paused DAG, and a run can be deleted. The pending records remember: a song is swept when
    its record is older than `[kie] sweep_after_minutes`, no active run works on it, and its last failure is not one
    that only a person can mend; after any other failure it is given an hour.

    :param aws_conn_id: Airflow connection for S3.
    """

    ui_color = "#eeeeee"

    def __init__(self, *, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        kwargs.setdefault("retries", RETRIES)
        kwargs.setdefault("retry_policy", KieRetryPolicy())
        super().__init__(outlets=[MUSIC], **kwargs)
        self.aws_conn_id = aws_conn_id

    def execute(self, context: Context) -> int:
        """Send the events; return how many songs were handed on again."""
        bucket = configured_bucket(self.aws_conn_id)
        swept = []
        for pending in self._left(context, bucket):
            swept.append(pending.music_task_id)
            if len(swept) == AT_A_TIME:
                self.log.info("At least %d songs are owed something; the rest is swept by the next run.", AT_A_TIME)
                break
        for music_task_id in swept:
            _note_heard(bucket, {"music_task_id": music_task_id})  # younger now: not swept again at once
        return hand_on(self, context, swept)

    def _left(self, context: Context, bucket: Bucket) -> Iterator[Pending]:
        from airflow_kie.unconfirmed_songs import UnconfirmedSongs

        now = datetime.now(UTC)
        young = timedelta(minutes=settings.number("sweep_after_minutes", 10))
        claimed = UnconfirmedSongs(bucket, _archive_keys())
        for pending in owed_songs(bucket, _archive_keys(), untouched_for=young):
            if not _may_start_again(pending, now) or _is_active(context, pending):
                continue
            if not pending.unconfirmed or claimed.is_song(pending):
                yield pending


def hand_on(operator: BaseOperator, context: Context, music_task_ids: Sequence[str]) -> int:
    """Add a partition for each song to the task's event; without songs the task is skipped, so no event is sent.

    :raises AirflowSkipException: when there is no song.
    """
    if not music_task_ids:
        raise AirflowSkipException("No song is to be handed on.")
    events = context["outlet_events"][MUSIC]
    events.add_partitions(list(music_task_ids))
    events.extra = {"heard_from": "inbox"}
    operator.log.info("Handing on %s: %s.", in_words(len(music_task_ids)), ", ".join(music_task_ids))
    return len(music_task_ids)


def configured_bucket(aws_conn_id: str | None) -> Bucket:
    """Return the bucket of the `[kie]` configuration.

    :raises AirflowSkipException: when none is configured: there is no inbox then.
    """
    from airflow_kie.song_archive import open_bucket

    name = settings.text("bucket")
    if not name:
        raise AirflowSkipException("No `bucket` is set in the [kie] configuration, so there is no inbox to read.")
    bucket = open_bucket(aws_conn_id, name)
    bucket.create_on_loopback()
    return bucket


def _archive_keys() -> Any:
    from airflow_kie.archive.keys import ArchiveKeys

    return ArchiveKeys(settings.text("prefix", "songs"))


def _note_heard(bucket: Bucket, song: Mapping[str, Any]) -> None:
    from airflow_kie.archive.pending import Options
    from airflow_kie.archive.records import label_list
    from airflow_kie.song_archive import SongArchive

    known: dict[str, Any] = {
        "options": Options(
            audio=is_true(song.get("archive_audio", False)), lyrics=is_true(song.get("archive_lyrics", False))
        ),
        "labels": label_list({str(name): str(text) for name, text in (song.get("labels") or {}).items()}),
    }
    if song.get("cover_task_id"):
        known["cover_task_ids"] = (str(song["cover_task_id"]),)
    if song.get("kie_conn_id"):
        known["kie_conn_id"] = str(song["kie_conn_id"])
    SongArchive(bucket, _archive_keys().song(str(song["music_task_id"]))).note(heard_from="inbox", **known)


def _day(bucket: Bucket) -> InboxDay:
    from airflow_kie.inbox_day import InboxDay

    limit = int(settings.number("inbox_songs_per_day", 500))
    return InboxDay(bucket, _archive_keys().inbox_taken, limit, datetime.now(UTC))


def _check(item: InboxObject) -> None:
    """Refuse songs that `song_list` would refuse: the sender reads the reason, nobody watches the run."""
    limit = conf.getint("core", "max_map_length")
    if len(item.songs) > limit:
        raise InboxUnreadable(f"It names {len(item.songs)} songs, and one run takes at most {limit}: split it.")
    named = {str(song["kie_conn_id"]) for song in item.songs if song.get("kie_conn_id")}
    mistakes = settings.mistakes_in_connections(named)
    if mistakes:
        raise InboxUnreadable(" ".join(mistakes))
    for name in sorted(named):
        try:
            KieHook(name).account  # noqa: B018 - asking for it checks it
        except KieConnectionInvalid as error:
            raise InboxUnreadable(f"{error.facts.message}.") from error


def _may_start_again(pending: Pending, now: datetime) -> bool:
    failure = pending.last_failure
    if failure is None:
        return True
    known = error_class(failure.reason)
    remedy = known.remedy if known else Remedy.READ_AGAIN
    return remedy is not Remedy.PERSON and now - failure.at >= _FAILED_SONG_PAUSE


def _is_active(context: Context, pending: Pending) -> bool:
    """Return whether the run that works on a song goes on; a run that was deleted does not."""
    if pending.working is None:
        return False
    ti: Any = context["ti"]
    try:
        state: Any = ti.get_dagrun_state(pending.working.dag_id, pending.working.run_id)
    except AirflowRuntimeError:
        return False
    return getattr(state, "value", state) in ("queued", "running")  # an enum member, whose str() is its name
