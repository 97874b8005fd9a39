"""`airflow kie redrive` and `airflow kie forget`: pending songs that no run works on are started again, or given up."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from airflow_kie._airflow_private import metadata
from airflow_kie.archive.inbox.song_request import counted, id_errors
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.pending import Pending, pending_songs
from airflow_kie.archive.removing.places import places_of
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.archive.unarchived import Unarchived, drop_unarchived, unarchived_of
from airflow_kie.cli.arguments import moment_of, open_archive
from airflow_kie.cli.run import archive_at, archived
from airflow_kie.cli.terminal import InvalidArgument, agreed, command, complain, say
from airflow_kie.client.errors import all_reasons
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.tasks import ENDED_SECONDS
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.monitoring.restart import (
    NEVER_FAILED,
    NoEvent,
    no_run_would_follow,
    reason_of,
    start_again,
    who_works_on,
    why_skipped,
)

DAG = SONG_PAGES_DAG_ID


@command(advice="Run the command again: it skips the songs that were started.")
def redrive(args: Namespace) -> int:
    """List the pending songs, say what starting them can cost at most, ask once, and start them.

    With an id, that song alone; or archive what that task has made, where nobody has.

    :param args: `id` (None: all), `reason`, `since`, `run`, `dry_run`, `yes`.
    """
    since = moment_of(args.since)
    bucket, keys = open_archive()
    if args.id:
        if problems := id_errors([args.id]):
            raise InvalidArgument(problems[0])
        if outstanding := unarchived_of(bucket, keys, args.id):
            return _archive(bucket, keys, outstanding, args)
    songs, reasons = _chosen(bucket, keys, args, since)
    if args.reason is not None and args.reason not in reasons:
        return _no_song_has(args.reason, reasons)
    if not songs:
        return _nothing_to_start(bucket, keys, args.id)
    say(_cost(songs))
    if args.dry_run:
        say("Nothing was done (--dry-run).")
        return 0
    if problem := no_run_would_follow():
        complain(problem)
        return 1
    if not agreed(f"{counted(len(songs))} will be restarted.", yes=args.yes):
        return 1
    return _start([SongArchive(bucket, keys.song(pending.music_task_id)) for pending in songs])


def _chosen(
    bucket: Bucket, keys: ArchiveKeys, args: Namespace, since: datetime | None
) -> tuple[list[Pending], Counter[str]]:
    """Return the pending songs that are to be started, each of which is printed, and the reasons of all."""
    songs: list[Pending] = []
    reasons: Counter[str] = Counter()
    alone = args.id and args.reason is None  # of one song no other record is read
    for pending in _one(bucket, keys, args.id) if alone else pending_songs(bucket, keys):
        failure, reason = pending.last_failure, reason_of(pending)
        reasons[reason] += 1
        at = failure.at if failure else pending.first_seen_at
        named = args.id in (None, pending.music_task_id)
        of_run = args.run in (None, pending.working and pending.working.run_id)
        if named and of_run and args.reason in (None, reason) and (since is None or at >= since):
            skipped = why_skipped(pending)
            say(_line(pending, skipped))
            if not skipped:
                songs.append(pending)
    return songs, reasons


def _one(bucket: Bucket, keys: ArchiveKeys, song: str) -> list[Pending]:
    pending = SongArchive(bucket, keys.song(song)).pending()
    return [pending] if pending else []


def _nothing_to_start(bucket: Bucket, keys: ArchiveKeys, task_id: str | None) -> int:
    """Say that there is nothing to start; that nothing at all is here of a task is an error: its id may be mistyped.

    :param task_id: the one that a person has named.
    """
    if task_id and not places_of(bucket, keys, task_id):
        complain(f"{task_id} is neither pending nor archived here. To archive a song, trigger {DAG} with its id.")
        return 1
    say("There is nothing to restart.")
    return 0


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
    if pending is None and (outstanding := unarchived_of(bucket, keys, args.id)):
        return _forget_tasks(bucket, keys, outstanding, args)
    if pending is None:
        complain(f"Song {args.id} is not pending: {bucket.url(archive.keys.pending)} does not exist.")
        return 1
    say(f"{_name(pending)}: {reason_of(pending)}. Its paid tasks stay in the ledger.")
    if _is_in_progress(pending) or not agreed("Nothing will restart this song, and no alert counts it.", yes=args.yes):
        return 1
    if archive.pending() != pending:
        complain("The pending record has just changed: nothing was deleted. Run the command again.")
        return 1
    if _is_in_progress(pending):
        return 1
    archive.drop_pending()
    say(f"Forgotten. To archive it after all, trigger {DAG} with its id.")
    return 0


def _archive(bucket: Bucket, keys: ArchiveKeys, outstanding: Sequence[Unarchived], args: Namespace) -> int:
    """Archive what paid tasks have made, where they were to go or in the archive of `[kie]`."""
    for one in outstanding:
        if one.dag_id and one.run_id and metadata.run_is_active(one.dag_id, one.run_id):
            complain(f"Nothing was done: run {one.run_id} of {one.dag_id} is working on it. Wait until it has ended.")
            return 1
        to = one.to or bucket.url(keys.prefix)
        say(f"archive: KIE task {one.task_id} ({one.operation}), paid by {one.dag_id or one.airflow_task_id}, to {to}")
    if args.dry_run:
        say("Nothing was done (--dry-run).")
        return 0
    if not agreed("It will be archived at no cost.", yes=args.yes):
        return 1
    for one in outstanding:
        row, hook = task_kind(one.operation), KieHook(one.kie_conn_id)
        details = hook.wait(one.operation, one.task_id, wait_timeout=ENDED_SECONDS)
        place = archive_at(one.to) if one.to else (bucket, keys)
        manifest = archived(*place, hook, row, details)
        for file in manifest.files:
            say(f"{place[0].url(file.key)}  {file.size:,} bytes")
    return 0


def _forget_tasks(bucket: Bucket, keys: ArchiveKeys, outstanding: Sequence[Unarchived], args: Namespace) -> int:
    """Delete the records that say that tasks are not archived."""
    for one in outstanding:
        say(f"KIE task {one.task_id} ({one.operation}) is paid but not archived. It stays in the ledger.")
    if not agreed("No alert will warn before KIE deletes its results.", yes=args.yes):
        return 1
    for one in outstanding:
        drop_unarchived(bucket, keys, one.operation, one.task_id)
    say("Forgotten.")
    return 0


def _is_in_progress(pending: Pending) -> bool:
    if works := who_works_on(pending):
        complain(f"Nothing was deleted: {works}. Wait until it has ended, or mark the run as failed first.")
    return bool(works)


def _name(pending: Pending) -> str:
    return f"{pending.music_task_id} {pending.title}" if pending.title else pending.music_task_id


def _line(pending: Pending, skipped: str) -> str:
    """Return a pending song as a line: what is done with it, and why it is pending."""
    return f"{f'skipped, {skipped}' if skipped else 'start'}: {_name(pending)}, {reason_of(pending)}"


def _no_song_has(reason: str, reasons: Counter[str]) -> int:
    """Say that no song has a reason, and which there are; a reason that does not exist is an error."""
    had = ", ".join(f"{one} ({songs})" for one, songs in sorted(reasons.items(), key=lambda had: (-had[1], had[0])))
    now = f" Reasons of pending songs: {had}." if had else " No song is pending."
    # The name of a Python exception is a reason too; no table has them.
    exception = reason.isidentifier() and reason[0].isupper() and "_" not in reason
    if exception or reason in (*all_reasons(), NEVER_FAILED):
        say(f"No pending song has the reason {reason}.{now}")
        return 0
    complain(f"Unknown reason {reason!r}: docs/on-call.md lists all of them.{now}")
    return 1


def _cost(songs: Sequence[Pending]) -> str:
    """Return what starting them makes."""
    return (
        f"{counted(len(songs))} to restart. Existing covers are used, and missing ones are made once; "
        "a cover that failed at KIE is made again, at most twice."
    )


def _start(songs: Sequence[SongArchive]) -> int:
    """Wake a run that takes the songs, as the reconciliation does."""
    try:
        left = start_again(songs)
    except NoEvent as error:
        complain(str(error))
        return 1
    for song, why in left.items():
        say(f"skipped, {why}: {song}")
    say(f"{counted(len(songs) - len(left))} restarted in a new run of {DAG}.")
    return 0
