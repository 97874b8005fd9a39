"""``./run inbox``: puts files into the inbox of the running stack."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from local_stack.airflow_cli import NO_STACK, NOTHING_IS_UP, stack_that_is_up
from local_stack.bucket import BucketPath, s3_client
from local_stack.secret_keys import keep_secrets
from local_stack.settings import StackSettings, local_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="JSON, JSON Lines or CSV, in an inbox format"
    )
    parser.epilog = "A waiting object of the same name is replaced."


def run(options: argparse.Namespace) -> int:
    """Put the files into the inbox.

    :param options: ``files``.
    :return: exit code: 0, 1 where a file cannot be read or the stack's bucket is yours, or 69 where none is up.
    """
    found = stack_that_is_up(local_folder())
    if found is None:
        print(NO_STACK, file=sys.stderr)
        return NOTHING_IS_UP
    home, state = found
    url = state.urls.get("s3")
    if url is None:
        print("The running stack uses your own bucket: put the files into its inbox there.", file=sys.stderr)
        return 1
    settings = StackSettings.loads((home / "settings.json").read_text())
    bucket = BucketPath(s3_client(url, keep_secrets(home)), settings.bucket)
    texts: dict[str, str] = {}
    for file in options.files:
        try:
            texts[file.name] = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            print(f"Nothing was put into the inbox: {file} cannot be read: {why}.", file=sys.stderr)
            return 1
    if len(texts) < len(set(options.files)):
        print("Nothing was put into the inbox: two of the files have the same name.", file=sys.stderr)
        return 1
    bucket.make_bucket()
    for name, text in texts.items():
        (bucket / "inbox" / name).write_text(text)
        print(f"{bucket / 'inbox' / name}")
    return 0
