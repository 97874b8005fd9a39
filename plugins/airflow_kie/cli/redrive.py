"""`airflow kie redrive`: start again what is owed and what nobody works on. Asks once, and is safe to run twice."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from airflow_kie import settings
from airflow_kie._airflow_private import metadata, process
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.pending import Pending
from airflow_kie.archive.pending_songs import pending_songs
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.assets import MUSIC
from airflow_kie.cli.arguments import moment_of
from airflow_kie.cli.backlog import NEVER_FAILED, BacklogSong, why_left
from airflow_kie.cli.checks.findings import failed
from airflow_kie.cli.terminal import agreed, complain, ours_alone, say
from airflow_kie.client.errors import all_reasons
from airflow_kie.hooks.archive import open_bucket

DAG = "music_cover"


def command(args: Namespace) -> None:
    """Run the command.

    :param args: `reason`, `since`, `dry_run`, `yes`.
    :raises SystemExit: 0 if everything was handed on or nothing was to be, 1 otherwise.
    """
    process.begin_command()
    with ours_alone():
        try:
            code = _run(args)
        except ValueError as error:  # a date that is none
            complain(str(error))
            code = 1
        except Exception as error:  # noqa: BLE001 - a person reads a sentence, not a traceback
            complain(f"{failed('redrive', error).seen} Run it again: what was handed on is left alone then.")
            code = 1
        sys.exit(code)


def _run(args: Namespace) -> int:
    since, name = moment_of(args.since), settings.text("bucket")
    if not name:
        complain("No bucket is set in [kie], so nothing is known to be owed.")
        return 1
    bucket = open_bucket(settings.text("aws_conn_id", "aws_default"), name)
    keys = ArchiveKeys(settings.text("prefix", "songs"))
    songs = []
    reasons: Counter[str] = Counter()
    for owed in _asked_for(bucket, keys, args.reason, since, reasons):
        say(owed.line())
        if not owed.left:
            songs.append(owed.pending)
    if args.reason is not None and args.reason not in reasons:
        return _nobody_has(args.reason, reasons)
    if not songs:
        say("Nothing is to be started again.")
        return 0
    say(_cost(songs))
    if args.dry_run:
        say("Nothing was done (--dry-run).")
        return 0
    if _nobody_would_run() or not agreed(f"{counted(len(songs))} will be started again.", yes=args.yes):
        return 1
    return _start(bucket, keys, songs)


def _asked_for(
    bucket: Bucket, keys: ArchiveKeys, reason: str | None, since: datetime | None, reasons: Counter[str]
) -> Iterator[BacklogSong]:
    """Yield the songs that were asked for, and count the reasons of all."""
    for pending in pending_songs(bucket, keys):
        failure = pending.last_failure
        why = BacklogSong(pending, "").reason
        reasons[why] += 1
        if reason not in (None, why):
            continue
        if since and (failure.at if failure else pending.first_seen_at) < since:
            continue
        yield BacklogSong(pending, why_left(pending))


def _nobody_has(reason: str, reasons: Counter[str]) -> int:
    """Say that no song has a reason, and which there are; a reason that cannot be is a problem of the person."""
    had = ", ".join(f"{one} ({songs})" for one, songs in sorted(reasons.items(), key=lambda had: (-had[1], had[0])))
    # The name of a Python exception is a reason too; no table has them.
    if reason in (*all_reasons(), NEVER_FAILED) or (
        reason.isidentifier() and reason[0].isupper() and "_" not in reason
    ):
        say(
            f"No song that is owed something has the reason {reason}. Reasons now: {had}."
            if had
            else "Nothing is owed."
        )
        return 0
    now = f" Songs that are owed something have now: {had}." if had else ""
    complain(f"There is no reason {reason!r}: docs/on-call.md has them all.{now}")
    return 1


def _cost(songs: list[Pending]) -> str:
    """Return the most that it can cost."""
    unpaid = sum(not pending.cover_task_ids for pending in songs)
    price = settings.number("credits_per_cover", 0)
    credits = f" ({unpaid * price:g} credits)" if price else ""
    paid = len(songs) - unpaid
    rest = f"; {paid} {'is' if paid == 1 else 'are'} paid for already" if paid else ""
    most = f"At most {counted(unpaid, 'cover')} will be paid for{credits}" if unpaid else "No cover will be paid for"
    return (
        f"{counted(len(songs))} to start. {most}{rest}. "
        "Where KIE says that a cover has failed, it is made again, at most twice in a run."
    )


def _nobody_would_run() -> bool:
    """Return whether no run would follow an event, and say why."""
    started = metadata.paused_dags(MUSIC.uri)
    if not started:
        complain(f"No DAG here waits for {MUSIC.uri}: is {DAG} among this Airflow's DAGs? Nothing was started.")
        return True
    paused = [dag_id for dag_id, is_paused in started.items() if is_paused]
    if DAG in paused or len(paused) == len(started):
        named = DAG if DAG in paused else paused[0]
        complain(f"{named} is paused, and Airflow drops events for a paused DAG. Unpause it first; nothing was done.")
        return True
    return False


def _start(bucket: Bucket, keys: ArchiveKeys, songs: list[Pending]) -> int:
    """Send "music complete" for each song, as the sweep does."""
    started = 0
    for pending in songs:
        archive = SongArchive(bucket, keys.song(pending.music_task_id))
        if left := _left_meanwhile(archive):
            say(BacklogSong(pending, left).line())
            continue
        # Its record is written first, so that the sweep leaves the song to the run that follows.
        archive.note(received_from="inbox")
        extra = {"music_task_id": pending.music_task_id, "kie_conn_id": pending.kie_conn_id, "received_from": "inbox"}
        known = {name: value for name, value in extra.items() if value}
        sent = metadata.send_asset_event(MUSIC.uri, pending.music_task_id, known)
        if not sent:
            complain(f"No event could be sent for {pending.music_task_id}; {counted(started)} handed on before it.")
            return 1
        started += 1
    say(f"{counted(started)} handed on; a run of {DAG} follows for each.")
    return 0


def _left_meanwhile(archive: SongArchive) -> str:
    """Return why a song is not started after all: the list is as old as a person took to read it."""
    pending = archive.pending()
    return why_left(pending) if pending else "nothing of it is owed any more"
