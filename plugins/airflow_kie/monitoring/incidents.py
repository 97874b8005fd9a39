"""Incidents: a pure decision about what a health check has found and what was reported before.

An incident is reported when it begins, when it gets worse and when it has lasted another day; it is over when two
health checks in a row have not found it. A cause that could not be checked neither begins nor ends one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from pendulum import duration, from_timestamp, now
from pydantic import TypeAdapter, ValidationError

log = logging.getLogger(__name__)

CAUSES: Mapping[str, str] = {
    "credits": "a KIE account has too few credits",
    "spending_cap": "a connection's own cap on credits is reached",
    "account": "a KIE account cannot be used",
    "kie": "KIE is down",
    "s3": "the bucket refuses",
    "expiry": "KIE is about to delete files that are not archived",
    "inbox": "objects in the inbox are not read",
    "record": "a pending record cannot be read",
    "untried": "a song is pending, and no run has taken it",
    "turn": "one batch is taking too long to send its requests, and the others wait",
    "doubt": "requests may have been paid for, and a person has to decide",
    "ledger": "paid requests are recorded in a different place than before",
    "quiet": "no song was archived for a long time",
    "spending": "a person has stopped new paid tasks",
}
"""Every cause of an incident, and what it means."""
FOR_INFORMATION = frozenset({"spending"})
"""Causes that a person has wanted: they are reported and alarm nobody."""
AGAIN_AFTER = 24 * 3600.0
"""Seconds after which an incident that lasts is reported again."""
OVER_AFTER = 2
"""Checks in a row that must not find an incident before it is over: one that comes and goes is reported once."""


class Change(StrEnum):
    """How an incident has changed."""

    BEGINS = "begins"
    WORSE = "is worse"
    LASTS = "lasts"
    OVER = "is over"


@dataclass(frozen=True)
class Incident:
    """An incident as a health check finds it.

    :param cause: one of :data:`CAUSES`.
    :param where: the account or bucket that it is about; empty for everybody.
    :param summary: what it is, as it follows "214 songs wait: ".
    :param since: epoch seconds at which it began, as far as is known.
    :param level: how bad it is; a higher one than before is reported.
    :param songs: how many songs wait; None where they could not be counted.
    :param dated: say since when.
    """

    cause: str
    where: str
    summary: str
    since: float
    level: int = 1
    songs: int | None = None
    dated: bool = True

    @property
    def key(self) -> str:
        """The name that it is remembered by."""
        return f"{self.cause}:{self.where}"

    def sentence(self) -> str:
        """Return it in a line: "214 songs wait: bucket refuses PutObject since 00:04"."""
        number = "" if self.songs is None else f"{self.songs or 'No'} song{'s wait' if self.songs != 1 else ' waits'}: "
        return f"{number}{self.summary}{f' since {moment(self.since)}' if self.dated else ''}."


@dataclass(frozen=True)
class IncidentState:
    """What is remembered of an incident between health checks.

    :param summary: as it was found last.
    :param since: epoch seconds at which it began.
    :param reported_at: epoch seconds at which it was last reported.
    :param level: the highest level that was reported.
    :param check: which check reported it last: when that is tried again, it reports the same.
    :param missed: checks in a row that have not found it.
    """

    summary: str
    since: float
    reported_at: float
    level: int
    check: str
    missed: int = 0


@dataclass(frozen=True)
class IncidentChange:
    """Something to report.

    :param change: how the incident has changed.
    :param key: the incident's name, the same from begin to end.
    :param sentence: for people.
    """

    change: Change
    key: str
    sentence: str

    @property
    def alarms(self) -> bool:
        """Whether a person should be notified now; an end is good news, and what a person has wanted is known."""
        return not is_information(self.change, self.key)


def decide(
    found: Iterable[Incident],
    before: Mapping[str, IncidentState],
    *,
    check: str,
    at: float,
    unknown: Collection[str] = (),
) -> tuple[list[IncidentChange], dict[str, IncidentState]]:
    """Return what to report, and what to remember.

    :param found: the incidents that a health check has found.
    :param before: what was remembered, by the incidents' names.
    :param check: the check's name; a second try of it has the same name.
    :param at: epoch seconds of the check.
    :param unknown: causes that could not be checked.
    """
    changes: list[IncidentChange] = []
    remembered: dict[str, IncidentState] = {}
    for incident in found:
        new = IncidentState(incident.summary, incident.since, at, incident.level, check)
        state = before.get(incident.key)
        if change := _change(new, state):
            changes.append(IncidentChange(change, incident.key, incident.sentence()))
        if state:
            level, since = max(state.level, new.level), min(state.since, new.since)
            new = replace(new, level=level, since=since) if change else replace(state, summary=new.summary, missed=0)
        remembered[incident.key] = new
    for key, state in before.items():
        if key in remembered:
            continue
        if key.partition(":")[0] in unknown:
            remembered[key] = state
        elif state.missed + 1 < OVER_AFTER:
            remembered[key] = replace(state, missed=state.missed + 1)
        else:
            # At least a minute, also by a clock that was set back.
            lasted = duration(minutes=max(1, round((at - state.since) / 60)))
            ended = f"Over after {lasted}: {state.summary}, since {moment(state.since)}."
            changes.append(IncidentChange(Change.OVER, key, ended))
    return changes, remembered


def _change(new: IncidentState, before: IncidentState | None) -> Change | None:
    if before is None:
        return Change.BEGINS
    if new.level > before.level:
        return Change.WORSE
    if abs(new.reported_at - before.reported_at) >= AGAIN_AFTER:  # reported in the future: by a clock that was wrong
        return Change.LASTS
    return Change.WORSE if before.check == new.check else None  # its first try ended before it was reported


def is_information(change: str, key: str) -> bool:
    """Return whether a change is for information only: an incident's end, and what a person has wanted.

    :param change: one of :class:`Change`.
    :param key: the incident's name, :attr:`Incident.key`.
    """
    return change == Change.OVER or key.partition(":")[0] in FOR_INFORMATION


def merged(incidents: Iterable[Incident]) -> list[Incident]:
    """Return one incident for each key: the earliest beginning and the highest level, with the first summary."""
    found: dict[str, Incident] = {}
    for incident in incidents:
        first = found.setdefault(incident.key, incident)
        found[incident.key] = replace(
            first, since=min(first.since, incident.since), level=max(first.level, incident.level)
        )
    return list(found.values())


def level_of_songs(songs: int | None) -> int:
    """Return how bad it is that so many songs wait: one more for ten times as many."""
    return len(str(songs or 0))


def level_of_credits(balance: float, threshold: float) -> int:
    """Return how bad a balance is: 0 above the threshold, 1 below, 2 below a quarter of it, 3 when nothing is left."""
    if balance <= 0:
        return 3
    return (balance < threshold) + (balance < threshold / 4)


def moment(at: float) -> str:
    """Return a time for a sentence, in UTC: the day too, unless it is today's."""
    when = from_timestamp(at)
    return when.format("HH:mm [UTC]" if when.date() == now("UTC").date() else "DD MMM HH:mm [UTC]")


def to_json(states: Mapping[str, IncidentState]) -> dict[str, Any]:
    """Return the states as plain values, for the asset state store."""
    return {key: asdict(state) for key, state in states.items()}


def from_json(value: Any) -> dict[str, IncidentState]:
    """Return the states that :func:`to_json` made plain values of; none where a person has changed them into others."""
    try:
        return TypeAdapter(dict[str, IncidentState]).validate_python(value or {})
    except ValidationError:
        log.warning("The incidents in the asset state store cannot be read; open ones are reported again.")
        return {}
