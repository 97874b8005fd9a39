"""What was told of runs, and what could not be told: two Airflow Variables, which a person may change or delete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow.sdk import Variable

from airflow_kie.conditions import is_moment

TOLD = "kie_told"
"""Airflow Variable: which failures were told of when."""
UNSENT = "kie_unsent"
"""Airflow Variable: messages of `kie_ops` that could not be sent."""
MOST_UNSENT = 20
_DESCRIPTIONS = {
    TOLD: "Failures that were told of lately, so that one cause is one message; deleting this tells them anew.",
    UNSENT: "Messages of DAG kie_ops that could not be sent, for its next look; deleting this forgets them.",
}


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


def take_unsent() -> list[dict[str, str]]:
    """Return the messages that could not be sent, and forget them: they are sent now."""
    unsent = _unsent()
    if unsent:
        _write(UNSENT, [])
    return unsent


def keep_unsent(message: Mapping[str, str]) -> None:
    """Keep a message that could not be sent; of many the newest."""
    _write(UNSENT, [*_unsent(), message][-MOST_UNSENT:])


def _unsent() -> list[dict[str, str]]:
    kept = _read(UNSENT)
    return [one for one in kept if _is_texts(one)] if isinstance(kept, list) else []


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
