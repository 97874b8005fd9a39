"""What a command says to a person and asks of them."""

from __future__ import annotations

import sys


def say(text: str = "") -> None:
    """Write a line to the standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()  # a paid id has to be seen even if the next moment ends the process


def complain(text: str) -> None:
    """Write a line to the standard error output."""
    sys.stderr.write(f"{text}\n")


def agreed(question: str, *, yes: bool) -> bool:
    """Ask once; without a terminal only `--yes` is an agreement.

    :param question: what would be done.
    :param yes: the person has agreed beforehand.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        complain("Nobody can be asked here, so nothing was done. Say --yes to agree beforehand.")
        return False
    sys.stdout.write(f"{question} Type yes to go on: ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() == "yes"
