"""The last callbacks of a connection, for people: when, of which task, and what came of each. No body, no signature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

KEPT, KEPT_REFUSED = 50, 20
"""Callbacks that are kept of a connection. Those that prove nothing are counted apart: they push out no real one."""
REFUSED, TEST = "refused", "test"


class Verdict(StrEnum):
    """What a callback was."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    FORGED = "forged"
    UNKNOWN = "unknown"
    FAILED = "failed"
    TEST = "test"


OUTCOMES: Mapping[str, tuple[Verdict, str]] = {
    "woken": (Verdict.ACCEPTED, "Its task read the result at once."),
    "not_yet": (Verdict.ACCEPTED, "Its task was not waiting yet; within seconds it was woken or read the result."),
    "at_next_read": (Verdict.ACCEPTED, "Its task sees the result at its next read."),
    "recorded": (Verdict.ACCEPTED, "Its id is in the ledger; the list that it belongs to reads the result."),
    "stage": (Verdict.ACCEPTED, "An intermediate stage: the task is still running."),
    "sensors": (Verdict.ACCEPTED, "The sensors that waited for it read the result."),
    "song": (Verdict.ACCEPTED, "A song made by another program: it is recorded, and music_cover was started."),
    "unconfirmed": (Verdict.ACCEPTED, "KIE could not be asked whether it is a song; cover_inbox asks again."),
    "gone": (Verdict.DUPLICATE, "No task waits for it any longer: its result was already read."),
    "known": (Verdict.DUPLICATE, "The song is archived, or a run is already working on it."),
    "nobody": (Verdict.UNKNOWN, "No task here waits for it, and it starts nothing."),
    "denied": (Verdict.UNKNOWN, "It claims to be a finished song, which KIE denies."),
    REFUSED: (Verdict.FORGED, "It could not be verified as coming from KIE, and changed nothing."),
    "not_stored": (Verdict.FAILED, "It could not be recorded: KIE got HTTP 503 and may call again."),
    TEST: (Verdict.TEST, "Our own test callback arrived."),
}
"""Outcome, as the metric `kie.callbacks` names it → what the callback was, and what came of it in a sentence."""
_AGAIN = "A repeated callback; it changed nothing more."


@dataclass(frozen=True)
class Delivery:
    """A callback that came.

    :param at: when.
    :param outcome: one of :data:`OUTCOMES`.
    :param task_id: KIE's id; of one that proves nothing it is empty, since anyone can have written it.
    :param kind: the operation or stage, if known.
    """

    at: datetime
    outcome: str
    task_id: str = ""
    kind: str = ""

    def to_json(self) -> list[str]:
        """Return what is stored."""
        return [self.at.isoformat(), self.outcome, self.task_id, self.kind]

    @classmethod
    def from_json(cls, value: Any) -> Delivery:
        """Return a stored one.

        :raises ValueError: for anything else, as TypeError does.
        """
        at, *texts = map(str, value)
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("its time has no zone")
        return cls(moment, *texts)


def newest(*lists: Iterable[Delivery]) -> tuple[Delivery, ...]:
    """Return the callbacks of several lists, each once, the newest first, as many as are kept.

    :param lists: what several processes know, in any order.
    """
    known = sorted({one for some in lists for one in some}, key=lambda one: one.at, reverse=True)
    refused = [one for one in known if one.outcome == REFUSED][:KEPT_REFUSED]
    others = [one for one in known if one.outcome != REFUSED][:KEPT]
    return tuple(sorted((*refused, *others), key=lambda one: one.at, reverse=True))


@dataclass(frozen=True)
class Judged:
    """A callback as people read it.

    :param verdict: what it was.
    :param sentence: what came of it.
    """

    delivery: Delivery
    verdict: Verdict
    sentence: str


def judged(deliveries: Sequence[Delivery]) -> list[Judged]:
    """Return what each callback was; one that had come before in the same way is a duplicate.

    :param deliveries: the newest first.
    """
    found, seen = [], set()
    for one in reversed(deliveries):
        verdict, sentence = OUTCOMES.get(one.outcome, (Verdict.ACCEPTED, one.outcome))
        same = (one.task_id, one.kind)
        if verdict is Verdict.ACCEPTED and same in seen:
            verdict, sentence = Verdict.DUPLICATE, _AGAIN
        if verdict not in (Verdict.FORGED, Verdict.FAILED):  # KIE calls again after a 500
            seen.add(same)
        found.append(Judged(one, verdict, sentence))
    return found[::-1]
