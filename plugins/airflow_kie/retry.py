"""The retry policy: the errors say what helps, the policy turns it into Airflow's decision."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryDecision, RetryPolicy

from airflow_kie.client.errors import KieError, Remedy

if TYPE_CHECKING:
    from airflow.sdk import Context

DELAYS: Mapping[str, tuple[float, float]] = {
    "rate_limited": (10.0, 60.0),  # the account's window is 10 s
    "maintenance": (60.0, 600.0),
    "server_error": (15.0, 300.0),
    "unreachable": (10.0, 300.0),
    "not_sent": (10.0, 300.0),
    "timeout": (5.0, 60.0),
}
"""Reason → seconds before the first retry and the longest pause; each further retry waits twice as long."""
_OTHERS = (10.0, 300.0)


class KieRetryPolicy(RetryPolicy):
    """Fails at once where only a person helps; otherwise waits as long as the reason asks for, jittered per song."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide about a failure; what is no error of KIE keeps the task's own retry settings."""
        if not isinstance(exception, KieError):
            return RetryDecision.default()
        if exception.remedy is Remedy.PERSON:
            return RetryDecision.fail(reason=f"{exception.reason}: no retry can help")
        seconds = retry_seconds(exception, try_number, _seed(context))
        return RetryDecision.retry(delay=timedelta(seconds=seconds), reason=f"{exception.reason}: again later")

    def serialize(self) -> dict[str, Any]:
        """Return nothing: the policy has no settings."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> RetryPolicy:
        """Return the policy."""
        return cls()


def retry_seconds(error: KieError, try_number: int, seed: str) -> float:
    """Return the pause before the next attempt; KIE's Retry-After is honoured as the least.

    :param error: why the attempt failed.
    :param try_number: 1-based number of the attempt that failed.
    :param seed: what the jitter is drawn from, so that songs that failed together do not return together.
    """
    first, longest = DELAYS.get(error.reason, _OTHERS)
    pause = min(longest, first * 2 ** (try_number - 1))
    draw = zlib.crc32(f"{seed}:{try_number}".encode()) / 0xFFFFFFFF
    return float(max(pause * (0.75 + 0.5 * draw), error.facts.retry_after or 0.0))


def _seed(context: Context | None) -> str:
    """Return what tells one song's task from another's: run and map index (Airflow's own jitter lacks the index)."""
    if context is None:
        return ""
    ti: Any = context["ti"]
    return f"{ti.run_id}:{ti.task_id}:{ti.map_index}"
