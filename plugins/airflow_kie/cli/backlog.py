"""`airflow kie redrive` and `airflow kie forget`: pending songs that no run works on are started again, or given up."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from airflow_kie._airflow_private import metadata
from airflow_kie.archive.inbox.song_request import counted, id_errors
from airflow_kie.archive.pending import Pending, pending_songs
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.assets import MUSIC
from airflow_kie.cli.arguments import moment_of, open_archive
from airflow_kie.cli.terminal import InvalidArgument, agreed, command, complain, say
from airflow_kie.client.errors import all_reasons
from airflow_kie.durable.task_state import source_key

DAG = "music_cover"
NEVER_FAILED = "never failed"
STARTING = timedelta(minutes=2)
"""How long an event may take to become a run; a song whose event is younger is not started again."""


@command(advice="Run it again: songs that were started are skipped then.")
def redrive(args: Namespace) -> int:
    """List the pending songs, say what starting them can cost at most, ask once, and start them.

    :param args: `reason`, `since`, `dry_run`, `yes`.
    """
    since = moment_of(args.since)
    bucket, keys = open_archive()
    songs: list[Pending] = []
    reasons: Counter[str] = Counter()
    for pending in pending_songs(bucket, keys):
        failure, reason = pending.last_failure, _reason(pending)
        reasons[reason] += 1
        at = failure.at if failure else pending.first_seen_at
        if args.reason in (None, reason) and (since is None or at >= since):
            skipped = _why_skipped(pending)
            say(_line(pending, skipped))
            if not skipped:
                songs.append(pending)
    if args.reason is not None and args.reason not in reasons:
        return _no_song_has(args.reason, reasons)
    if not songs:
        say("Nothing is to be started again.")
        return 0
    say(_cost(songs))
    if args.dry_run:
        say("Nothing was done (--dry-run).")
        return 0
    if _no_run_would_follow() or not agreed(f"{counted(len(songs))} will be started again.", yes=args.yes):
        return 1
    return _start([SongArchive(bucket, keys.song(pending.music_task_id)) for pending in songs])


@command()
def forget(args: Namespace) -> int:
    """Delete a song's pending record, and nothing else: nothing starts the song again, and no alert counts it.

    :param args: `id`, `yes`.
    """
    if problems := id_errors([args.id]):
        raise InvalidArgument(problems[0])
    bucket, keys = open_archive()
    archive = SongArchive(bucket, keys.song(args.id))
    pending = archive.pending()
    if pending is None:
        complain(f"Song {args.id} is not pending: {bucket.url(archive.keys.pending)} does not exist.")
        return 1
    say(f"{_name(pending)}: {_reason(pending)}. What KIE has made of it stays in the ledger of paid requests.")
    if _is_in_progress(pending) or not agreed(
        "Nothing will start this song again, and no alert counts it.", yes=args.yes
    ):
        return 1
    if archive.pending() != pending:
        complain("The pending record has changed meanwhile: nothing was deleted. Run the command again.")
        return 1
    if _is_in_progress(pending):
        return 1
    archive.drop_pending()
    say(f"Forgotten. To have it after all, trigger {DAG} with its id.")
    return 0


def _is_in_progress(pending: Pending) -> bool:
    if skipped := _why_skipped(pending):
        complain(f"Nothing was deleted: {skipped}. Wait for its end, or mark the run as failed first.")
    return bool(skipped)


def _reason(pending: Pending) -> str:
    return pending.last_failure.reason if pending.last_failure else NEVER_FAILED


def _name(pending: Pending) -> str:
    return f"{pending.music_task_id} {pending.title}" if pending.title else pending.music_task_id


def _line(pending: Pending, skipped: str) -> str:
    """Return a pending song as a line: what is done with it, and why it is pending."""
    return f"{f'skipped, {skipped}' if skipped else 'start'}: {_name(pending)}, {_reason(pending)}"


def _why_skipped(pending: Pending) -> str:
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


def _no_song_has(reason: str, reasons: Counter[str]) -> int:
    """Say that no song has a reason, and which there are; a reason that does not exist is an error."""
    had = ", ".join(f"{one} ({songs})" for one, songs in sorted(reasons.items(), key=lambda had: (-had[1], had[0])))
    now = f" Reasons of pending songs: {had}." if had else " No song is pending."
    # The name of a Python exception is a reason too; no table has them.
    exception = reason.isidentifier() and reason[0].isupper() and "_" not in reason
    if exception or reason in (*all_reasons(), NEVER_FAILED):
        say(f"No pending song has the reason {reason}.{now}")
        return 0
    complain(f"Unknown reason {reason!r}: docs/on-call.md has them all.{now}")
    return 1


def _cost(songs: Sequence[Pending]) -> str:
    """Return what starting them makes."""
    return (
        f"{counted(len(songs))} to start. A cover that exists is used, and every other one is made once; "
        "where KIE says that it has failed, it is made again, at most twice."
    )


def _no_run_would_follow() -> bool:
    """Return whether no run would follow an event, and say why."""
    started = metadata.paused_dags(started_by=MUSIC.uri)
    if not started:
        complain(f"No DAG here waits for {MUSIC.uri}: is {DAG} among this Airflow's DAGs? Nothing was started.")
    elif started.get(DAG) or all(started.values()):
        named = DAG if DAG in started else next(iter(started))
        complain(f"{named} is paused, and Airflow drops events for a paused DAG. Unpause it first; nothing was done.")
    else:
        return False
    return True


def _start(songs: Sequence[SongArchive]) -> int:
    """Send "music complete" for each song, as the reconciliation does."""
    started = 0
    for archive in songs:
        music_task_id = archive.keys.music_task_id
        pending = archive.pending()  # the list is as old as a person took to read it
        if pending is None:
            say(f"skipped, it is not pending any more: {music_task_id}")
            continue
        if skipped := _why_skipped(pending):
            say(_line(pending, skipped))
            continue
        # Its record is written first, so that the reconciliation leaves the song to the run that follows.
        archive.update_pending(received_from="inbox")
        extra = {"music_task_id": music_task_id, "kie_conn_id": pending.kie_conn_id, "received_from": "inbox"}
        known = {name: value for name, value in extra.items() if value}
        if not metadata.send_asset_event(MUSIC.uri, music_task_id, known):
            complain(f"No event could be sent for {music_task_id}; {counted(started)} started before it.")
            return 1
        started += 1
    say(f"{counted(started)} started; a run of {DAG} follows for each.")
    return 0
