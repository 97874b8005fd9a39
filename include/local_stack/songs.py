"""``./run songs``: finished songs on the simulator of the running stack, for the form of ``music_cover``."""

from __future__ import annotations

import argparse
import sys

from local_stack.airflow_cli import NO_STACK, NOTHING_IS_UP, stack_that_is_up
from local_stack.demo import TITLES, make_songs
from local_stack.settings import local_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("titles", nargs="*", metavar="TITLE", help="their titles (default: two of the demo's)")
    parser.epilog = "It prints the music task ids, for the form and the inbox. Nothing is paid."


def run(options: argparse.Namespace) -> int:
    """Make the songs and print their ids.

    :param options: ``titles``.
    :return: exit code: 0, 1 where the stack asks the real KIE, or 69 where none is up.
    """
    found = stack_that_is_up(local_folder())
    if found is None:
        print(NO_STACK, file=sys.stderr)
        return NOTHING_IS_UP
    simulator = found[1].urls.get("simulator")
    if simulator is None:
        print("The running stack uses the real KIE: your songs are at https://kie.ai/logs.", file=sys.stderr)
        return 1
    for song in make_songs(simulator, options.titles or TITLES[:2]):
        print(f"{song.music_task_id}  {song.title}")
    return 0
