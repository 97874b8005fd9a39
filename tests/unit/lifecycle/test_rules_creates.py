"""The rules of one paid task, when it begins, when a create was answered, and when the ledger knows it already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import Created, Lost, Refused
from airflow_kie.lifecycle.claims import AlreadyMade, BeingSent, FailedTooOften, InDoubt, Intent
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Fetch, Send, Wait, next_action
from kie_answers import COVER_ID, MUSIC_ID, OTHER_ID
from step_records import CHARGED, COVER, COVER_SENT, FREE, MUSIC, NOW, failed, waits

# --- beginning ---


@pytest.mark.parametrize("kind", [*FREE, *CHARGED])
def test_a_new_task_is_claimed_in_the_ledger_and_sent(kind: str) -> None:
    record = TaskRecord(kind, {"taskId": "s"})
    assert next_action(record, NOW) == Send(record)


@pytest.mark.parametrize("kind", [*FREE, *CHARGED])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_task_whose_id_is_known_is_read_and_never_sent(kind: str, number: int) -> None:
    record = TaskRecord(kind, {"taskId": "s"}, number=number, task_id="t")
    assert next_action(record, NOW) == Fetch(record)


def test_an_id_that_is_known_from_elsewhere_is_read() -> None:
    record = TaskRecord.of_known_task("suno.cover", COVER_ID, source={"taskId": MUSIC_ID})
    assert isinstance(next_action(record, NOW), Fetch)


# --- after a create ---

CLAIMED = replace(COVER, number=1)
MUSIC_CLAIMED = replace(MUSIC, number=1)


def test_a_created_task_is_stored_with_its_id_and_read_later() -> None:
    action = waits(next_action(CLAIMED, NOW, Created(COVER_ID)))
    assert (action.record.task_id, action.record.known_at, action.record.created_here) == (COVER_ID, NOW, True)
    assert action.until > NOW


def test_a_duplicate_is_adopted_and_read_at_once() -> None:
    action = next_action(CLAIMED, NOW, Created(COVER_ID, duplicate=True))
    assert isinstance(action, Fetch)
    assert (action.record.task_id, action.record.adopted) == (COVER_ID, True)
    assert not action.record.created_here


@pytest.mark.parametrize(
    "error",
    [
        errors.KieOutOfCredits("no credits", code=402),
        errors.KieRateLimited("slower", code=429),
        errors.KieNotSent("ConnectError"),
        errors.KieDuplicateWithoutId("exists", code=400),
    ],
)
@pytest.mark.parametrize("record", [CLAIMED, MUSIC_CLAIMED])
def test_a_refused_create_fails_with_its_error_and_may_be_sent_again(
    record: TaskRecord, error: errors.KieError
) -> None:
    action = failed(next_action(record, NOW, Refused(error)))
    assert type(action.error) is type(error)
    assert action.record.task_id is None
    assert isinstance(next_action(action.record, NOW + 60), Send)


@pytest.mark.parametrize("kind", [*FREE, *CHARGED])
def test_a_lost_answer_is_no_failure_before_the_ledger_counts_it_as_in_doubt(kind: str) -> None:
    record = TaskRecord(kind, {"taskId": "s"}, number=1)
    lost = Lost(errors.KieServerError("HTTP 502", code=502))
    assert next_action(record, NOW, lost) == Send(record)
    assert next_action(record, NOW, BeingSent(NOW + 20)) == Wait(record, NOW + 20)


@pytest.mark.parametrize("kind", [*FREE, *CHARGED])
def test_who_waits_for_anothers_request_asks_the_ledger_every_half_minute(kind: str) -> None:
    record = TaskRecord(kind, {"taskId": "s"})
    assert next_action(record, NOW, BeingSent(NOW + 420)) == Wait(record, NOW + 30)


# --- what the ledger knows ---


def in_doubt(*, repeated: bool = False) -> InDoubt:
    return InDoubt(2, Intent.made_at(NOW, owner={"dag": "songs", "run": "monday"}), repeated)


@pytest.mark.parametrize("kind", CHARGED)
def test_a_create_in_doubt_is_never_sent_again_where_it_costs_credits(kind: str) -> None:
    action = failed(next_action(TaskRecord(kind, {"taskId": "s"}), NOW, in_doubt()))
    assert type(action.error) is errors.KieCreateInDoubt
    assert action.error.facts.kind == kind
    assert "attempt 2 (dag songs, run monday)" in str(action.error)
    assert action.error.facts.paid is None
    again = failed(next_action(action.record, NOW + 9e6, in_doubt()))
    assert again.error.reason == "create_in_doubt"


@pytest.mark.parametrize("kind", FREE)
def test_a_create_in_doubt_is_sent_once_more_where_it_costs_nothing(kind: str) -> None:
    record = TaskRecord(kind, {"taskId": "s"})
    assert next_action(record, NOW, in_doubt()) == Send(record, repeated=2)
    twice = failed(next_action(record, NOW, in_doubt(repeated=True)))
    assert type(twice.error) is errors.KieCreateInDoubt
    assert twice.error.facts.paid == "It costs nothing, and was already sent twice"


def test_an_answer_that_is_the_result_itself_is_read_at_once() -> None:
    assert isinstance(next_action(MUSIC, NOW, Created("answer-1", answer={"data": []})), Fetch)
    assert isinstance(next_action(MUSIC, NOW, Created("t-1")), Wait)


def test_what_costs_nothing_is_named_in_the_rows() -> None:
    assert set(FREE) == {"suno.cover"}


@pytest.mark.parametrize("kind", [*FREE, *CHARGED])
def test_a_task_that_somebody_else_has_made_is_adopted_and_read(kind: str) -> None:
    action = next_action(TaskRecord(kind, {"taskId": "s"}), NOW, AlreadyMade(1, OTHER_ID))
    assert isinstance(action, Fetch)
    assert (action.record.number, action.record.task_id, action.record.adopted) == (1, OTHER_ID, True)
    assert not action.record.created_here


def test_the_task_of_the_own_attempt_is_no_adopted_one() -> None:
    action = next_action(replace(MUSIC, number=2), NOW, AlreadyMade(2, OTHER_ID))
    assert (action.record.task_id, action.record.adopted, action.record.created_here) == (OTHER_ID, False, True)


def test_the_time_of_an_adopted_task_is_its_own() -> None:
    action = next_action(replace(COVER_SENT, task_id=None, known_at=NOW - 900), NOW, AlreadyMade(1, OTHER_ID))
    assert action.record.known_at is None


@pytest.mark.parametrize("kind", [*FREE, *CHARGED])
def test_three_failed_tasks_of_any_runs_need_a_person(kind: str) -> None:
    action = failed(next_action(TaskRecord(kind, {"taskId": "s"}), NOW, FailedTooOften(("t1", "t2", "t3"))))
    assert type(action.error) is errors.KieFailedForGood
    assert action.error.remedy is errors.Remedy.PERSON
    assert "3 tasks failed: t1, t2, t3" in str(action.error)
    assert action.record.failed_ids == ("t1", "t2", "t3")
