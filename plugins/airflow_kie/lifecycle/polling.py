"""When to read a task again: first near the time at which such tasks end, then more and more slowly."""

from __future__ import annotations

import zlib

from airflow_kie.client.operations.operation import Timing

LONGEST = 30.0
"""Seconds; KIE's own advice for covers (suno-api/cover-suno-callbacks)."""
SHORTEST = 1.0
"""Seconds; far below KIE's limit of 10 reads a second for a task (3 on its older pages), whatever is configured."""
READS_PER_SECOND = 10.0
"""What all waiting tasks of one account and process may read together."""
_JITTER = 0.15


def seconds_to_next_read(
    timing: Timing, age: float, *, seed: str, waiting: int = 1, interval: float | None = None
) -> float:
    """Return how long to wait before the next read.

    :param timing: when such tasks usually end.
    :param age: seconds since the task is known.
    :param seed: what the jitter is drawn from (the task id), so that tasks made together are not read together.
    :param waiting: how many tasks of this account wait in this process; the more, the slower.
    :param interval: seconds between reads, where the user has set one; otherwise dense near the typical end.
    """
    age = max(0.0, age)  # clocks of two machines differ
    if interval is None and age < timing.first_read:
        base = timing.first_read - age
    else:
        base = interval if interval is not None else _dense(timing, age)
    base = max(base, SHORTEST, waiting / READS_PER_SECOND)
    draw = zlib.crc32(f"{seed}:{age:.3f}".encode()) / 0xFFFFFFFF
    return max(SHORTEST, base * (1 + _JITTER * (2 * draw - 1)))


def _dense(timing: Timing, age: float) -> float:
    near = min(LONGEST, max(2.0, timing.typical / 12))
    over = max(0.0, age - 2 * timing.typical) / timing.typical
    return min(LONGEST, near * (1 + over))
