"""`airflow kie index` and `airflow kie deliver`: the library's index, and releases that are made from the archive."""

from __future__ import annotations

from argparse import Namespace

from airflow_kie.archive.delivery.check import problems
from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.rules import DISTRIBUTORS
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.archive.index.segments import Index
from airflow_kie.cli.arguments import open_archive
from airflow_kie.cli.terminal import command, say


@command("The index could not be read or written:", code=1)
def index(args: Namespace) -> int:
    """Say how large the index is, or rebuild it.

    :param args: `archive` (None: that of [kie]), `rebuild`.
    :return: 0.
    """
    bucket, keys = open_archive(args.archive)
    library = Index(bucket, keys)
    if args.rebuild:
        say(f"{counted(library.rebuild(), 'result')} of {bucket.url(keys.prefix)} listed from their manifests.")
    else:
        count = len(library.segments())
        say(f"The index in {bucket.url(keys.index)} has {counted(count, 'object')}. --rebuild writes it again.")
    return 0


@command("The release could not be read:", code=2)
def deliver(args: Namespace) -> int:
    """Read a release's files and say what distributors would refuse.

    :param args: `action` (check), `release`, `archive` (None: that of [kie]).
    :return: 0: nothing was found; 1: something was.
    """
    bucket, keys = open_archive(args.archive)
    release = ReleaseKeys(keys.prefix, args.release)
    found = list(problems(bucket, release))
    for line in found:
        say(f"- {line}")
    asked = ", ".join(row.name for row in DISTRIBUTORS)
    end = f"{counted(len(found), 'problem')}." if found else "Nothing that they would refuse was found."
    say(f"{bucket.url(release.folder)} was compared with what is known of {asked}. {end}")
    return 1 if found else 0
