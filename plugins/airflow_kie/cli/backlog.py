"""A song that is owed something, as the commands speak of it: why, what of it is paid for, and who works on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from airflow_kie._airflow_private import metadata
from airflow_kie.archive.pending import Pending
from airflow_kie.assets import MUSIC
from airflow_kie.durable.task_state import source_key

UNDER_WAY = timedelta(minutes=2)
"""How long an event may take to become a run; a song whose event is younger is not handed on again."""
NEVER_FAILED = "never failed"


@dataclass(frozen=True)
class BacklogSong:
    """A song that is owed something.

    :param pending: its record.
    :param left: why it is not started again; empty if it is.
    """

    pending: Pending
    left: str

    @property
    def reason(self) -> str:
        """Why it is still owed, in a word."""
        return self.pending.last_failure.reason if self.pending.last_failure else NEVER_FAILED

    def line(self) -> str:
        """Return it as a line."""
        paid = f"cover {self.pending.cover_task_ids[-1]} is paid" if self.pending.cover_task_ids else "no cover yet"
        what = f"left, {self.left}" if self.left else "start"
        title = f" {self.pending.title}" if self.pending.title else ""
        return f"{what}: {self.pending.music_task_id}{title}, {self.reason}, {paid}"


def why_left(pending: Pending) -> str:
    """Return why a song is left alone; empty if nobody works on it."""
    music_task_id, working = pending.music_task_id, pending.working
    if pending.unconfirmed:
        return "only a callback names it, and KIE has not confirmed that it is a song; the sweep asks KIE"
    for dag_id, run_id, state in metadata.runs_of_song(music_task_id, source_key("cover", music_task_id)):
        if state in ("queued", "running"):
            return f"run {run_id} of {dag_id} works on it"
    if working and metadata.run_is_active(working.dag_id, working.run_id):
        return f"run {working.run_id} of {working.dag_id} works on it"
    if metadata.event_was_sent(MUSIC.uri, music_task_id, datetime.now(UTC) - UNDER_WAY):
        return "its run is about to start"
    return ""
