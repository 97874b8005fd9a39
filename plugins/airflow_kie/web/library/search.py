"""What somebody searches the library for, and its condition in the catalogue's SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_WORD = re.compile(r"\w+")
_MOST_WORDS = 12
ORDERS = {
    "newest": "archived_at desc, number desc",
    "oldest": "archived_at, number",
    "title": "title collate nocase, archived_at desc",
    "expires": "expires_at is null, expires_at, archived_at desc",
}
"""How results can be sorted."""
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
    :param since: ISO date, of the archiving; empty: any.
    :param until: the same, that day included.
    :param order: one of :data:`ORDERS`.
    """

    text: str = ""
    medium: str = ""
    model: str = ""
    state: str = ""
    label: str = ""
    since: str = ""
    until: str = ""
    order: str = "newest"


def conditions_of(search: Search) -> tuple[str, dict[str, Any]]:
    """Return the condition of a search in SQL, and its values by name."""
    words = _WORD.findall(search.text)[:_MOST_WORDS]
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
        "until": f"{search.until}T~",
        **times(),
    }
    where = " and ".join(condition for condition, is_asked in conditions.items() if is_asked)
    return f"where {where}" if where else "", values


def times() -> dict[str, str]:
    """Return the times that conditions name."""
    now = datetime.now(UTC)
    return {"now": now.isoformat(), "soon": (now + SOON).isoformat()}


def _phrase(searched: Iterable[str]) -> str:
    """Return FTS5's expression for words that all occur, each as the beginning of one."""
    return " ".join(f'"{word}"*' for word in searched)
