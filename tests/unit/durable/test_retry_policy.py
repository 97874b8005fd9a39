"""The retry policy: what a reason is worth, and that only a person's remedies end a task at once."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import RetryAction

import airflow_kie.archive.s3.errors  # noqa: F401 - its errors belong to the table
from airflow_kie.client.errors import (
    FileEmpty,
    KieError,
    KieGenerationFailed,
    KieMaintenance,
    KieNotSent,
    KieOutOfCredits,
    KieRateLimited,
    KieServerError,
    KieUnauthorized,
    Remedy,
)
from airflow_kie.durable.retry_policy import BUDGETS, OTHER, Budget, KieRetryPolicy, retry_seconds
from airflow_kie.lifecycle.ledger import MOST_FAILED
from airflow_task import FakeTaskStateStore, TaskInstance

WORTH = {
    "rate_limited": Budget(10, 10, 60),
    "throttled": Budget(20, 10, 60),
    "maintenance": Budget(8, 60, 600),
    "server_error": Budget(3, 15, 120),
    "unreachable": Budget(6, 10, 300),
    "not_sent": Budget(6, 10, 300),
    "bad_answer": Budget(3, 15, 120),
    "generation_failed": Budget(MOST_FAILED - 1, 30, 300),
    "no_files": Budget(3, 60, 300),
    "timeout": Budget(2, 5, 60),
    "task_not_shown": Budget(5, 60, 600),
    "file_unreachable": Budget(6, 10, 300),
    "file_damaged": Budget(4, 20, 300),
    "file_empty": Budget(4, 20, 300),
    "file_truncated": Budget(4, 20, 300),
}
"""What KIE's pages and its recorded troubles ask for; a retry after a failed generation pays for a new task."""
ERRORS = sorted(KieError.by_reason.values(), key=lambda error: error.reason)


def decided(error: BaseException, store: FakeTaskStateStore | None = None, map_index: int = 0, **ti: Any) -> Any:
    """Return the decision about the next failure of a task."""
    instance = TaskInstance(map_index=map_index, **ti)
    context: Any = {"ti": instance, "task_state_store": store or FakeTaskStateStore()}
    return KieRetryPolicy().evaluate(error, instance.try_number, instance.max_tries, context)


@pytest.mark.parametrize(
    "kind", [kind for kind in ERRORS if kind.remedy is Remedy.PERSON], ids=lambda kind: kind.reason
)
def test_what_only_a_person_can_mend_is_not_retried(kind: type[KieError]) -> None:
    assert decided(kind()).action is RetryAction.FAIL


@pytest.mark.parametrize(
    "kind", [kind for kind in ERRORS if kind.remedy is not Remedy.PERSON], ids=lambda kind: kind.reason
)
def test_everything_else_is_retried_as_often_as_its_reason_is_worth(kind: type[KieError]) -> None:
    store = FakeTaskStateStore()
    retries = BUDGETS.get(kind.reason, OTHER).retries
    decisions = [decided(kind(), store).action for _ in range(retries + 1)]
    assert decisions == [*[RetryAction.RETRY] * retries, RetryAction.FAIL]


def test_every_reason_with_a_budget_exists_and_can_be_retried() -> None:
    for reason in BUDGETS:
        assert KieError.by_reason[reason].remedy is not Remedy.PERSON, reason


def test_a_reason_is_worth_what_was_decided_and_anything_else_three_retries() -> None:
    assert dict(BUDGETS) == WORTH
    assert Budget(3, 10, 120) == OTHER


def test_reasons_are_counted_apart() -> None:
    store = FakeTaskStateStore()
    for _ in range(BUDGETS["server_error"].retries):
        decided(KieServerError(), store)
    assert decided(KieNotSent(), store).action is RetryAction.RETRY
    assert decided(KieServerError(), store).action is RetryAction.FAIL


def test_a_clear_begins_the_count_anew() -> None:
    store = FakeTaskStateStore()
    for _ in range(BUDGETS["server_error"].retries + 1):
        decided(KieServerError(), store, max_tries=5)
    assert decided(KieServerError(), store, max_tries=11).action is RetryAction.RETRY


def test_retry_after_is_honoured_as_the_least() -> None:
    assert decided(KieRateLimited(retry_after=500.0)).retry_delay.total_seconds() >= 500


@pytest.mark.parametrize(
    "error", [KieMaintenance(), KieServerError(), KieNotSent(), FileEmpty(), KieGenerationFailed()]
)
def test_pauses_grow_and_stay_within_their_bounds(error: KieError) -> None:
    budget = BUDGETS[error.reason]
    pauses = [retry_seconds(budget, failures, "song") for failures in range(1, 12)]
    assert 0.75 * budget.first <= pauses[0] <= 1.25 * budget.first
    assert max(pauses) <= 1.25 * budget.longest
    assert pauses[1] > 0.9 * pauses[0]


def test_songs_that_failed_together_do_not_return_together() -> None:
    delays = {decided(KieNotSent(), map_index=number).retry_delay for number in range(50)}
    assert len(delays) == 50


@pytest.mark.parametrize("error", [KieUnauthorized(), KieOutOfCredits()])
def test_the_decision_names_the_reason(error: KieError) -> None:
    assert decided(error).reason == f"{error.reason}: no retry can help"


def test_an_exception_that_is_none_of_ours_is_retried_a_few_times() -> None:
    store = FakeTaskStateStore()
    decisions = [decided(ValueError("?"), store).action for _ in range(OTHER.retries + 1)]
    assert decisions == [*[RetryAction.RETRY] * OTHER.retries, RetryAction.FAIL]


def test_the_policy_survives_serialization() -> None:
    assert isinstance(KieRetryPolicy.deserialize(KieRetryPolicy().serialize()), KieRetryPolicy)
