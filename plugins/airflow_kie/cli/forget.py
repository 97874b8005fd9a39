"""`airflow kie forget <id>`: nobody is owed this song any more. Deletes its pending record, and nothing else."""

from __future__ import annotations

import sys
from argparse import Namespace

from airflow_kie import settings
from airflow_kie._airflow_private import process
from airflow_kie.archive.inbox.song_request import id_errors
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.pending import Pending
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.cli.backlog import BacklogSong, why_left
from airflow_kie.cli.checks.findings import failed
from airflow_kie.cli.terminal import agreed, complain, ours_alone, say
from airflow_kie.hooks.archive import open_bucket


def command(args: Namespace) -> None:
    """Run the command.

    :param args: `id`, `yes`.
    :raises SystemExit: 0 if the song is forgotten, 1 if nothing was done.
    """
    process.begin_command()
    with ours_alone():
        try:
            code = _run(args.id, yes=args.yes)
        except Exception as error:  # noqa: BLE001 - a person reads a sentence, not a traceback
            complain(failed("forget", error).seen)
            code = 1
        sys.exit(code)


def _run(music_task_id: str, *, yes: bool) -> int:
    name = settings.text("bucket")
    if problems := id_errors([music_task_id]):
        complain(problems[0])
        return 1
    if not name:
        complain("No bucket is set in [kie], so nothing is known to be owed.")
        return 1
    bucket = open_bucket(settings.text("aws_conn_id", "aws_default"), name)
    archive = SongArchive(bucket, ArchiveKeys(settings.text("prefix", "songs")).song(music_task_id))
    pending = archive.pending()
    if pending is None:
        complain(f"Nothing is owed of {music_task_id}: {archive.bucket.url(archive.keys.pending)} is not there.")
        return 1
    title = f" {pending.title}" if pending.title else ""
    say(f"{music_task_id}{title}: {BacklogSong(pending, '').reason}. {_lost(pending)}")
    if _is_left(pending):
        return 1
    if not agreed("Nothing will start this song again, and no alert counts it.", yes=yes):
        return 1
    if archive.pending() != pending or _is_left(pending):
        complain("Meanwhile something has been done for this song: nothing was deleted. Look again.")
        return 1
    archive.drop_pending()
    say("Forgotten. To have it after all, trigger music_cover with its id.")
    return 0


def _is_left(pending: Pending) -> bool:
    left = why_left(pending)
    if left:
        complain(f"Nothing was deleted: {left}. Wait for its end, or mark the run as failed first.")
    return bool(left)


def _lost(pending: Pending) -> str:
    """Return what is known of the song nowhere else."""
    if not pending.cover_task_ids:
        return "No cover of it is known to be paid for."
    covers = ", ".join(pending.cover_task_ids)
    return f"Paid for: cover task {covers}. Afterwards only kie.ai/logs knows it, and KIE deletes its files."
