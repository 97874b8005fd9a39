"""What a command prints, what it asks, and how it ends."""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import sys
import unicodedata
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, TextIO

from airflow_kie._airflow_private import process
from airflow_kie.monitoring.checks.findings import error_text

_output: TextIO | None = None
INTERRUPTED = 130
_ESCAPED = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, halves of characters, line breaks: a song's title could move a terminal's cursor with them."""


class InvalidArgument(ValueError):
    """What a person has given cannot be used; the message says why."""


def command(
    problem: str = "", advice: str = "", code: int = 1
) -> Callable[[Callable[[Namespace], int]], Callable[[Namespace], NoReturn]]:
    """Make a command of a function that returns its exit code; it ends the process with that code.

    Such a command finds connections in Airflow's database, and ends an error in a sentence rather than a traceback.

    :param problem: what has failed, before the sentence of an error.
    :param advice: what to do, after it.
    :param code: the exit code of an error.
    """

    def wrap(function: Callable[[Namespace], int]) -> Callable[[Namespace], NoReturn]:
        @wraps(function)
        def run(args: Namespace) -> NoReturn:
            process.begin_command()
            with output_for_answers():
                try:
                    ended = function(args)
                except Exception as error:  # noqa: BLE001 - a person reads a sentence, not a traceback
                    complain(" ".join(part for part in (problem, _text(error), advice) if part))
                    ended = code
                sys.exit(ended)

        return run

    return wrap


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, InvalidArgument) else error_text(error)


@contextlib.contextmanager
def output_for_answers() -> Iterator[None]:
    """Leave the standard output to :func:`say` while the block runs: what is logged meanwhile goes to the standard
    error. Airflow logs to the standard output, between what a program reads.

    :raises SystemExit: 130, as shells count it, when the person interrupts the block.
    """
    global _output
    _output = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        complain("Interrupted: what was done so far is kept, and nothing more is done.")
        sys.exit(INTERRUPTED)
    finally:
        _output = None


def say(text: str = "") -> None:
    """Write a line to the standard output; what would not stay in it, such as a line break, is written as an escape."""
    _write(_output or sys.stdout, f"{_in_a_line(text)}\n")


def say_json(value: Any) -> None:
    """Write a value to the standard output as JSON."""
    output = _output or sys.stdout
    every_sign = (output.encoding or "utf-8").lower().startswith("utf")  # others: in JSON's own escapes
    _write(output, f"{json.dumps(value, ensure_ascii=not every_sign, indent=2)}\n")


def complain(text: str) -> None:
    """Write a line to the standard error output."""
    _write(sys.stderr, f"{_in_a_line(text)}\n")


def _in_a_line(text: str) -> str:
    return "".join(repr(sign)[1:-1] if unicodedata.category(sign) in _ESCAPED else sign for sign in text)


@contextlib.contextmanager
def only_warnings_on_a_terminal() -> Iterator[None]:
    """Leave out what the package logs of its progress where a person sees it already, in a line that changes."""
    ours = logging.getLogger("airflow_kie")
    before = ours.level
    if sys.stderr.isatty() and ours.getEffectiveLevel() == logging.INFO:
        ours.setLevel(logging.WARNING)
    try:
        yield
    finally:
        ours.setLevel(before)


def _write(output: TextIO, text: str) -> None:
    """Write a text; a reader that has gone (``| head -1``) ends neither the work nor its exit code."""
    encoding = output.encoding or "utf-8"
    try:
        output.write(text.encode(encoding, "backslashreplace").decode(encoding))
        output.flush()  # a paid id has to be seen even if the next moment ends the process
    except BrokenPipeError:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), output.fileno())


def user_name() -> str:
    """Return what the person who runs a command is called on this machine; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def agreed(question: str, *, yes: bool) -> bool:
    """Ask once; without a terminal only `--yes` is an agreement.

    :param question: what would be done.
    :param yes: the person has agreed beforehand.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        complain(
            f"This is not a terminal, so nothing was asked and nothing was done. Pass --yes to confirm: {question}"
        )
        return False
    _write(sys.stderr, f"{_in_a_line(question)} Type yes to continue: ")  # a person sees it where answers go to a file
    if sys.stdin.readline().strip().lower() == "yes":
        return True
    complain("Not confirmed, so it is not done.")
    return False
