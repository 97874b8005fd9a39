"""What was told of runs, and what could not be told: two Airflow Variables, which a person may change or delete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Variable

from airflow_kie.monitoring.incidents import is_moment
from airflow_kie.notifications.message import Message

TOLD = "kie_told"
"""Airflow Variable: which failures were told of when."""
UNSENT = "kie_unsent"
"""Airflow Variable: messages of `kie_ops` that could not be sent."""
MOST_UNSENT = 20
"""Messages that are kept: the newest."""
GIVE_UP_AFTER = 24 * 3600.0
"""Seconds after its first refusal at which a message that is refused once more is given up."""
_SINCE = "since"  # ISO, for people who look at the Variable
_DESCRIPTIONS = {
    TOLD: "Failures that were told of lately, so that one cause is one message; deleting this tells them anew.",
    UNSENT: "Messages of DAG kie_ops that could not be sent, for its next look; deleting this forgets them.",
}


@dataclass(frozen=True)
class GivenUp:
    """A message that is not tried again.

    :param message: the message.
    :param why: in words that follow the notifier's name.
    """

    message: Message
    why: str


def failures_told() -> dict[str, dict[str, Any]]:
    """Return by cause when a failure was told of, and of how many since then nobody was told."""
    told = _read(TOLD)
    known = told.items() if isinstance(told, dict) else ()
    return {cause: one for cause, one in known if isinstance(one, dict) and _is_note(one)}


def remember_failures(told: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what :func:`failures_told` returns from now on."""
    _write(TOLD, told)


def forget_failure(cause: str) -> None:
    """Let the next failure for a cause be told of."""
    remember_failures({told: one for told, one in failures_told().items() if told != cause})


def unsent() -> list[Message]:
    """Return the messages that could not be sent, the oldest first."""
    return [_message(one) for one in _unsent()]


def forget_unsent(message: Message) -> None:
    """Forget a message that could not be sent before, if it is one."""
    kept = _unsent()
    others = [one for one in kept if _message(one) != message]
    if len(others) < len(kept):
        _write(UNSENT, others)


def keep_unsent(message: Message, now: float) -> list[GivenUp]:
    """Keep a message that could not be sent; return what is given up instead: itself, or the oldest of many.

    :param message: the message.
    :param now: epoch seconds.
    """
    kept = _unsent()
    since = next((_epoch(one.get(_SINCE), now) for one in kept if _message(one) == message), None)
    if since is not None and now - since >= GIVE_UP_AFTER:
        forget_unsent(message)
        return [GivenUp(message, f"could not send it for {GIVE_UP_AFTER / 3600:.0f} hours")]
    first = now if since is None else min(now, since)
    noted = {
        **asdict(message),
        "over": "yes" if message.over else "",
        _SINCE: datetime.fromtimestamp(first, tz=UTC).isoformat(),
    }
    kept = [*kept, noted] if since is None else [noted if _message(one) == message else one for one in kept]
    _write(UNSENT, kept[-MOST_UNSENT:])
    why = f"could not send it, and {MOST_UNSENT} newer ones wait"
    return [GivenUp(_message(one), why) for one in kept[:-MOST_UNSENT]]


def _unsent() -> list[dict[str, str]]:
    kept = _read(UNSENT)
    return [one for one in kept if _is_texts(one) and one.get("title")] if isinstance(kept, list) else []


def _message(kept: Mapping[str, str]) -> Message:
    names = ("title", "text", "cause", "severity")
    return Message(**{name: kept.get(name, "") for name in names}, over=bool(kept.get("over")))


def _epoch(moment: str | None, otherwise: float) -> float:
    try:
        return datetime.fromisoformat(moment or "").timestamp()
    except (ValueError, OverflowError):
        return otherwise


def _is_note(one: Mapping[str, Any]) -> bool:
    return is_moment(one.get("at")) and isinstance(one.get("unsaid", 0), int)


def _is_texts(one: Any) -> bool:
    return isinstance(one, dict) and all(isinstance(text, str) for text in one.values())


def _read(key: str) -> Any:
    """Return a Variable's value; None if there is none, or one that a person has changed into no JSON."""
    try:
        return json.loads(Variable.get(key, default=None) or "null")
    except ValueError:
        return None


def _write(key: str, value: Any) -> None:
    Variable.set(key, json.dumps(value), description=_DESCRIPTIONS[key])
