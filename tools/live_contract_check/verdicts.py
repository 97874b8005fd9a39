"""Assumptions and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

Seen = TypeVar("Seen")


class Verdict(StrEnum):
    """What became of an assumption."""

    HELD = "held"
    BROKEN = "did not hold"
    UNSEEN = "not seen"


Judged = tuple[Verdict, str]


@dataclass(frozen=True)
class Assumption(Generic[Seen]):
    """One assumption.

    :param sentence: what is assumed.
    :param judge: what became of it, with what was seen.
    """

    sentence: str
    judge: Callable[[Seen], Judged]


def held(true: bool, seen_value: object) -> Judged:
    """Return whether an assumption has held, with what was seen."""
    return (Verdict.HELD if true else Verdict.BROKEN, str(seen_value))


def unseen(why: str) -> Judged:
    """Return that nothing was seen of it, with the reason."""
    return Verdict.UNSEEN, why


def judged(table: Sequence[Assumption[Seen]], seen: Seen) -> list[tuple[Assumption[Seen], Verdict, str]]:
    """Return what became of every assumption, in the order of the table."""
    return [(assumption, *assumption.judge(seen)) for assumption in table]
