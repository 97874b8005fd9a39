"""Operators of the inbox: read what was dropped, start its songs, move it away; and start again songs that were lost.

What people write into the inbox stays in the bucket. XComs, the conf of runs and run ids hold digests and checked ids
alone: Airflow renders maps that it expands from an XCom as templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError, AirflowSkipException

from airflow_kie import settings
from airflow_kie.archive.inbox.objects import (
    InboxObject,
    InboxUnreadable,
    shown,
)
from airflow_kie.archive.inbox.song_request import counted, first_of
from airflow_kie.assets import MUSIC
from airflow_kie.client.errors import KieConnectionInvalid, KieError, Remedy, error_class
from airflow_kie.durable.defaults import RETRIES
from airflow_kie.durable.retry_policy import KieRetryPolicy
from airflow_kie.hooks.kie import KieHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.inbox.bucket import InboxBucket, InboxOrder
    from airflow_kie.archive.inbox.quota import InboxDay
    from airflow_kie.archive.pending import Pending
    from airflow_kie.archive.s3.bucket import Bucket, ObjectFacts

AT_A_TIME = 200
"""Objects, and swept songs, that one run starts; the rest wait for the next run."""
SINGLE_SONGS_KEY = "single_songs"
"""XCom key of the songs that arrived alone: each gets a run by an event."""
TAKEN_KEY = "taken"
"""XCom key of the digests of the objects that were taken."""
ORDER_FIELD = "inbox_order"
"""Field of a run's conf: the digest of the inbox object whose songs it works on."""
_LOGGED = 500
"""Characters of a reason that the log shows; the whole of it is beside the object."""
_FAILED_SONG_PAUSE = timedelta(hours=1)


class KieInboxOperator(BaseOperator):
    """Reads what waits in `<bucket>/inbox/` and returns the runs to start for objects that name many songs.

    Each object is taken or rejected by itself, whatever is in it. Every song gets its pending record before anything
    is started, so it cannot be lost. An unreadable object goes to `inbox/rejected/` with a `.reason.txt` beside it;
    one that S3 does not give out stays and is tried again by the next run; what exceeds `[kie] inbox_songs_per_day`
    waits. Without `[kie] bucket` the task is skipped.

    :param aws_conn_id: Airflow connection for S3.
    """

    ui_color = "#eeeeee"

    def __init__(self, *, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        kwargs.setdefault("retries", RETRIES)
        kwargs.setdefault("retry_policy", KieRetryPolicy())
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id
        self._rejected = 0
        self._left: list[Exception] = []

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Read, record, reject; return the arguments of one run for each object of many songs.

        :raises Exception: what the first object has met, where S3 let none of them be taken or rejected.
        """
        try:
            inbox = _inbox(configured_bucket(self.aws_conn_id))
        except AirflowSkipException:
            context["ti"].xcom_push(key=TAKEN_KEY, value=[])  # the last task reads it whatever happens here
            raise
        day = _day(inbox.bucket)
        read = list(self._read_all(inbox, day))
        day.store()
        taken = [item for item in read if self._take(inbox, item)]
        if self._left and not taken and not self._rejected:
            raise self._left[0]
        single = [item.songs[0]["music_task_id"] for item in taken if len(item.songs) == 1]
        many = [item for item in taken if len(item.songs) > 1]
        context["ti"].xcom_push(key=SINGLE_SONGS_KEY, value=single)
        context["ti"].xcom_push(key=TAKEN_KEY, value=[item.digest for item in taken])
        self.log.info(
            "The inbox held %s that came alone and %s of many.",
            counted(len(single)),
            counted(len(many), "object"),
        )
        return [{"trigger_run_id": run_id_of(item.digest), "conf": {ORDER_FIELD: item.digest}} for item in many]

    def _read_all(self, inbox: InboxBucket, day: InboxDay) -> Iterator[InboxObject]:
        read = 0
        for facts in inbox.waiting():
            if max(read + self._rejected, len(self._left)) >= AT_A_TIME:
                self.log.info("More than %d objects wait; the rest is read by the next run.", AT_A_TIME)
                return
            try:
                item = self._read(inbox, day, facts.key)
            except Exception as error:  # noqa: BLE001 - whatever one object leads to, the others are read
                self._leave(inbox, facts.key, error)
                continue
            if item is None:
                continue
            if not day.takes(item):
                return
            read += 1
            yield item

    def _read(self, inbox: InboxBucket, day: InboxDay, key: str) -> InboxObject | None:
        found = inbox.version(key)
        if found is None:  # somebody took it back in the meantime
            return None
        version, body = found
        try:
            item = inbox.read(version, body)
            _check(item)
            day.check(item)
            inbox.check_records(item)
        except InboxUnreadable as error:
            self._reject(inbox, version, str(error))
            return None
        return item

    def _take(self, inbox: InboxBucket, item: InboxObject) -> bool:
        try:
            inbox.take(item, datetime.now(UTC))
        except Exception as error:  # noqa: BLE001 - of one object: the others are taken
            self._leave(inbox, item.key, error)
            return False
        return True

    def _reject(self, inbox: InboxBucket, version: ObjectFacts, reason: str) -> None:
        if inbox.reject(version, reason):
            self._rejected += 1
            self.log.warning("Inbox object %s was rejected: %s", shown(version.key), ascii(reason)[1:-1][:_LOGGED])
        else:
            self.log.info("Inbox object %s was replaced meanwhile; the next run reads it.", shown(version.key))

    def _leave(self, inbox: InboxBucket, key: str, error: Exception) -> None:
        """Leave an object where it is, unless the bucket does not answer at all.

        :raises S3Error: when it does not: no object is to blame then.
        """
        from airflow_kie.archive.layout import INBOX

        next(inbox.bucket.list_folder(INBOX), None)
        self._left.append(error)
        self.log.error(
            "Inbox object %s could not be taken and stays in the inbox; nothing was paid for it, and the next run "
            "tries it again. %s: %s", shown(key), type(error).__name__, str(error)[:_LOGGED],
        )  # fmt: skip


class KieDispatchSongsOperator(BaseOperator):
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
        return dispatch(self, context, list(self.music_task_ids or []))


class KieInboxCleanupOperator(BaseOperator):
    """Moves inbox objects to `inbox/done/`, each once its songs are started; the others are read again by the next run.

    Only the version that was read is moved: one that was put in its place since then is left for the next run.

    :param digests: the objects' digests.
    :param events_sent: what :class:`KieDispatchSongsOperator` returned: None while it has sent no event.
    :param trigger_dag_id: the DAG in which each object of many songs has its run.
    :param aws_conn_id: Airflow connection for S3.
    """

    template_fields: Sequence[str] = ("digests", "events_sent")
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        digests: Any,
        events_sent: Any,
        trigger_dag_id: str = "music_cover",
        aws_conn_id: str | None = "aws_default",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", RETRIES)
        kwargs.setdefault("retry_policy", KieRetryPolicy())
        super().__init__(**kwargs)
        self.digests = digests
        self.events_sent = events_sent
        self.trigger_dag_id = trigger_dag_id
        self.aws_conn_id = aws_conn_id

    def execute(self, context: Context) -> int:
        """Move what is still there; return how many objects that were.

        :raises AirflowSkipException: when nothing was taken.
        :raises KieError: what S3 said of the first object that could not be moved, after the others were.
        :raises AirflowFailException: when the songs of an object were not started, after the others were moved.
        """
        if not self.digests:
            raise AirflowSkipException("No inbox object was taken.")
        inbox = _inbox(configured_bucket(self.aws_conn_id))
        self._not_started: list[str] = []
        moved, failures = 0, []
        for digest in self.digests:
            try:
                moved += self._finish(context, inbox, digest)
            except KieError as error:
                failures.append(error)
                self.log.error("The inbox object with digest %s could not be moved to inbox/done/: %s", digest, error)
        inbox.drop_old_orders(datetime.now(UTC))
        self.log.info("%s moved to inbox/done/.", counted(moved, "object"))
        if failures:
            raise failures[0]
        if self._not_started:
            raise AirflowFailException(
                f"The songs of {counted(len(self._not_started), 'inbox object')} were not started, first those of "
                f"{self._not_started[0]}. Nothing was paid for them; the next run takes them again."
            )
        return moved

    def _finish(self, context: Context, inbox: InboxBucket, digest: str) -> bool:
        order = inbox.order(digest)
        if order is None:  # a retry, after the object was moved
            return False
        if not self._is_started(context, digest, order):
            self.log.warning("Inbox object %s stays in the inbox: its songs were not started.", shown(order.key))
            self._not_started.append(shown(order.key))
            return False
        moved = inbox.finish(digest, order)
        if not moved:
            self.log.info("Inbox object %s was replaced or taken back since it was read.", shown(order.key))
        return moved

    def _is_started(self, context: Context, digest: str, order: InboxOrder) -> bool:
        if len(order.songs) == 1:
            return self.events_sent is not None
        ti: Any = context["ti"]
        try:
            return bool(ti.get_dagrun_state(self.trigger_dag_id, run_id_of(digest)))
        except AirflowRuntimeError:  # there is no such run, or it is not known: the next run asks again
            return False


def run_id_of(digest: str) -> str:
    """Return the id of the one run for an inbox object: the same version never makes a second one."""
    return f"inbox__{digest}"


class KieReconcileOperator(BaseOperator):
    """Hands on again every song that is still owed something and that nobody works on.

    Airflow drops events for a paused DAG, and a run can be deleted. The pending records remember: a song is swept when
    its record is older than `[kie] reconcile_after_minutes`, no active run works on it, and its last failure is not one
    that only a person can fix; after any other failure it is given an hour.

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
        from airflow_kie.archive.song_folder import SongArchive

        bucket = configured_bucket(self.aws_conn_id)
        swept = []
        for pending in self._left(context, bucket):
            swept.append(pending.music_task_id)
            if len(swept) == AT_A_TIME:
                self.log.info("At least %d songs are owed something; the rest is swept by the next run.", AT_A_TIME)
                break
        for music_task_id in swept:
            archive = SongArchive(bucket, _archive_keys().song(music_task_id))
            archive.update_pending(received_from="inbox")  # younger now: not swept again at once
        return dispatch(self, context, swept)

    def _left(self, context: Context, bucket: Bucket) -> Iterator[Pending]:
        from airflow_kie.archive.pending import pending_songs
        from airflow_kie.operators.unconfirmed_songs import UnconfirmedSongs

        now = datetime.now(UTC)
        young = timedelta(minutes=settings.number("reconcile_after_minutes", 10))
        claimed = UnconfirmedSongs(bucket, _archive_keys())
        for pending in pending_songs(bucket, _archive_keys(), untouched_for=young):
            if not _may_start_again(pending, now) or _is_active(context, pending):
                continue
            if not pending.unconfirmed or claimed.is_song(pending):
                yield pending


def dispatch(operator: BaseOperator, context: Context, music_task_ids: Sequence[str]) -> int:
    """Add a partition for each song to the task's event; without songs the task is skipped, so no event is sent.

    :raises AirflowSkipException: when there is no song.
    """
    if not music_task_ids:
        raise AirflowSkipException("No song is to be handed on.")
    events = context["outlet_events"][MUSIC]
    events.add_partitions(list(music_task_ids))
    events.extra = {"received_from": "inbox"}
    operator.log.info("Handing on %s: %s.", counted(len(music_task_ids)), ", ".join(music_task_ids))
    return len(music_task_ids)


def configured_bucket(aws_conn_id: str | None) -> Bucket:
    """Return the bucket of the `[kie]` configuration.

    :raises AirflowSkipException: when none is configured: there is no inbox then.
    """
    from airflow_kie.hooks.archive import open_bucket

    name = settings.text("bucket")
    if not name:
        raise AirflowSkipException("No `bucket` is set in the [kie] configuration, so there is no inbox to read.")
    bucket = open_bucket(aws_conn_id, name)
    bucket.create_on_loopback()
    return bucket


def _archive_keys() -> Any:
    from airflow_kie.archive.layout import ArchiveKeys

    return ArchiveKeys(settings.text("prefix", "songs"))


def _inbox(bucket: Bucket) -> InboxBucket:
    from airflow_kie.archive.inbox.bucket import InboxBucket

    return InboxBucket(bucket, _archive_keys())


def _day(bucket: Bucket) -> InboxDay:
    from airflow_kie.archive.inbox.quota import InboxDay

    limit = int(settings.number("inbox_songs_per_day", 500))
    return InboxDay(bucket, _archive_keys().inbox_taken, limit, datetime.now(UTC))


def _check(item: InboxObject) -> None:
    """Refuse songs that `song_list` would refuse: the sender reads the reason, nobody watches the run."""
    limit = conf.getint("core", "max_map_length")
    if len(item.songs) > limit:
        raise InboxUnreadable(f"It names {len(item.songs)} songs, and one run takes at most {limit}: split it.")
    named = {song["kie_conn_id"] for song in item.songs if song.get("kie_conn_id")}
    problems = settings.connection_errors(named)
    if problems:
        raise InboxUnreadable(first_of(problems))
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
