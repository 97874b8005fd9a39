"""Starting pending songs again: for `airflow kie redrive` and the status page, which reach Airflow's database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow_kie._airflow_private import metadata
from airflow_kie.archive.pending import Pending
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.assets import MUSIC
from airflow_kie.durable.task_state import source_key
from airflow_kie.links.kie import SONG_PAGES_DAG_ID

_DAG = SONG_PAGES_DAG_ID
NEVER_FAILED = "never failed"
STARTING = timedelta(minutes=2)
"""How long an event may take to become a run; a song whose event is younger is not started again."""


class NotStarted(Exception):
    """A song that is not to be started: the message says why."""


class NoEvent(Exception):
    """Airflow takes no event: no song can be started."""


def reason_of(pending: Pending) -> str:
    """Return why a song is pending: the reason of its last failure."""
    return pending.last_failure.reason if pending.last_failure else NEVER_FAILED


def why_skipped(pending: Pending) -> str:
    """Return why a song is not to be touched; empty if no run works on it."""
    music_task_id, working = pending.music_task_id, pending.working
    if pending.unconfirmed:
        return "only a callback names it, and KIE has not confirmed that it is a song; the reconciliation asks KIE"
    for dag_id, run_id, state in metadata.runs_of_song(music_task_id, source_key("cover", music_task_id)):
        if state in ("queued", "running"):
            return f"run {run_id} of {dag_id} works on it"
    if working and metadata.run_is_active(working.dag_id, working.run_id):
        return f"run {working.run_id} of {working.dag_id} works on it"
    if metadata.event_was_sent(MUSIC.uri, music_task_id, datetime.now(UTC) - STARTING):
        return "a run is about to start"
    return ""


def no_run_would_follow() -> str:
    """Return why no run would follow an event; empty: one would."""
    started = metadata.paused_dags(started_by=MUSIC.uri)
    if not started:
        return f"No DAG here waits for {MUSIC.uri}: is {_DAG} among this Airflow's DAGs? Nothing was started."
    if started.get(_DAG) or all(started.values()):
        named = _DAG if _DAG in started else next(iter(started))
        return f"{named} is paused, and Airflow drops events for a paused DAG. Unpause it first; nothing was done."
    return ""


def start_again(archive: SongArchive) -> None:
    """Send "music complete" for a song, as the reconciliation does; a run of `music_cover` follows.

    :raises NotStarted: when it is not pending any more, or a run works on it.
    :raises NoEvent: when no event could be sent.
    """
    music_task_id = archive.keys.music_task_id
    pending = archive.pending()  # the list from which it was chosen may be old
    if pending is None:
        raise NotStarted("it is not pending any more")
    if skipped := why_skipped(pending):
        raise NotStarted(skipped)
    # Its record is written first, so that the reconciliation leaves the song to the run that follows.
    archive.update_pending(received_from="inbox")
    extra = {"music_task_id": music_task_id, "kie_conn_id": pending.kie_conn_id, "received_from": "inbox"}
    known = {name: value for name, value in extra.items() if value}
    if not metadata.send_asset_event(MUSIC.uri, music_task_id, known):
        raise NoEvent(f"No event could be sent for {music_task_id}.")
