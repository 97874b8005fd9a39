"""What a check has found: one line, in a whole form and in one that may be shown to everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_kie.cli.terminal import say, say_json
from airflow_kie.client.errors import KieError


class Level(StrEnum):
    """How good or bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One check's line.

    :param check: what was looked at.
    :param level: how it is.
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
    :param private: what stands there.
    """
    hidden = {name: f"<{name.replace('_', ' ')}>" for name in private}
    return Finding(check, level, sentence.format(**private), sentence.format(**hidden))


def failed(check: str, error: Exception) -> Finding:
    """Return the finding of an error; its public form says which error it is and nothing that it quotes."""
    if isinstance(error, KieError):
        code = f" [code {error.facts.code}]" if error.facts.code is not None else ""
        said = f": {error.facts.message.rstrip('. ')}" if error.facts.message else ""
        return Finding(
            check, Level.FAIL, f"{error.what}{said}{code}. {error.todo}", f"{error.what}{code}. {error.todo}"
        )
    first = (str(error).splitlines() or [""])[0]
    name = type(error).__name__
    return Finding(
        check, Level.FAIL, f"This could not be looked at: {name}: {first}", f"This could not be looked at: {name}."
    )


Check = Callable[[], Iterable[Finding]]


def looked(check: str, look: Check, connection: str | None = None) -> Iterator[Finding]:
    """Yield what a check finds; a check that breaks is a finding too, so that the next one is still made."""
    try:
        for found in look():
            yield Finding(found.check, found.level, found.seen, found.public, connection)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks are worth knowing
        broken = failed(check, error)
        yield Finding(check, broken.level, broken.seen, broken.public, connection)


def shown(found: Finding, connections: Sequence[str], *, redacted: bool) -> dict[str, Any]:
    """Return a finding as plain values.

    :param connections: all connections that are looked at; redacted, they are numbered in this order.
    :param redacted: leave out what only its owner may see.
    """
    about = found.connection
    if about is not None and redacted:
        about = f"connection {connections.index(about) + 1}"
    seen = found.public if redacted else found.seen
    return {"check": found.check, "connection": about, "level": found.level.value, "seen": seen}


def line(row: dict[str, Any], several: bool) -> str:
    """Return a finding's line.

    :param row: what :func:`shown` returned.
    :param several: name the connection, since there are several.
    """
    about = f"[{row['connection']}] " if several and row["connection"] else ""
    return f"{row['level']:<4}  {row['check']:<12}  {about}{row['seen']}"


def report(
    findings: Iterable[Finding],
    connections: Sequence[str],
    *,
    redacted: bool = False,
    as_json: bool = False,
    head: dict[str, str] | None = None,
) -> bool:
    """Print findings as they come; return whether one has failed.

    :param findings: a line is printed as soon as it is found.
    :param connections: all connections that are looked at.
    :param redacted: leave out what only its owner may see.
    :param as_json: print one JSON object at the end instead.
    :param head: versions and the like, printed first.
    """
    rows, bad = [], False
    if head and not as_json:
        say(", ".join(f"{name} {value}" for name, value in head.items()))
    for found in findings:
        bad = bad or found.level is Level.FAIL
        row = shown(found, connections, redacted=redacted)
        rows.append(row)
        if not as_json:
            say(line(row, len(connections) > 1))
    if as_json:
        say_json({"versions": head or {}, "ok": not bad, "checks": rows})
    return bad
