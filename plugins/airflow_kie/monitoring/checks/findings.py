"""What a check has found: one line, in a whole form and in one that may be shown to everybody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from airflow_kie.client.errors import KieError

_NO_TABLE = re.compile(r"no such table|relation \S+ does not exist|Table \S+ doesn't exist")
"""What SQLite, PostgreSQL and MySQL say of a table that is not there."""


class Level(StrEnum):
    """How good or bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One check's line.

    :param check: what was checked.
    :param level: the result.
    :param seen: what was seen and what to do, in sentences.
    :param public: the same without names, addresses and amounts.
    :param connection: the Airflow connection that it is about, if it is about one.
    """

    check: str
    level: Level
    seen: str
    public: str
    connection: str | None = None


def finding(check: str, level: Level, sentence: str, **private: object) -> Finding:
    """Return a finding.

    :param sentence: with a ``{name}`` in place of everything that only its owner may see.
    :param private: what is put there.
    """
    hidden = {name: f"<{name.replace('_', ' ')}>" for name in private}
    return Finding(check, level, sentence.format(**private), sentence.format(**hidden))


def error_text(error: Exception, *, quoted: bool = True) -> str:
    """Return what has happened and what to do about it, in a line.

    :param quoted: with the message of KIE, S3 or a library; without it, the text holds nothing private.
    """
    if isinstance(error, KieError):
        code = f" [code {error.facts.code}]" if error.facts.code is not None else ""
        message = f": {error.facts.message.rstrip('. ')}" if quoted and error.facts.message else ""
        return f"{error.what}{message}{code}. {error.todo}"
    name, first = type(error).__name__, (str(error).splitlines() or [""])[0]
    if name in {"OperationalError", "ProgrammingError"} and _NO_TABLE.search(first):
        return "A table that Airflow needs is not in its database. Run `airflow db migrate`, which changes no data."
    return f"Unexpected error: {name}: {first}" if quoted else f"Unexpected error: {name}."


def failed(check: str, error: Exception) -> Finding:
    """Return the finding of an error; its public form says which error it is and nothing that it quotes."""
    return Finding(check, Level.FAIL, error_text(error), error_text(error, quoted=False))
