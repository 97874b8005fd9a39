"""Starts again the songs that were lost, and asks KIE about those that a callback alone has named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from airflow_kie import settings
from airflow_kie.assets import PENDING
from airflow_kie.client.errors import KieError
from airflow_kie.client.task_lookup import Claim, ask_kie
from airflow_kie.durable.active_runs import ActiveRuns
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.event_songs import NamedSongs
from airflow_kie.operators.inbox import AT_A_TIME, InboxTask

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.inbox.bucket import InboxBucket
    from airflow_kie.archive.pending import Pending
    from airflow_kie.archive.song_folder import SongArchive


class KieReconcileOperator(InboxTask):
    """Starts `music_cover` for every pending song that no run works on.

    Airflow drops events for a paused DAG, and a run can be deleted; the pending records in the bucket remain. A song
    that was never tried is started once its record is older than `[kie] reconcile_after_minutes`. A song that failed
    is retried after an hour, then after twice as long each time, at most a day. A failure that only a person can fix
    is left to that person. Songs named only by lost events are started too. Listings decide what is due: only the
    records of songs that were never tried are read, oldest first.

    For a song that only a callback has named, KIE is asked with the key of the connection that was called. If KIE does
    not know the song in two runs of this task, its record is deleted; until KIE can be asked, the record stays.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"inlets": [PENDING], "outlets": [PENDING], **kwargs})
        self._silent: set[str] = set()

    def execute(self, context: Context) -> int:
        """Send the event; return how many songs were lost or are due for a retry.

        :raises AirflowSkipException: when there are none; no event is sent then.
        """
        from airflow_kie.archive.pending import list_held, list_pending

        inbox, now = self.inbox(), datetime.now(UTC)
        young = timedelta(minutes=settings.number("reconcile_after_minutes", 10))
        runs = ActiveRuns(context["ti"])
        claimed = runs.songs_of_others(inbox.bucket, inbox.keys, read_only=True)
        since = {song.music_task_id: facts.last_modified for song, facts in list_pending(inbox.bucket, inbox.keys)}
        held = list_held(inbox.bucket, inbox.keys)
        waiting = [song for song in since if song not in claimed]
        due = [song for song in waiting if song in held and held[song].is_due(now)]
        untried = [song for song in waiting if song not in held and now - since[song] >= young]
        lost = list(self._lost(inbox, runs, sorted(untried, key=since.__getitem__)[:AT_A_TIME]))
        if not (due or lost or NamedSongs(context).wait_since(now - young)):
            raise AirflowSkipException("No song needs to be restarted.")
        # What was never tried is taken by whatever run is woken, unless KIE has confirmed it only now.
        named = [*(pending.music_task_id for pending in lost if pending.unconfirmed), *due]
        extra: Any = {"music_task_ids": named[:AT_A_TIME], "received_from": "inbox"}
        context["outlet_events"][PENDING].extra = extra
        self.log.info("Started music_cover: %d songs were never tried, %d failed ones are due.", len(lost), len(due))
        return len(lost) + len(due)

    def _lost(self, inbox: InboxBucket, runs: ActiveRuns, songs: Sequence[str]) -> Iterator[Pending]:
        from airflow_kie.archive.pending import readable

        for song in songs:
            pending = readable(inbox.bucket, inbox.keys.song(song))
            working = pending.working if pending else None
            if pending is None or (working and runs.has(working.dag_id, working.run_id)):
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
                    "A callback named %s as a finished song, but KIE does not know it: its pending record was "
                    "deleted. Nothing was paid for it.",
                    pending.music_task_id,
                )
        elif claim is Claim.NOT_FOUND:
            archive.update_pending(received_from=pending.received_from, unconfirmed=claim.value)
        elif claim is Claim.SONG:
            archive.update_pending(received_from=pending.received_from)  # it counts as confirmed
        return claim is Claim.SONG

    def _ask(self, kie_conn_id: str, music_task_id: str) -> Claim:
        """Ask KIE; an account that once did not answer is not asked again by this run."""
        if kie_conn_id in self._silent:
            return Claim.NOT_ASKED
        try:
            claim = ask_kie(KieHook(kie_conn_id).get_conn(), music_task_id)
        except KieError as error:
            self.log.warning("KIE could not be asked about %s. %s: %s.", music_task_id, error.what, error.facts.message)
            claim = Claim.NOT_ASKED
        if claim is Claim.NOT_ASKED:
            self._silent.add(kie_conn_id)
        return claim


def _archive(inbox: InboxBucket, music_task_id: str) -> SongArchive:
    from airflow_kie.archive.song_folder import SongArchive

    return SongArchive(inbox.bucket, inbox.keys.song(music_task_id))
