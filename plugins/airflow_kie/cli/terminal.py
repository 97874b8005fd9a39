"""What a command says to a person and asks of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TextIO

_output: TextIO | None = None


@contextlib.contextmanager
def ours_alone() -> Iterator[None]:
    """Leave the standard output to :func:`say` while the block runs: what is logged meanwhile goes to the standard
    error. Airflow logs to the standard output, in the midst of what a program reads."""
    global _output
    _output = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _output = None


def say(text: str = "") -> None:
    """Write a line to the standard output."""
    output = _output or sys.stdout
    output.write(f"{text}\n")
    output.flush()  # a paid id has to be seen even if the next moment ends the process


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
    output = _output or sys.stdout
    output.write(f"{question} Type yes to go on: ")
    output.flush()
    return sys.stdin.readline().strip().lower() == "yes"
