"""Starts again the songs that were lost, and asks KIE about those that a callback alone has named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowRuntimeError

from airflow_kie import settings
from airflow_kie.assets import MUSIC
from airflow_kie.client.errors import KieError, Remedy, error_class
from airflow_kie.client.task_lookup import Claim, ask_kie
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.inbox import AT_A_TIME, InboxTask, dispatch

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.inbox.bucket import InboxBucket
    from airflow_kie.archive.pending import Pending
    from airflow_kie.archive.song_folder import SongArchive

_FAILED_SONG_PAUSE = timedelta(hours=1)


class KieReconcileOperator(InboxTask):
    """Dispatches again every song that is still pending and that nobody works on.

    Airflow drops events for a paused DAG, and a run can be deleted. The pending records remember: a song is dispatched
    when its record is older than `[kie] reconcile_after_minutes`, no active run works on it, and its last failure is
    not one that only a person can fix; after any other failure it is given an hour.

    Where a callback alone has named a song, KIE is asked with the key of the connection that was called. What KIE does
    not know is deleted once two runs of this task agree; until KIE can be asked, the record stays.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"outlets": [MUSIC], **kwargs})
        self._silent: set[str] = set()

    def execute(self, context: Context) -> int:
        """Send the events; return for how many songs."""
        inbox = self.inbox()
        songs = [pending.music_task_id for pending in islice(self._lost(context, inbox), AT_A_TIME)]
        if len(songs) == AT_A_TIME:
            self.log.info("At least %d songs are pending; the next run dispatches the rest.", AT_A_TIME)
        for music_task_id in songs:
            _archive(inbox, music_task_id).update_pending(
                received_from="inbox"
            )  # younger now: not dispatched again at once
        return dispatch(self, context, songs)

    def _lost(self, context: Context, inbox: InboxBucket) -> Iterator[Pending]:
        from airflow_kie.archive.pending import pending_songs

        now = datetime.now(UTC)
        young = timedelta(minutes=settings.number("reconcile_after_minutes", 10))
        for pending in pending_songs(inbox.bucket, inbox.keys, untouched_for=young):
            if not _may_start_again(pending, now) or _is_active(context, pending):
                continue
            if not pending.unconfirmed or self._is_song(inbox, pending):
                yield pending

    def _is_song(self, inbox: InboxBucket, pending: Pending) -> bool:
        """Return whether KIE confirms a song that a callback has named; its record is changed, or deleted, if not."""
        claim = self._ask(pending.kie_conn_id or KieHook.default_conn_name, pending.music_task_id)
        archive = _archive(inbox, pending.music_task_id)
        if claim is Claim.OTHER or claim.value == pending.unconfirmed == Claim.NOT_FOUND:
            if archive.pending() == pending:  # no run and no other callback has written it since
                archive.drop_pending()
                self.log.warning(
                    "A callback named %s as a finished song, and KIE knows no such song: its pending record is "
                    "deleted. Nothing was paid for.",
                    pending.music_task_id,
                )
        elif claim is Claim.NOT_FOUND:
            archive.update_pending(received_from=pending.received_from, unconfirmed=claim.value)
        return claim is Claim.SONG

    def _ask(self, kie_conn_id: str, music_task_id: str) -> Claim:
        """Ask KIE; an account that once did not answer is not asked again by this run."""
        if kie_conn_id in self._silent:
            return Claim.NOT_ASKED
        try:
            claim = ask_kie(KieHook(kie_conn_id).get_conn(), music_task_id)
        except KieError as error:
            self.log.warning("KIE cannot be asked about %s. %s: %s.", music_task_id, error.what, error.facts.message)
            claim = Claim.NOT_ASKED
        if claim is Claim.NOT_ASKED:
            self._silent.add(kie_conn_id)
        return claim


def _archive(inbox: InboxBucket, music_task_id: str) -> SongArchive:
    from airflow_kie.archive.song_folder import SongArchive

    return SongArchive(inbox.bucket, inbox.keys.song(music_task_id))


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
