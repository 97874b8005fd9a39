"""Defaults and argument checks that every operator, sensor and transfer shares."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.untrusted import NOTHING

RETRIES = 30
"""A ceiling for failures caused by Airflow itself (a lost worker, a stale event): each attempt continues with the task
that is already paid. The policy counts KIE's own failures per reason and ends them much earlier."""


def optional(value: Any) -> str:
    """Return a templated text that may be left out, once it is rendered; empty for None and for :data:`NOTHING`."""
    text = str(value or "").strip()
    return "" if text == NOTHING else text


def seconds_in(value: float | timedelta | None) -> float | None:
    """Return the seconds of a time that may be given as a timedelta, as Airflow's own arguments may."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def required(task: str, **values: Any) -> None:
    """Check that templated values are there once they are rendered, and are texts.

    :raises KieInvalidRequest: naming the task and the first value that is empty, or that is a list and the like.
    """
    for name, value in values.items():
        if not value or str(value).strip() in ("", NOTHING):
            raise KieInvalidRequest(f"Task {task} has no {name}; nothing was sent to KIE")
        if not isinstance(value, str):
            raise KieInvalidRequest(
                f"Task {task} takes one text as its {name} and was given a {type(value).__name__}: map it over "
                f"several, with .expand({name}=…); nothing was sent to KIE"
            )


def labels_in(task: str, given: Any) -> dict[str, str]:
    """Return the labels that a task was given, as a map or as its JSON text; none for None and an empty text.

    :param task: the Airflow task's id.
    :param given: once it is rendered.
    :raises KieInvalidRequest: naming the task and what is wrong.
    """
    if not given:
        return {}
    from airflow_kie.archive.inbox.song_request import Labelled, gathering

    problems: list[str] = []
    with gathering(problems):
        return dict(Labelled.model_validate({"labels": given}).labels)
    raise KieInvalidRequest(
        f"Task {task} has invalid {' '.join(problems)} A template makes JSON of a map with `| tojson`; nothing was "
        "sent to KIE"
    )
