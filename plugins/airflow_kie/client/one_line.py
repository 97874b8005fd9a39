"""Texts of others in one line: titles, ids, object keys and KIE's words must not write lines of their own into a log.

A line break in a title makes a forged line, an escape sequence changes what a terminal shows, half a surrogate pair
breaks the handler that writes it.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Mapping
from typing import Any

_BROKEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of controls, invisible formats, lone surrogates, and separators of lines and paragraphs."""
_JOINERS = "\u200c\u200d"
"""Formats that scripts and emoji need within a word."""


def one_line(text: object) -> str:
    """Return a text with a blank for each character that is not to be seen, and for each run of white space.

    :param text: anybody's text, or what has one.
    """
    shown = (" " if _is_broken(character) else character for character in str(text))
    return " ".join("".join(shown).split())


def _is_broken(character: str) -> bool:
    return character not in _JOINERS and unicodedata.category(character) in _BROKEN


class OneLineArguments(logging.Handler):
    """Makes the arguments of every record of this package one line, before any handler that writes it.

    Records go from their logger upwards. So this handler, which stands at the package's own logger, sees each before
    those of the root; a filter there would see none of its modules' records.
    """

    def handle(self, record: logging.LogRecord) -> bool:
        """Change the record's arguments; numbers stay numbers, and our own words stay as they are."""
        arguments = record.args
        if isinstance(arguments, Mapping):
            record.args = {name: _argument(value) for name, value in arguments.items()}
        elif arguments:
            record.args = tuple(map(_argument, arguments))
        return True


def _argument(value: Any) -> Any:
    """Return an argument as it is, blanks at its ends included, unless it would write a line of its own."""
    if value is None or isinstance(value, (int, float)):
        return value
    return one_line(value) if any(map(_is_broken, str(value))) else value


def keep_log_lines_whole() -> None:
    """Put the handler at the package's logger, once."""
    package = logging.getLogger("airflow_kie")
    if not any(isinstance(handler, OneLineArguments) for handler in package.handlers):
        package.addHandler(OneLineArguments())
