"""The retry policy: the errors say what helps, the policy counts per reason and turns it into Airflow's decision.

Airflow's own failures (a lost worker, a stale event, a queue that is too slow) never reach a policy: they use up
`retries`, a high ceiling, and no budget of KIE.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryDecision, RetryPolicy

from airflow_kie import metrics
from airflow_kie.client.errors import KieError, Remedy

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """How often and how fast a reason is tried again.

    :param retries: how many retries it is given.
    :param first: seconds before the first one; each further pause is twice as long.
    :param longest: the longest pause in seconds.
    """

    retries: int
    first: float
    longest: float


BUDGETS: Mapping[str, Budget] = {
    "rate_limited": Budget(10, 10, 60),  # the account's window is 10 s
    "throttled": Budget(20, 10, 60),
    "maintenance": Budget(8, 60, 600),
    "server_error": Budget(3, 15, 120),  # can be a permanent problem in the input
    "unreachable": Budget(6, 10, 300),
    "not_sent": Budget(6, 10, 300),
    "bad_answer": Budget(3, 15, 120),
    "generation_failed": Budget(2, 30, 300),
    "no_files": Budget(3, 60, 300),
    "timeout": Budget(2, 5, 60),
    "task_not_shown": Budget(5, 60, 600),
    "file_unreachable": Budget(6, 10, 300),
    "file_damaged": Budget(4, 20, 300),
    "file_empty": Budget(4, 20, 300),
    "file_truncated": Budget(4, 20, 300),
}
"""What a reason is worth; a reason that only a person can fix is worth nothing and is not in this table."""
OTHER = Budget(3, 10, 120)
"""For reasons without a row, and for exceptions that are no errors of KIE."""
_STORE_KEY = "retries"
_DEEPEST = 16
"""Causes of an exception that are examined."""


class KieRetryPolicy(RetryPolicy):
    """Fails at once where only a person helps; otherwise retries as often and as slowly as the reason is worth."""

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide about a failure; counts are kept in the task state store, and begin again with a clear."""
        exception = _kie_error_in(exception)
        reason = exception.reason if isinstance(exception, KieError) else type(exception).__name__
        if isinstance(exception, KieError) and exception.remedy is Remedy.PERSON:
            _count_failed(context, reason, max_tries)
            return RetryDecision.fail(reason=f"{reason}: no retry can help")
        budget = BUDGETS.get(reason, OTHER)
        failures = _counted(context, reason, max_tries, try_number)
        if failures > budget.retries:
            _count_failed(context, reason, max_tries)
            spent = f"{reason}: failed {failures} times, and no retries are left; clear the task for more"
            return RetryDecision.fail(reason=spent)
        if try_number <= max_tries:
            metrics.RETRIED.add(reason=reason)
        else:
            _count_failed(context, reason, max_tries)
        retry_after = exception.facts.retry_after if isinstance(exception, KieError) else None
        seconds = max(retry_seconds(budget, failures, _seed(context)), retry_after or 0.0)
        return RetryDecision.retry(
            delay=timedelta(seconds=seconds), reason=f"{reason}: retry {failures} of {budget.retries}"
        )

    def serialize(self) -> dict[str, Any]:
        """Return nothing: the policy has no settings."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> RetryPolicy:
        """Return the policy."""
        return cls()


def _kie_error_in(exception: BaseException) -> BaseException:
    """Return the error of KIE that an exception was raised from, as a chat model's is; else the exception itself."""
    cause: BaseException | None = exception
    for _ in range(_DEEPEST):
        if cause is None or isinstance(cause, KieError):
            break
        cause = cause.__cause__
    return cause if isinstance(cause, KieError) else exception


def retry_seconds(budget: Budget, failures: int, seed: str) -> float:
    """Return the pause before the next attempt, between 3/4 and 5/4 of the budget's.

    :param budget: what the reason is worth.
    :param failures: how often it has failed by now, from 1.
    :param seed: what the jitter is drawn from, so that songs that failed together do not return together.
    """
    pause = min(budget.longest, budget.first * 2 ** (failures - 1))
    draw = zlib.crc32(f"{seed}:{failures}".encode()) / 0xFFFFFFFF
    return float(pause * (0.75 + 0.5 * draw))


def _counted(context: Context | None, reason: str, max_tries: int, try_number: int) -> int:
    """Count a failure and return how often this reason has failed since the last clear."""
    store: Any = context.get("task_state_store") if context is not None else None
    if store is None:
        return try_number
    known = _known(store, max_tries)
    counts = {**known.get("counts", {})}
    counts[reason] = counts.get(reason, 0) + 1
    store.set(_STORE_KEY, {**known, "max_tries": max_tries, "counts": counts})
    return int(counts[reason])


def _count_failed(context: Context | None, reason: str, max_tries: int) -> None:
    """Count in the metric that the task has failed for good: once for a reason until a clear.

    A stale event of Airflow can give the task one more try although this one says that it was the last. If it comes
    later, the next try finds in the store that this reason is counted; if it came before, this try has been replaced:
    the store refuses it, its state will be refused too, and the next try counts.
    """
    store: Any = context.get("task_state_store") if context is not None else None
    try:
        if store is not None:
            known = _known(store, max_tries)
            if reason in known.get("failed", ()):
                return
            store.set(_STORE_KEY, {**known, "max_tries": max_tries, "failed": [*known.get("failed", ()), reason]})
    except Exception as refused:  # noqa: BLE001 - a metric changes no decision
        log.warning("The metric kie.failed lacks this failure: the task state store cannot be used. %s", refused)
        return
    metrics.FAILED.add(reason=reason)


def _known(store: Any, max_tries: int) -> dict[str, Any]:
    """Return what is kept since the last clear, which raises `max_tries`."""
    stored = store.get(_STORE_KEY)
    return stored if isinstance(stored, dict) and stored.get("max_tries") == max_tries else {}


def _seed(context: Context | None) -> str:
    """Return what distinguishes one song's task from another's: Airflow's own jitter lacks the map index."""
    if context is None:
        return ""
    ti: Any = context["ti"]
    return f"{ti.run_id}:{ti.task_id}:{ti.map_index}"
