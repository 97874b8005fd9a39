"""Operators of the inbox: read what was dropped, start its songs, move it away.

What people write into the inbox stays in the bucket. XComs, the conf of runs and run ids hold digests and checked ids
alone: Airflow renders maps that it expands from an XCom as templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError, AirflowSkipException

from airflow_kie import settings
from airflow_kie.archive.inbox.objects import InboxUnreadable, shown
from airflow_kie.archive.inbox.song_request import counted, first_of
from airflow_kie.archive.run_songs import MOST
from airflow_kie.assets import MUSIC, PENDING
from airflow_kie.client.errors import KieConnectionInvalid, KieError
from airflow_kie.durable.defaults import RETRIES
from airflow_kie.durable.retried import Retried
from airflow_kie.hooks.kie import KieHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.inbox.bucket import InboxBucket, InboxObject
    from airflow_kie.archive.s3.objects import ObjectFacts

AT_A_TIME = 200
"""Objects, and lost songs, that one run starts; the rest wait for the next run."""
SINGLE_SONGS_KEY = "single_songs"
"""XCom key of the songs that arrived alone: an event wakes the DAG that takes them."""
TAKEN_KEY = "taken"
"""XCom key of the digests of the objects that were taken."""
ORDER_FIELD = "inbox_order"
"""Field of a run's conf: the digest of the inbox object whose songs it works on."""
_LOGGED = 500
"""Characters of a reason that the log shows; the whole of it is beside the object."""


class InboxTask(Retried, BaseOperator):
    """Base of the tasks of DAG cover_inbox that use the bucket. Without `[kie] bucket` they are skipped.

    :param aws_conn_id: Airflow connection for S3.
    """

    ui_color = "#eeeeee"

    def __init__(self, *, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id

    def inbox(self) -> InboxBucket:
        """Return the inbox of the bucket of the `[kie]` configuration.

        :raises AirflowSkipException: when none is configured.
        """
        from airflow_kie.archive.inbox.bucket import InboxBucket
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.hooks.archive import open_bucket

        name = settings.text("bucket")
        if not name:
            raise AirflowSkipException("No `bucket` is set in the [kie] configuration, so no inbox is read.")
        bucket = open_bucket(self.aws_conn_id, name)
        bucket.create_on_loopback()
        return InboxBucket(bucket, ArchiveKeys(settings.text("prefix", "songs")))


class KieInboxOperator(InboxTask):
    """Reads the objects in `<bucket>/inbox/` and returns the runs to start for those that need one.

    Each object is accepted or rejected on its own. Every song gets its pending record before anything is started, so
    it cannot be lost. An invalid object is moved to `inbox/rejected/` with a `.reason.txt` beside it; an object that
    S3 cannot serve stays and is tried again by the next run; songs beyond `[kie] inbox_songs_per_day` wait.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._rejected = 0
        self._failures: list[Exception] = []

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Read, record, reject; return the arguments of a run for each object that needs one.

        :raises Exception: the error of the first object, if S3 let none of them be accepted or rejected.
        """
        context["ti"].xcom_push(key=TAKEN_KEY, value=[])  # the last task reads it whatever happens here
        inbox = self.inbox()
        read = self._read_all(inbox)
        taken = [item for item in read if self._take(inbox, item)]
        if self._failures and not taken and not self._rejected:
            raise self._failures[0]
        single = [item.songs[0].music_task_id for item in taken if item.needs_no_run]
        many = [item.digest for item in taken if not item.needs_no_run]
        context["ti"].xcom_push(key=SINGLE_SONGS_KEY, value=single)
        context["ti"].xcom_push(key=TAKEN_KEY, value=[item.digest for item in taken])
        self.log.info(
            "Accepted from the inbox: %s for one event, %s for a run each.",
            counted(len(single), "object"), counted(len(many), "object"),
        )  # fmt: skip
        return [{"trigger_run_id": run_id_of(digest), "conf": {ORDER_FIELD: digest}} for digest in many]

    def _read_all(self, inbox: InboxBucket) -> list[InboxObject]:
        """Return the objects that can be taken, counted among those of the day; reject what never can be."""
        now, limit = datetime.now(UTC), int(settings.number("inbox_songs_per_day", 500))
        day = before = inbox.day(now)
        read: list[InboxObject] = []
        for facts in inbox.waiting():
            if max(len(read) + self._rejected, len(self._failures)) >= AT_A_TIME:
                self.log.info("More than %d objects are in the inbox; the next run reads the rest.", AT_A_TIME)
                break
            try:
                item = self._read(inbox, facts.key, limit)
            except Exception as error:  # noqa: BLE001 - whatever one object leads to, the others are read
                self._leave(inbox, facts.key, error)
                continue
            if item and not day.has_room(item, limit):
                day = day.changed(full_at=now)
                break
            if item:
                day = day.with_songs_of(item, now)
                read.append(item)
        if day != before:
            inbox.store_day(day)
        return read

    def _read(self, inbox: InboxBucket, key: str, limit: int) -> InboxObject | None:
        found = inbox.version(key)
        if found is None:  # somebody took it back in the meantime
            return None
        try:
            item = inbox.read(*found)
            _check(item, limit)
            inbox.check_records(item)
        except InboxUnreadable as error:
            self._reject(inbox, found[0], str(error))
            return None
        return item

    def _take(self, inbox: InboxBucket, item: InboxObject) -> bool:
        try:
            inbox.take(item)
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
        self._failures.append(error)
        self.log.error(
            "Inbox object %s could not be accepted and stays in the inbox; nothing was paid for it, and the next run "
            "tries again. %s: %s", shown(key), type(error).__name__, str(error)[:_LOGGED],
        )  # fmt: skip


class KieDispatchSongsOperator(BaseOperator):
    """Sends a "music complete" event for each song, with the song as its partition, and one that starts `music_cover`.

    :param music_task_ids: the songs.
    """

    template_fields: Sequence[str] = ("music_task_ids",)
    ui_color = "#eeeeee"

    def __init__(self, *, music_task_ids: Any, **kwargs: Any) -> None:
        super().__init__(**{"retries": RETRIES, "outlets": [MUSIC, PENDING], **kwargs})
        self.music_task_ids = music_task_ids

    def execute(self, context: Context) -> int:
        """Send the events; return the number of songs.

        :raises AirflowSkipException: when no songs are given; no event is sent then.
        """
        songs = list(self.music_task_ids or [])
        if not songs:
            raise AirflowSkipException("No song needs to be dispatched.")
        events = context["outlet_events"][MUSIC]
        events.add_partitions(songs)
        events.extra = context["outlet_events"][PENDING].extra = {"received_from": "inbox"}
        self.log.info("Dispatched %s: %s.", counted(len(songs)), ", ".join(songs))
        return len(songs)


class KieInboxCleanupOperator(InboxTask):
    """Moves inbox objects whose songs were started to `inbox/done/`; the next run reads the others again.

    Only the version that was read is moved: if the object was replaced since, the new version is left for the next run.

    :param digests: the objects' digests.
    :param events_sent: what :class:`KieDispatchSongsOperator` returned; None if it sent no event.
    """

    template_fields: Sequence[str] = ("digests", "events_sent")

    def __init__(self, *, digests: Any, events_sent: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.digests = digests
        self.events_sent = events_sent

    def execute(self, context: Context) -> int:
        """Move the objects that are still there; return how many were moved.

        :raises AirflowSkipException: when no object was accepted.
        :raises KieError: S3's error for the first object that could not be moved, after the others were moved.
        :raises AirflowFailException: when the songs of an object were not started, after the others were moved.
        """
        if not self.digests:
            raise AirflowSkipException("No inbox object was accepted.")
        inbox = self.inbox()
        moved, failures, not_started = 0, [], []
        for digest in self.digests:
            try:
                item = inbox.taken(digest)
                if item is None:  # a retry, after the object was moved
                    continue
                if self._is_started(context, item):
                    moved += inbox.finish(item)  # unless it was replaced or taken back since it was read
                else:
                    not_started.append(shown(item.key))
                    self.log.warning("Inbox object %s stays in the inbox: its songs were not started.", shown(item.key))
            except KieError as error:
                failures.append(error)
                self.log.error("The inbox object with digest %s could not be moved to inbox/done/: %s", digest, error)
        inbox.drop_old_objects(datetime.now(UTC))
        self.log.info("%s moved to inbox/done/.", counted(moved, "object"))
        if failures:
            raise failures[0]
        if not_started:
            raise AirflowFailException(
                f"The songs of {counted(len(not_started), 'inbox object')} were not started, first those of "
                f"{not_started[0]}. Nothing was paid for them; the next run tries again."
            )
        return moved

    def _is_started(self, context: Context, item: InboxObject) -> bool:
        if item.needs_no_run:
            return self.events_sent is not None
        ti: Any = context["ti"]
        try:
            return bool(ti.get_dagrun_state("music_cover", run_id_of(item.digest)))
        except AirflowRuntimeError:  # no such run, or Airflow does not say: the next run asks again
            return False


def run_id_of(digest: str) -> str:
    """Return the id of the one run for an inbox object: the same version never makes a second one."""
    return f"inbox__{digest}"


def _check(item: InboxObject, day: int) -> None:
    """Refuse what can never be taken as a whole, or `song_list` would refuse: the sender reads the reason."""
    count, limit = len(item.songs), MOST * conf.getint("core", "max_map_length")
    if count > limit:
        raise InboxUnreadable(f"It names {count} songs, but one run takes at most {limit}: split it.")
    if count > day:
        raise InboxUnreadable(
            f"It names {counted(count)}; at most {day} are accepted in 24 hours "
            "(inbox_songs_per_day in the [kie] configuration)."
        )
    named = {song.kie_conn_id for song in item.songs if song.kie_conn_id}
    if problems := settings.connection_errors(named):
        raise InboxUnreadable(first_of(problems))
    for name in sorted(named):
        try:
            KieHook(name).account  # noqa: B018 - asking for it checks it
        except KieConnectionInvalid as error:
            raise InboxUnreadable(f"{error.facts.message}.") from error
