"""How often Airflow failed a task by an event of its own: counted in the scheduler's log."""

from __future__ import annotations

import re

_STALE = re.compile(
    r"ti_id=(\S+)> finished with state success, but the task instance's state attribute is (?:queued|running)"
)
"""What the scheduler says, twice each, when the event of a task's former leg fails the next leg (Airflow 3.3.2)."""


def stale_events(scheduler_log: str) -> int:
    """Return how many legs of tasks the scheduler has failed by the event of the leg before.

    :param scheduler_log: everything that the scheduler has written.
    """
    return len(set(_STALE.findall(scheduler_log)))
