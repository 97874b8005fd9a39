"""What holds songs up, told of once: a pure decision about what is seen now and what was told before.

A cause is told of when it begins, when it gets worse and when it has lasted another day; it is over when two looks in
a row have not seen it. A look that could not look into something says nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "credits": "a KIE account has too few credits",
        "daily_cap": "a connection's own cap on new tasks is reached",
        "account": "a KIE account cannot be used",
        "kie": "KIE is down",
        "s3": "the bucket refuses",
        "expiry": "KIE is about to delete files that are not archived",
        "inbox": "objects in the inbox are not read",
        "record": "it cannot be read who is owed something",
    }
)
"""Every cause that holds songs up, in words."""
AGAIN_AFTER = 24 * 3600.0
"""Seconds after which a cause that lasts is told of again."""
OVER_AFTER = 2
"""Looks in a row that must not see a cause before it is over: one that comes and goes is told of once."""


class What(StrEnum):
    """What is new about a cause."""

    BEGINS = "begins"
    WORSE = "is worse"
    LASTS = "lasts"
    OVER = "is over"


@dataclass(frozen=True)
class Condition:
    """A cause as it is seen now.

    :param cause: one of :data:`CAUSES`.
    :param where: the account or bucket that it is about; empty for everybody.
    :param said: what it is, in words that follow "214 songs wait: ".
    :param since: epoch seconds at which it began, as far as is known.
    :param level: how bad it is; a higher one than before is told of.
    :param songs: how many songs wait; None where they could not be counted.
    :param dated: say since when.
    """

    cause: str
    where: str
    said: str
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
        return f"{number}{self.said}{f' since {moment(self.since)}' if self.dated else ''}."


@dataclass(frozen=True)
class Told:
    """A cause as it was told of.

    :param said: its words then.
    :param since: epoch seconds at which it began.
    :param at: epoch seconds at which it was last told of.
    :param level: the highest level that was told of.
    :param look: which look told of it last: when that is tried again, it tells the same.
    :param missed: looks in a row that have not seen it.
    """

    said: str
    since: float
    at: float
    level: int
    look: str
    missed: int = 0

    def __post_init__(self) -> None:
        """Refuse what a person has written into the Variable and what no look can compare."""
        whole = isinstance(self.level, int) and isinstance(self.missed, int) and isinstance(self.said, str)
        if not (whole and is_moment(self.since) and is_moment(self.at)):
            raise TypeError("this is no note of a cause")


@dataclass(frozen=True)
class News:
    """Something to tell.

    :param what: what is new.
    :param key: the cause's name, the same from begin to end.
    :param sentence: for people.
    """

    what: What
    key: str
    sentence: str

    @property
    def alarms(self) -> bool:
        """Whether a person should be told now; an end is good news."""
        return self.what is not What.OVER


@dataclass(frozen=True)
class Look:
    """One look at everything.

    :param name: what this look is called; a second try of it has the same name.
    :param at: epoch seconds.
    :param seen: the causes that are there.
    :param unseen: causes that could not be looked at.
    """

    name: str
    at: float
    seen: Sequence[Condition]
    unseen: frozenset[str] = frozenset()


def decide(look: Look, told: Mapping[str, Told]) -> tuple[list[News], dict[str, Told]]:
    """Return what is to be told, and what is to be remembered of it.

    :param look: what is seen now.
    :param told: what was remembered.
    """
    news: list[News] = []
    remembered: dict[str, Told] = {}
    for condition in look.seen:
        before = told.get(condition.key)
        what = _what_is_new(look, condition, before)
        if what:
            news.append(News(what, condition.key, condition.sentence()))
        remembered[condition.key] = _remembered(look, condition, before, what)
    for key, before in told.items():
        if key in remembered:
            continue
        if key.partition(":")[0] in look.unseen:
            remembered[key] = before
        elif before.missed + 1 < OVER_AFTER:
            remembered[key] = replace(before, missed=before.missed + 1)
        else:
            lasted = _lasted(look.at - before.since)
            news.append(News(What.OVER, key, f"Over after {lasted}: {before.said}, since {moment(before.since)}."))
    return news, remembered


def _what_is_new(look: Look, condition: Condition, before: Told | None) -> What | None:
    if before is None:
        return What.BEGINS
    if condition.level > before.level:
        return What.WORSE
    if abs(look.at - before.at) >= AGAIN_AFTER:  # told of in the future: by a clock that was wrong
        return What.LASTS
    return What.WORSE if before.look == look.name else None  # its first try ended before anybody was told


def _remembered(look: Look, condition: Condition, before: Told | None, what: What | None) -> Told:
    if before is None:
        return Told(condition.said, condition.since, look.at, condition.level, look.name)
    level, since = max(before.level, condition.level), min(before.since, condition.since)
    if what is None:
        return replace(before, said=condition.said, missed=0)
    return Told(condition.said, since, look.at, level, look.name)


def joined(conditions: Iterable[Condition]) -> list[Condition]:
    """Return one condition for each key: the earliest beginning and the highest level, in the first one's words."""
    found: dict[str, Condition] = {}
    for condition in conditions:
        first = found.setdefault(condition.key, condition)
        found[condition.key] = replace(
            first, since=min(first.since, condition.since), level=max(first.level, condition.level)
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


def is_moment(value: object) -> bool:
    """Return whether a value is a time in epoch seconds that a date can be made of."""
    return isinstance(value, int | float) and 0 <= value < 1e11


def moment(at: float) -> str:
    """Return a time for a sentence, in UTC: the day too, unless it is today's."""
    when = datetime.fromtimestamp(at, tz=UTC)
    today = datetime.now(UTC).date() == when.date()
    return f"{when:%H:%M} UTC" if today else f"{when:%d %b %H:%M} UTC"


def _lasted(seconds: float) -> str:
    minutes = max(0, round(seconds / 60))  # less than nothing: by a clock that was set back
    if minutes == 1:
        return "1 minute"
    return f"{minutes} minutes" if minutes < 120 else f"{timedelta(minutes=minutes) // timedelta(hours=1)} hours"


def to_json(told: Mapping[str, Told]) -> dict[str, Any]:
    """Return what a Variable holds."""
    return {key: asdict(one) for key, one in told.items()}


def from_json(value: Any) -> dict[str, Told]:
    """Return what a Variable says; what is not ours, or not whole, is told of anew."""
    told = {}
    for key, one in value.items() if isinstance(value, dict) else ():
        try:
            told[str(key)] = Told(**{name: one[name] for name in Told.__dataclass_fields__ if name in one})
        except (TypeError, KeyError):
            continue
    return told
