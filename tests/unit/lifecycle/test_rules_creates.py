"""The rules of one paid task, when it begins and when a create was answered: nothing is paid for twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import Created, Lost, Refused
from airflow_kie.lifecycle.record import Progress, TaskRecord
from airflow_kie.lifecycle.rules import Fetch, Send, next_action
from kie_answers import COVER_ID, MUSIC_ID
from step_records import ANEW, COVER, MUSIC, NOW, ONCE, failed, waits

# --- beginning ---


@pytest.mark.parametrize("kind", [*ONCE, *ANEW])
def test_a_new_task_is_sent_and_the_record_to_store_before_says_sending(kind: str) -> None:
    action = next_action(TaskRecord(kind, {"taskId": "s"}), NOW)
    assert isinstance(action, Send)
    assert (action.record.progress, action.record.task_id) == (Progress.SENDING, None)


@pytest.mark.parametrize("kind", [*ONCE, *ANEW])
@pytest.mark.parametrize("progress", list(Progress))
def test_a_task_whose_id_is_known_is_read_and_never_sent(kind: str, progress: Progress) -> None:
    record = TaskRecord(kind, {"taskId": "s"}, progress=progress, task_id="t")
    assert next_action(record, NOW) == Fetch(record)


@pytest.mark.parametrize("kind", ANEW)
@pytest.mark.parametrize("progress", [Progress.SENDING, Progress.SENT])
def test_a_create_in_doubt_is_never_sent_again_for_a_kind_that_kie_makes_anew(kind: str, progress: Progress) -> None:
    action = failed(next_action(TaskRecord(kind, {"taskId": "s"}, progress=progress), NOW))
    assert type(action.error) is errors.KieCreateInDoubt
    assert action.error.facts.kind == kind
    assert failed(next_action(action.record, NOW + 9e6)).error.reason == "create_in_doubt"


@pytest.mark.parametrize("kind", ONCE)
def test_a_create_in_doubt_is_repeated_for_a_kind_that_kie_makes_once(kind: str) -> None:
    record = TaskRecord(kind, {"taskId": "s"}, progress=Progress.SENDING)
    assert next_action(record, NOW) == Send(record)


def test_an_id_that_is_known_from_elsewhere_is_read() -> None:
    record = TaskRecord.of_known_task("suno.cover", COVER_ID, source={"taskId": MUSIC_ID})
    assert isinstance(next_action(record, NOW), Fetch)


# --- after a create ---

SENDING = replace(COVER, progress=Progress.SENDING)
MUSIC_SENDING = replace(MUSIC, progress=Progress.SENDING)


def test_a_created_task_is_stored_with_its_id_and_read_later() -> None:
    action = waits(next_action(SENDING, NOW, Created(COVER_ID)))
    assert (action.record.progress, action.record.task_id, action.record.known_at) == (Progress.SENT, COVER_ID, NOW)
    assert not action.record.adopted
    assert action.until > NOW


def test_a_duplicate_is_adopted_and_read_at_once() -> None:
    action = next_action(SENDING, NOW, Created(COVER_ID, duplicate=True))
    assert isinstance(action, Fetch)
    assert (action.record.progress, action.record.task_id, action.record.adopted) == (Progress.SENT, COVER_ID, True)


@pytest.mark.parametrize(
    "error",
    [
        errors.KieOutOfCredits("no credits", code=402),
        errors.KieRateLimited("slower", code=429),
        errors.KieNotSent("ConnectError"),
        errors.KieDuplicateWithoutId("exists", code=400),
    ],
)
@pytest.mark.parametrize("record", [SENDING, MUSIC_SENDING])
def test_a_refused_create_fails_with_its_error_and_may_be_sent_again(
    record: TaskRecord, error: errors.KieError
) -> None:
    action = failed(next_action(record, NOW, Refused(error)))
    assert type(action.error) is type(error)
    assert action.record.progress is Progress.NEW
    assert isinstance(next_action(action.record, NOW + 60), Send)


def test_a_lost_cover_create_fails_and_its_retry_asks_again() -> None:
    action = failed(next_action(SENDING, NOW, Lost(errors.KieUnreachable("ReadTimeout"))))
    assert type(action.error) is errors.KieUnreachable
    assert action.error.remedy is errors.Remedy.RETRY
    assert "only once per song" in str(action.error)
    assert "Nothing was paid" not in str(action.error)
    assert isinstance(next_action(action.record, NOW + 60), Send)


@pytest.mark.parametrize("kind", ANEW)
def test_a_lost_create_of_a_kind_that_kie_makes_anew_reaches_a_person(kind: str) -> None:
    record = TaskRecord(kind, {"taskId": "s"}, progress=Progress.SENDING)
    action = failed(next_action(record, NOW, Lost(errors.KieServerError("HTTP 502", code=502))))
    assert type(action.error) is errors.KieCreateInDoubt
    assert (action.error.facts.code, action.error.facts.message) == (502, "HTTP 502")
    assert action.record.progress is Progress.SENDING
