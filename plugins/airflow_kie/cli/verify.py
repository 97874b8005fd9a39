"""`airflow kie verify s3://…`: is an archive whole? Reads only, and is made for cron."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_kie import settings
from airflow_kie._airflow_private import process
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.archive.pending import list_pending
from airflow_kie.archive.verify import VerifiedSong, count_songs, verify_archive
from airflow_kie.cli.arguments import archive_of, configured_archive, moment_of
from airflow_kie.cli.checks.findings import failed
from airflow_kie.cli.terminal import complain, ours_alone, say, say_json
from airflow_kie.client.errors import KieError
from airflow_kie.hooks.archive import open_bucket

WHOLE, WRONG, NOT_LOOKED = 0, 1, 2
_NEXT = "Bring back what is named from a copy or an older version of the object: KIE keeps its files for 14 days only."


def command(args: Namespace) -> None:
    """Run the command.

    :param args: `archive` (None: that of [kie]), `since`, `fast`, `json`.
    :raises SystemExit: 0 if all is whole, or nothing is archived yet and songs are owed something; 1 if something is
        wrong; 2 if the archive could not be read, or nothing there is one.
    """
    process.begin_command()
    with ours_alone():
        sys.exit(_run(args))


def _run(args: Namespace) -> int:
    watched = sys.stderr.isatty()
    at_once = not args.json and not watched  # a line in the midst of the bar is lost
    tally = Tally(args.archive or configured_archive(), at_once=at_once)
    try:
        name, keys = archive_of(tally.archive)
        since = moment_of(args.since)
        bucket = open_bucket(settings.text("aws_conn_id", "aws_default"), name)
        songs = verify_archive(bucket, keys, since=since, fast=args.fast)
        for song in _with_progress(songs, lambda: count_songs(bucket, keys, since)) if watched else songs:
            tally.add(song)
        if not tally.songs and since is None:
            tally.owed = sum(1 for _ in list_pending(bucket, keys))
    except (KieError, ValueError) as error:
        complain(f"The archive could not be read to its end: {error}")
        return NOT_LOOKED
    except Exception as error:  # noqa: BLE001 - whatever it is, nobody may take it for a damaged archive
        complain(f"The archive could not be read to its end. {failed('verify', error).seen}")
        return NOT_LOOKED
    if not tally.songs and not tally.owed and since is None:
        complain(f"{tally.archive} holds no song. Is that the archive's bucket and prefix?")
        return NOT_LOOKED
    if args.json:
        say_json(tally.plain())
    else:
        tally.tell()
    return WRONG if tally.problems else WHOLE


@dataclass
class Tally:
    """What was found so far.

    :param archive: the archive's name.
    :param at_once: print each problem as soon as it is found, not at the end.
    :param owed: songs that are owed something; counted only where no song is archived.
    """

    archive: str
    at_once: bool
    songs: int = 0
    files: int = 0
    size: int = 0
    in_work: int = 0
    wrong_songs: int = 0
    owed: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)

    def add(self, song: VerifiedSong) -> None:
        """Count a song, and tell what is wrong with it."""
        self.songs += 1
        self.files += song.files
        self.size += song.size
        self.in_work += song.in_work
        self.wrong_songs += bool(song.problems)
        for problem in song.problems:
            self.problems.append({"key": problem.key, "problem": problem.told})
            if self.at_once:
                say(_line(self.problems[-1]))

    def tell(self) -> None:
        """Print the problems that were not printed at once, and the whole in a sentence."""
        for problem in [] if self.at_once else self.problems:
            say(_line(problem))
        say(self.sentence())

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        known = {name: getattr(self, name) for name in ("archive", "songs", "files", "size", "in_work", "problems")}
        return {"whole": not self.problems, **known}

    def sentence(self) -> str:
        """Return it in words."""
        if self.owed:
            are = "is" if self.owed == 1 else "are"
            return f"No song is archived here yet; {counted(self.owed)} {are} owed something."
        seen = f"{counted(self.songs)}, {counted(self.files, 'file')}, {self.size / 1e6:,.1f} MB"
        work = f" {counted(self.in_work)} being archived at the moment." if self.in_work else ""
        if not self.problems:
            return f"{seen}: all as the manifests say.{work}"
        wrong = f"{counted(len(self.problems), 'problem')} in {counted(self.wrong_songs)}"
        return f"{seen}: {wrong}.{work} {_NEXT}"


def _line(problem: Mapping[str, str]) -> str:
    return f"wrong  {problem['key']}: {problem['problem']}"


def _with_progress(songs: Iterable[VerifiedSong], count: Callable[[], int]) -> Iterator[VerifiedSong]:
    """Yield the songs, with a bar on the standard error where a person looks."""
    from rich.console import Console
    from rich.progress import track

    yield from track(songs, description="verifying", total=count(), console=Console(stderr=True), transient=True)
