"""``./run down``: stops the stacks that were left running, and leaves no process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from local_stack.settings import local_folder
from local_stack.stack import stop_kept
from local_stack.state import FILE, StackState, read_state


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add the command's options: it has none."""


def run(_options: argparse.Namespace) -> int:
    """Stop every stack under ``.local`` that is not held by a command that still runs.

    :return: exit code: 0 when nothing is left, 1 when a process could not be ended.
    """
    left: list[str] = []
    stopped = 0
    for home, state in _left_up(local_folder()):
        left += stop_kept(home, state)
        stopped += 1
        print(f"Stopped the stack of {home}.")
    if not stopped:
        print("No stack is running.")
    if left:
        print(f"Could not stop: {', '.join(left)}", file=sys.stderr)
    return 1 if left else 0


def _left_up(folder: Path) -> Iterator[tuple[Path, StackState]]:
    """Yield the stacks that were left up, and those whose keeper died before it could clean up."""
    for file in [folder / FILE, *folder.glob(f"*/{FILE}")]:
        state = read_state(file.parent)
        if state is not None and (state.kept or not state.alive) and not _ended_well(state):
            yield file.parent, state


def _ended_well(state: StackState) -> bool:
    return state.phase in ("stopped", "failed") and not state.alive
