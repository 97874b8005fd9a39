"""`airflow kie deliver`: is a release ready for its distributor?"""

from __future__ import annotations

from argparse import Namespace

from airflow_kie.archive.delivery.check import problems
from airflow_kie.archive.delivery.rules import DISTRIBUTORS
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.cli.arguments import open_archive
from airflow_kie.cli.terminal import command, say


@command("The release could not be read:", code=2)
def deliver(args: Namespace) -> int:
    """Read a release's files and say what distributors would refuse.

    :param args: `action` (check), `release`, `archive` (None: that of [kie]).
    :return: 0: nothing was found; 1: something was.
    """
    bucket, keys = open_archive(args.archive)
    release = keys.release(args.release)
    found = list(problems(bucket, release))
    for line in found:
        say(f"- {line}")
    asked = ", ".join(row.name for row in DISTRIBUTORS)
    end = f"{counted(len(found), 'problem')}." if found else "Nothing that they would refuse was found."
    say(f"{bucket.url(release.folder)} was compared with what is known of {asked}. {end}")
    return 1 if found else 0
