"""Defaults and argument checks that every operator, sensor and transfer shares."""

from __future__ import annotations

from typing import Any

from airflow_kie.client.errors import KieInvalidRequest

RETRIES = 30
"""A ceiling for failures that Airflow makes itself (a lost worker, a stale event): each attempt goes on with the task
that is already paid. The policy counts KIE's own failures per reason and ends them much earlier."""


def required(task: str, **values: Any) -> None:
    """Check that templated values are there once they are rendered.

    :raises KieInvalidRequest: naming the task and the first value that is empty.
    """
    for name, value in values.items():
        if value in (None, ""):
            raise KieInvalidRequest(f"Task {task} was given no {name}; nothing was sent to KIE")
