"""`airflow kie index`: the library's index, counted, or rebuilt from the manifests."""

from __future__ import annotations

from argparse import Namespace

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
