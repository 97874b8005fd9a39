"""`airflow kie verify s3://…`: is an archive whole? Reads only, and is made for cron."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter

from rich.console import Console
from rich.progress import Progress

from airflow_kie.archive.inbox.song_request import counted, id_errors
from airflow_kie.archive.pending import list_pending
from airflow_kie.archive.removing.places import places_of
from airflow_kie.archive.verify import Problem, count_songs, verify_archive
from airflow_kie.cli.arguments import moment_of, open_archive
from airflow_kie.cli.terminal import InvalidArgument, command, complain, say, say_json

WHOLE, WRONG, UNREAD = 0, 1, 2
_NEXT = "Restore these files from a copy or an older object version: KIE keeps its files for only 14 days."


@command("The archive could not be read completely:", code=UNREAD)
def verify(args: Namespace) -> int:
    """Compare an archive with its manifests.

    :param args: `archive` (None: that of [kie]; or the id of a task in it), `since`, `fast`, `json`.
    :return: 0 if all is whole, or nothing is archived yet and songs are pending; 1 if something is wrong; 2 if the
        archive could not be read, or there is none.
    """
    since = moment_of(args.since)
    only = args.archive if args.archive and "://" not in args.archive else ""
    if only and (problems := id_errors([only])):
        raise InvalidArgument(problems[0])
    bucket, keys = open_archive(None if only else args.archive)
    folders = [place.keys.folder for place in places_of(bucket, keys, only)] if only else None
    name, watched = bucket.url(keys.prefix), sys.stderr.isatty()
    found: list[Problem] = []
    counts: Counter[str] = Counter()
    with Progress(console=Console(stderr=True), transient=True, disable=not watched) as bar:
        total = count_songs(bucket, keys, since) if watched and folders is None else None
        songs = verify_archive(bucket, keys, since=since, fast=args.fast, folders=folders)
        for song in bar.track(songs, total, description="verifying"):
            is_task = song.folder.startswith(keys.tasks)
            counts.update(songs=int(not is_task), tasks=int(is_task), files=song.files, size=song.size)
            counts.update(in_progress=int(song.in_progress))
            counts.update(wrong_songs=int(bool(song.problems)))
            found += song.problems
    if only and not folders:
        complain(
            f"{only} could not be read: it is neither an archive, such as s3://my-covers/songs, nor a task in {name}."
        )
        return UNREAD
    if not counts["songs"] + counts["tasks"] and since is None:
        counts["pending"] = sum(1 for _ in list_pending(bucket, keys))
        if not counts["pending"]:
            complain(f"{name} has no songs. Are bucket and prefix correct?")
            return UNREAD
    if args.json:
        listed = [{"key": problem.key, "problem": problem.text} for problem in found]
        numbers = {number: counts[number] for number in ("songs", "tasks", "files", "size", "in_progress")}
        say_json({"whole": not found, "archive": name, **numbers, "problems": listed})
    else:
        for problem in found:
            say(f"wrong  {problem.key}: {problem.text}")
        say(_summary(counts, len(found)))
    return WRONG if found else WHOLE


def _summary(counts: Counter[str], problems: int) -> str:
    if counts["pending"]:
        are = "is" if counts["pending"] == 1 else "are"
        return f"No song is archived here yet; {counted(counts['pending'])} {are} pending."
    tasks = f"{counted(counts['tasks'], 'other task')}, " if counts["tasks"] else ""
    seen = f"{counted(counts['songs'])}, {tasks}{counted(counts['files'], 'file')}, {counts['size'] / 1e6:,.1f} MB"
    work = f" {counted(counts['in_progress'])} being archived at the moment." if counts["in_progress"] else ""
    if not problems:
        return f"{seen}: everything matches the manifests.{work}"
    wrong = f"{counted(problems, 'problem')} in {counted(counts['wrong_songs'])}"
    return f"{seen}: {wrong}.{work} {_NEXT}"
