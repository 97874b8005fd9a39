"""`airflow kie reconcile --list …`: what became of each song of a list, and a start for those that are missing."""

from __future__ import annotations

import csv
import functools
import io
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airflow_kie import settings
from airflow_kie._airflow_private import metadata
from airflow_kie.archive.inbox.objects import InboxUnreadable, read_songs
from airflow_kie.archive.inbox.song_request import SongRequest, counted
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.manifest import Wanted
from airflow_kie.archive.pending import Held, Pending, list_held, list_pending, readable
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.assets import PENDING
from airflow_kie.cli.arguments import open_archive
from airflow_kie.cli.terminal import InvalidArgument, agreed, command, complain, say
from airflow_kie.monitoring.backlog import GONE
from airflow_kie.monitoring.restart import no_run_would_follow, reason_of

MOST_BYTES = 64 * 1024 * 1024
ARCHIVED, WAITS, FAILED, EXPIRED, UNKNOWN = "archived", "pending", "failed", "expired", "unknown"
MISSING = (FAILED, UNKNOWN)
"""States from which a song is started."""
_PARALLEL = 8


@command(advice="Nothing is lost. Run the command again.")
def reconcile(args: Namespace) -> int:
    """Say of each song of a list what became of it; the exit code is 1 where one is missing and was not started.

    :param args: `list`, `hand_in`, `yes`.
    """
    songs = {song.music_task_id: song for song in _read(args.list)}
    bucket, keys = open_archive()
    states = _states(bucket, keys, list(songs.values()))
    for song, (state, why) in states.items():
        say(_row(song, state, why))
    counts = Counter(state for state, _ in states.values())
    complain(", ".join(f"{counts[state]} {state}" for state in (ARCHIVED, WAITS, FAILED, EXPIRED, UNKNOWN)) + ".")
    missing = [song for song, (state, _) in states.items() if state in MISSING]
    if not (missing and args.hand_in):
        return 1 if missing or counts[EXPIRED] else 0
    if problems := settings.connection_errors(name for song in missing if (name := songs[song].kie_conn_id)):
        raise InvalidArgument(problems[0])
    if problem := no_run_would_follow():
        complain(problem)
        return 1
    if not agreed(f"{counted(len(missing))} will be started.", yes=args.yes):
        return 1
    started = _hand_in(bucket, keys, [songs[song] for song in missing])
    complain(f"{counted(started)} started in a new run of music_cover.")
    return 1 if counts[EXPIRED] or started < len(missing) else 0


def _read(name: str) -> list[SongRequest]:
    """Return the songs that a file or an object of S3 lists, as the inbox reads them."""
    try:
        if name.startswith("s3://"):
            bucket, _, key = name.removeprefix("s3://").partition("/")
            found = open_archive(f"s3://{bucket}")[0].get_version(key, max_bytes=MOST_BYTES)
            if found is None:
                raise InvalidArgument(f"{name} does not exist.")
            return read_songs(key, found[1])
        return read_songs(name, Path(name).read_bytes())
    except InboxUnreadable as error:
        raise InvalidArgument(f"{name}: {error}") from error
    except OSError as error:
        raise InvalidArgument(f"{name} cannot be read: {error.strerror}.") from error


def _states(bucket: Bucket, keys: ArchiveKeys, songs: Sequence[SongRequest]) -> dict[str, tuple[str, str]]:
    """Return the state of each song, and why, in the order of the list."""
    waiting, held = {song.music_task_id for song, _ in list_pending(bucket, keys)}, list_held(bucket, keys)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = pool.map(functools.partial(_state, bucket, keys, waiting, held), songs)
        return {song.music_task_id: state for song, state in zip(songs, found, strict=True)}


def _state(
    bucket: Bucket, keys: ArchiveKeys, waiting: set[str], held: dict[str, Held], song: SongRequest
) -> tuple[str, str]:
    own = keys.song(song.music_task_id)
    if song.music_task_id not in waiting:
        wanted = Wanted(audio=song.archive_audio, lyrics=song.archive_lyrics)
        try:
            manifest = SongArchive(bucket, own).manifest()
        except ArchiveUnreadable as error:
            return FAILED, error.reason
        return (UNKNOWN, "") if wanted.missing_in(manifest) else (ARCHIVED, "")
    if song.music_task_id not in held:
        return WAITS, ""
    pending: Pending | None = readable(bucket, own)
    if pending is None:
        return FAILED, "its record cannot be read"
    reason = reason_of(pending)
    return (EXPIRED if reason in GONE else FAILED), reason


def _hand_in(bucket: Bucket, keys: ArchiveKeys, songs: Sequence[SongRequest]) -> int:
    """Record songs as pending, let a run take them, and wake one.

    :return: how many; a song whose record cannot be read is named, and stops no other one.
    """

    def recorded(song: SongRequest) -> bool:
        archive = SongArchive(bucket, keys.song(song.music_task_id))
        try:
            archive.take(archive.update_pending(**song.facts()))
        except ArchiveUnreadable as error:
            complain(f"{song.music_task_id} was not started: {error.facts.message}.")
            return False
        return True

    with ThreadPoolExecutor(_PARALLEL) as pool:
        started = sum(pool.map(recorded, songs))
    if started and not metadata.send_asset_event(PENDING.uri, None, {"received_from": "inbox"}):
        complain("The event could not be sent; the reconciliation in cover_inbox starts them.")
    return started


def _row(*cells: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
