"""`airflow kie verify s3://…`: is an archive whole? Reads only, and is made for cron."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import Progress

from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.archive.pending import list_pending
from airflow_kie.archive.verify import VerifiedSong, count_songs, verify_archive
from airflow_kie.cli.arguments import moment_of, open_archive
from airflow_kie.cli.terminal import command, complain, say, say_json

WHOLE, WRONG, UNREAD = 0, 1, 2
_NEXT = "Bring back what is named from a copy or an older version of the object: KIE keeps its files for 14 days only."


@command("The archive could not be read to its end:", code=UNREAD)
def verify(args: Namespace) -> int:
    """Compare an archive with its manifests.

    :param args: `archive` (None: that of [kie]), `since`, `fast`, `json`.
    :return: 0 if all is whole, or nothing is archived yet and songs are pending; 1 if something is wrong; 2 if the
        archive could not be read, or there is none.
    """
    since = moment_of(args.since)
    bucket, keys = open_archive(args.archive)
    tally, watched = Tally(bucket.url(keys.prefix)), sys.stderr.isatty()
    songs = verify_archive(bucket, keys, since=since, fast=args.fast)
    with Progress(console=Console(stderr=True), transient=True, disable=not watched) as bar:
        total = count_songs(bucket, keys, since) if watched else None
        for song in bar.track(songs, total, description="verifying"):
            tally.add(song)
    if not tally.songs and since is None:
        tally.pending = sum(1 for _ in list_pending(bucket, keys))
        if not tally.pending:
            complain(f"{tally.archive} holds no song. Is that the archive's bucket and prefix?")
            return UNREAD
    if args.json:
        say_json(tally.plain())
    else:
        for problem in tally.problems:
            say(f"wrong  {problem['key']}: {problem['problem']}")
        say(tally.sentence())
    return WRONG if tally.problems else WHOLE


@dataclass
class Tally:
    """What was found so far.

    :param archive: the archive's name.
    :param pending: pending songs; counted only where no song is archived.
    """

    archive: str
    songs: int = 0
    files: int = 0
    size: int = 0
    in_progress: int = 0
    wrong_songs: int = 0
    pending: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)

    def add(self, song: VerifiedSong) -> None:
        """Count a song and its problems."""
        self.songs += 1
        self.files += song.files
        self.size += song.size
        self.in_progress += song.in_progress
        self.wrong_songs += bool(song.problems)
        self.problems += [{"key": problem.key, "problem": problem.text} for problem in song.problems]

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        known = ("archive", "songs", "files", "size", "in_progress", "problems")
        return {"whole": not self.problems, **{name: getattr(self, name) for name in known}}

    def sentence(self) -> str:
        """Return it as a sentence."""
        if self.pending:
            are = "is" if self.pending == 1 else "are"
            return f"No song is archived here yet; {counted(self.pending)} {are} pending."
        seen = f"{counted(self.songs)}, {counted(self.files, 'file')}, {self.size / 1e6:,.1f} MB"
        progress = f" {counted(self.in_progress)} being archived at the moment." if self.in_progress else ""
        if not self.problems:
            return f"{seen}: all as the manifests say.{progress}"
        wrong = f"{counted(len(self.problems), 'problem')} in {counted(self.wrong_songs)}"
        return f"{seen}: {wrong}.{progress} {_NEXT}"
