"""Starting pending songs again: for `airflow kie redrive` and the status page, which reach Airflow's database."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from airflow_kie._airflow_private import metadata
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.archive.manifest import AirflowRecord
from airflow_kie.archive.pending import Pending
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.assets import PENDING
from airflow_kie.durable.task_state import source_key
from airflow_kie.links.kie import SONG_PAGES_DAG_ID

log = logging.getLogger(__name__)

_DAG = SONG_PAGES_DAG_ID
NEVER_FAILED = "never failed"
NAMED = 100
"""Songs that one event names: what it says travels with every task of the run that it wakes."""


class NoEvent(Exception):
    """Airflow takes no event: no song can be started."""


def reason_of(pending: Pending) -> str:
    """Return why a song is pending: the reason of its last failure."""
    return pending.last_failure.reason if pending.last_failure else NEVER_FAILED


def why_skipped(pending: Pending) -> str:
    """Return why a song is not to be started; empty: it can be."""
    if pending.unconfirmed:
        return "only a callback named it, and KIE has not confirmed that it is a song; the reconciliation asks KIE"
    return who_works_on(pending)


def who_works_on(pending: Pending) -> str:
    """Return which run works on a song, so that it is not to be touched; empty: none does."""
    music_task_id, working = pending.music_task_id, pending.working
    for dag_id, run_id, state in metadata.runs_of_song(music_task_id, source_key("cover", music_task_id)):
        if state in ("queued", "running"):
            return f"run {run_id} of {dag_id} works on it"
    if working and metadata.run_is_active(working.dag_id, working.run_id):
        return f"run {working.run_id} of {working.dag_id} works on it"
    return ""


def why_busy(song: str, airflow: AirflowRecord, pending: Pending | None) -> str:
    """Return why a result is not to be deleted; empty if no run works on it.

    :param song: the music task id of the song that it belongs to; empty: it belongs to none.
    :param airflow: the Airflow task that has archived it.
    :param pending: the song's pending record.
    """
    if pending and (why := who_works_on(pending)):
        return why
    active = [
        f"run {run_id} of {dag_id} works on it"
        for dag_id, run_id, state in (metadata.runs_of_song(song, source_key("cover", song)) if song else ())
        if state in ("queued", "running")
    ]
    if active:
        return active[0]
    if airflow.dag_id and airflow.run_id and metadata.run_is_active(airflow.dag_id, airflow.run_id):
        return f"run {airflow.run_id} of {airflow.dag_id}, which has archived it, is still active"
    return ""


def no_run_would_follow() -> str:
    """Return why no run would follow an event; empty: one would."""
    started = metadata.paused_dags(started_by=PENDING.uri)
    if not started:
        return f"No DAG is scheduled on {PENDING.uri}: is {_DAG} installed in this Airflow? Nothing was started."
    if started.get(_DAG) or all(started.values()):
        named = _DAG if _DAG in started else next(iter(started))
        return f"{named} is paused, and Airflow drops events for a paused DAG. Unpause it first; nothing was done."
    return ""


def _why_left(archive: SongArchive) -> str:
    """Return why a song is left alone; the list from which it was chosen may be old."""
    try:
        pending = archive.pending()
    except ArchiveUnreadable as error:  # it alone
        log.warning("%s", error)
        return "its pending record cannot be read"
    return "it is no longer pending" if pending is None else why_skipped(pending)


def start_again(songs: Sequence[SongArchive]) -> dict[str, str]:
    """Wake a run of `music_cover` that takes songs; return why the others are left alone, by music task id.

    :raises NoEvent: when no event could be sent.
    """
    left: dict[str, str] = {}
    for archive in songs:
        if why := _why_left(archive):
            left[archive.keys.music_task_id] = why
    named = [song for archive in songs if (song := archive.keys.music_task_id) not in left]
    for start in range(0, len(named), NAMED):
        extra = {"music_task_ids": named[start : start + NAMED], "received_from": "inbox"}
        if not metadata.send_asset_event(PENDING.uri, None, extra):
            raise NoEvent(f"The event could not be sent. {counted(start)} were started before.")
    return left
