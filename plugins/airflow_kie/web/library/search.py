"""What somebody searches the library for, and its condition in the catalogue's SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from unicodedata import normalize
from zoneinfo import ZoneInfo

from airflow_kie.archive.record_base import utc_text

_WORD = re.compile(r"\w+")
_MOST_WORDS = 12
ORDERS: Mapping[str, tuple[tuple[str, bool], ...]] = {
    "newest": (("archived_at", True), ("number", True)),
    "oldest": (("archived_at", False), ("number", False)),
    "title": (("title", False), ("archived_at", True), ("number", True)),
    "expires": (("coalesce(expires_at, '~')", False), ("archived_at", True), ("number", True)),
}
"""How results can be sorted: by which expressions, and whether each is descending. No two results are equal in it."""
MEDIA = ("image", "audio", "video", "text")
STATES = {
    "needs a choice": "chosen = 'needed'",
    "chosen": "chosen = 'made'",
    "rejected": "chosen = 'rejected'",
    "no audio yet": "operation = 'suno.music' and instr(medium, 'audio') = 0",
    "KIE deletes soon": "expires_at between :now and :soon",
}
"""What is known of a result, and its condition in SQL."""
SOON = timedelta(days=3)
"""How long before KIE deletes its own copies that counts as soon."""


@dataclass(frozen=True)
class Search:
    """What somebody searches for.

    :param text: words; each must begin a word of the result, whatever its case and accents.
    :param medium: one of :data:`MEDIA`; empty: any.
    :param model: such as ``V6``; empty: any.
    :param state: one of :data:`STATES`; empty: any.
    :param label: such as ``album: A-17``; empty: any.
    :param since: ISO date of the archiving, in the zone; empty: any.
    :param until: the same, that day included.
    :param zone: name of a time zone, such as ``Europe/Berlin``; empty: UTC.
    :param order: one of :data:`ORDERS`.
    """

    text: str = ""
    medium: str = ""
    model: str = ""
    state: str = ""
    label: str = ""
    since: str = ""
    until: str = ""
    zone: str = ""
    order: str = "newest"


def conditions_of(search: Search) -> tuple[str, dict[str, Any]]:
    """Return the condition of a search in SQL, and its values by name."""
    words = _WORD.findall(normalize("NFC", search.text))[:_MOST_WORDS]
    conditions = {
        "entry.number in (select rowid from words where words match :phrase)": words,
        "instr(medium, :medium) > 0": search.medium in MEDIA,
        "model = :model": search.model,
        "entry.number in (select entry from label where text = :label)": search.label,
        "archived_at >= :since": search.since,
        "archived_at < :until": search.until,
        STATES.get(search.state, ""): search.state in STATES,
    }
    values = {
        **asdict(search),
        "phrase": _phrase(words),
        "since": _begin(search.since, search.zone),
        "until": _begin(search.until, search.zone, after=1),
        **times(),
    }
    where = " and ".join(condition for condition, is_asked in conditions.items() if is_asked)
    return f"where {where}" if where else "", values


def order_of(name: str, *, backwards: bool = False) -> str:
    """Return an order of :data:`ORDERS` in SQL; the usual one for a name that is none."""
    terms = ORDERS.get(name, ORDERS["newest"])
    return ", ".join(f"{term}{' desc' if descends != backwards else ''}" for term, descends in terms)


def own_terms(name: str) -> str:
    """Return what a result is sorted by, as columns; :func:`beyond` takes their values as ``own0``, ``own1``, …"""
    return ", ".join(term for term, _ in ORDERS.get(name, ORDERS["newest"]))


def beyond(name: str, *, backwards: bool = False) -> str:
    """Return the condition of coming after a result in an order; before it, where backwards."""
    condition = ""
    for number, (term, descends) in reversed([*enumerate(ORDERS.get(name, ORDERS["newest"]))]):
        sign = "<" if descends != backwards else ">"
        is_equal = f" or {term} = :own{number} and ({condition})" if condition else ""
        # The first half lets an index begin at the result.
        condition = f"{term} {sign}= :own{number} and ({term} {sign} :own{number}{is_equal})"
    return condition


def times() -> dict[str, str]:
    """Return the times that conditions name."""
    now = datetime.now(UTC)
    return {"now": utc_text(now), "soon": utc_text(now + SOON)}


def _begin(day: str, zone: str, after: int = 0) -> str:
    """Return when a day begins, as times are stored; nothing for no day.

    :param after: so many days later.
    """
    if not day:
        return ""
    begins = datetime.combine(date.fromisoformat(day) + timedelta(after), time(), ZoneInfo(zone or "UTC"))
    return utc_text(begins)


def _phrase(searched: Iterable[str]) -> str:
    """Return FTS5's expression for words that all occur, each as the beginning of one."""
    return " ".join(f'"{word}"*' for word in searched)
