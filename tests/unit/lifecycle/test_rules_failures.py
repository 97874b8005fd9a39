"""The rules of one paid task, when KIE tells of a failure: what is believed, and what a new task replaces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import Answer, Created, Ended, Lost, Refused
from airflow_kie.lifecycle.deadline import end_of_wait
from airflow_kie.lifecycle.ledger import MOST_FAILED
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Done, Fail, Fetch, Rules, Send, next_action
from kie_answers import COVER_ID, MUSIC_ID, OTHER_ID, track_data
from step_records import COVER_SENT, IMAGES, MUSIC, MUSIC_SENT, NOW, after, cover, failed, music, waits

# --- doubt ---

DOUBTFUL: list[tuple[str, TaskRecord, Answer, type[errors.KieError]]] = [
    ("cover failed", COVER_SENT, cover(3, errorCode=500, errorMessage="oops"), errors.KieGenerationFailed),
    ("cover success without images", COVER_SENT, cover(1, []), errors.KieNoFiles),
    ("cover success without response", COVER_SENT, cover(1), errors.KieNoFiles),
    ("music failed", MUSIC_SENT, music("GENERATE_AUDIO_FAILED", errorCode=500), errors.KieGenerationFailed),
    ("music not created", MUSIC_SENT, music("CREATE_TASK_FAILED"), errors.KieGenerationFailed),
    ("sensitive words", MUSIC_SENT, music("SENSITIVE_WORD_ERROR", errorMessage="Adele"), errors.KieContentRejected),
    ("pending with a code", MUSIC_SENT, music("PENDING", errorCode=413), errors.KieContentRejected),
    ("pending with a message", MUSIC_SENT, music("PENDING", errorMessage="no"), errors.KieGenerationFailed),
    ("callback not delivered", MUSIC_SENT, music("CALLBACK_EXCEPTION"), errors.KieNoFiles),
    ("one track unfinished", MUSIC_SENT, music("CALLBACK_EXCEPTION", [track_data(), track_data(2, audioUrl="")]),
     errors.KieNoFiles),
    ("music success without tracks", MUSIC_SENT, music("SUCCESS", []), errors.KieNoFiles),
    ("music success without audio", MUSIC_SENT, music("SUCCESS", [track_data(audioUrl="")]), errors.KieNoFiles),
]  # fmt: skip
BY_NAME = pytest.mark.parametrize(
    ("record", "told", "expected"), [row[1:] for row in DOUBTFUL], ids=[row[0] for row in DOUBTFUL]
)


@BY_NAME
def test_a_failure_is_not_believed_at_its_first_read(record: TaskRecord, told: Answer, expected: type) -> None:
    action = waits(after(record, (40, told)))
    assert action.until == NOW + 70
    assert action.record.task_id == record.task_id


@BY_NAME
def test_two_reads_within_30_seconds_are_one(record: TaskRecord, told: Answer, expected: type) -> None:
    action = waits(after(record, (40, told), (50, told), (69, told)))
    assert action.until == NOW + 70


@BY_NAME
def test_a_failure_is_believed_when_two_reads_30_seconds_apart_agree(
    record: TaskRecord, told: Answer, expected: type
) -> None:
    action = failed(after(record, (40, told), (70, told)))
    assert type(action.error) is expected
    assert (action.error.facts.task_id, action.error.facts.kind) == (record.task_id, record.kind)
    assert action.record.task_id == record.task_id


@BY_NAME
def test_a_failure_that_is_withdrawn_is_forgotten(record: TaskRecord, told: Answer, expected: type) -> None:
    running = cover(2) if record is COVER_SENT else music("PENDING")
    action = waits(after(record, (40, told), (55, running), (71, told)))
    assert action.until == NOW + 101


@BY_NAME
def test_a_failure_that_turns_into_files_is_a_success(record: TaskRecord, told: Answer, expected: type) -> None:
    good = cover(1, IMAGES) if record is COVER_SENT else music("SUCCESS", [track_data()])
    action = after(record, (40, told), (70, good))
    assert isinstance(action, Done)
    assert (action.record.doubt, action.record.doubt_at) == (None, None)


def test_two_failures_that_differ_do_not_agree() -> None:
    action = after(COVER_SENT, (40, cover(3, errorCode=500)), (75, cover(3, errorCode=501)))
    assert waits(action).until == NOW + 105


def test_a_doubt_is_settled_by_the_next_attempt() -> None:
    stored = TaskRecord.from_json(waits(after(COVER_SENT, (40, cover(3, errorCode=500)))).record.to_json())
    assert isinstance(next_action(stored, NOW + 3600), Fetch)
    assert isinstance(next_action(stored, NOW + 3600, cover(3, errorCode=500)), Fail)


@pytest.mark.parametrize("word", ["CALLBACK_EXCEPTION", "GENERATE_AUDIO_FAILED", "CREATE_TASK_FAILED"])
def test_finished_tracks_are_a_success_whatever_the_state_says(word: str) -> None:
    assert isinstance(after(MUSIC_SENT, (40, music(word, [track_data(), track_data(2)]))), Done)


# --- new tasks ---

GONE_WRONG = errors.KieGenerationFailed("build failed", code=501)


def test_a_task_that_kie_failed_is_replaced_by_a_new_one() -> None:
    action = next_action(COVER_SENT, NOW + 100, Ended(COVER_ID, GONE_WRONG))
    assert isinstance(action, Send)
    record = action.record
    assert (record.task_id, record.known_at, record.failed_ids) == (None, None, (COVER_ID,))
    assert action.repeated is None


@pytest.mark.parametrize(
    "error",
    [
        errors.KieNoFiles(),
        errors.KieTaskUnknown(),
        errors.KieContentRejected(),
        errors.KieWaitTimeout(),
        errors.KieOutOfCredits(),
        errors.KieServerError(),
        errors.KieWrongParent(),
    ],
)
def test_no_other_error_leads_to_a_new_task(error: errors.KieError) -> None:
    action = failed(next_action(MUSIC_SENT, NOW + 100, Ended(MUSIC_ID, error)))
    assert (type(action.error), action.record) == (type(error), MUSIC_SENT)


def test_a_request_gets_no_more_than_three_tasks() -> None:
    record, sent = MUSIC_SENT, 1
    for number in range(20):
        action = next_action(record, NOW + number, Ended(record.task_id, GONE_WRONG))
        if isinstance(action, Fail):
            break
        sent += 1
        record = next_action(action.record, NOW + number, Created(f"music-{number}")).record
    assert sent == MOST_FAILED == 3
    end = failed(action)
    assert type(end.error) is errors.KieFailedForGood
    assert "3 tasks failed" in str(end.error)
    assert len(end.record.failed_ids) == 3
    again = failed(next_action(end.record, NOW + 999, Ended(end.record.task_id, GONE_WRONG)))
    assert again.record == end.record
    assert "3 tasks failed" in str(again.error)


def test_a_cover_that_kie_answers_with_the_failed_task_again_is_final() -> None:
    record = next_action(COVER_SENT, NOW, Ended(COVER_ID, GONE_WRONG)).record
    action = failed(next_action(record, NOW + 1, Created(COVER_ID, duplicate=True)))
    assert type(action.error) is errors.KieFailedForGood
    assert action.error.remedy is errors.Remedy.PERSON
    assert COVER_ID in str(action.error)


def test_a_failure_of_another_task_changes_nothing() -> None:
    assert next_action(MUSIC_SENT, NOW, Ended(OTHER_ID, GONE_WRONG)) == Fetch(MUSIC_SENT)


def test_a_new_task_begins_anew_in_the_form_that_is_usual_now() -> None:
    old = replace(MUSIC_SENT, form="dedicated", adopted=True, doubt="a doubt", doubt_at=NOW)
    assert next_action(old, NOW, Ended(MUSIC_ID, GONE_WRONG)) == Send(replace(MUSIC, failed_ids=(MUSIC_ID,)))


def test_a_failure_without_a_task_leads_to_no_request() -> None:
    action = failed(next_action(MUSIC, NOW, Ended(None, GONE_WRONG)))
    assert action.record.failed_ids == ()


# --- the other form ---

IN_ONE_FORM = replace(COVER_SENT, form="unified", number=1, doubt="a doubt", doubt_at=NOW, last_state="fail")
NOT_KNOWN = errors.KieNoRecord("The music record does not exist")


@pytest.mark.parametrize(
    ("answer", "failed_ids"), [(Refused(NOT_KNOWN), ()), (Ended(COVER_ID, NOT_KNOWN), (COVER_ID,))]
)  # fmt: skip
def test_a_source_that_is_not_known_in_one_form_is_asked_for_once_in_the_other(
    answer: Any, failed_ids: tuple[str, ...]
) -> None:
    action = next_action(IN_ONE_FORM, NOW + 40, answer)
    assert isinstance(action, Send)
    new = TaskRecord("suno.cover", {"taskId": MUSIC_ID}, "kie_default", "dedicated", number=1, crossed=True)
    assert action.record == replace(new, failed_ids=failed_ids)
    again = failed(next_action(action.record, NOW + 41, Refused(NOT_KNOWN)))
    assert type(again.error) is errors.KieNoRecord


@pytest.mark.parametrize(
    ("record", "api"),
    [
        (IN_ONE_FORM, "unified"),
        (replace(IN_ONE_FORM, form=""), ""),
        (replace(IN_ONE_FORM, crossed=True), ""),
        (replace(IN_ONE_FORM, kind="veo.extend"), ""),
    ],
    ids=["the connection names one", "it is not known in which it was asked for", "it was tried", "it has one form"],
)
def test_no_other_form_is_tried(record: TaskRecord, api: str) -> None:
    assert type(failed(next_action(record, NOW, Refused(NOT_KNOWN), Rules(api=api))).error) is errors.KieNoRecord


def test_a_lost_create_after_a_failed_task_keeps_the_failed_id() -> None:
    record = next_action(COVER_SENT, NOW, Ended(COVER_ID, GONE_WRONG)).record
    again = next_action(record, NOW + 1, Lost(errors.KieUnreachable("reset")))
    assert isinstance(again, Send)
    assert again.record.failed_ids == (COVER_ID,)
    fresh = next_action(again.record, NOW + 61, Created(OTHER_ID))
    assert (fresh.record.task_id, fresh.record.failed_ids) == (OTHER_ID, (COVER_ID,))


def test_the_error_names_kind_song_task_and_last_state() -> None:
    action = failed(after(COVER_SENT, (40, cover(3, errorCode=500)), (70, cover(3, errorCode=500))))
    facts = action.error.facts
    assert (facts.kind, facts.source_id, facts.task_id, facts.last_state) == ("suno.cover", MUSIC_ID, COVER_ID, "3")


@pytest.mark.parametrize(
    ("known", "error"),
    [
        ({"number": 1}, errors.KieTaskNotShown),
        ({"number": 1, "adopted": True}, errors.KieTaskUnknown),
        ({}, errors.KieTaskUnknown),
    ],
    ids=["created here", "adopted", "given"],
)
def test_a_task_that_was_created_here_is_not_given_up_as_unknown(
    known: dict[str, Any], error: type[errors.KieError]
) -> None:
    record = TaskRecord.of_known_task("suno.cover", "c1", source={"taskId": "m1"}, **known)
    told = next_action(record, NOW, Ended("c1", errors.KieTaskUnknown(task_id="c1")))
    assert isinstance(told, Fail)
    assert type(told.error) is error


@pytest.mark.parametrize("given", [0.0, 600.0])
def test_a_task_that_replaces_a_failed_one_has_the_time_that_is_given_for_each(given: float) -> None:
    record = replace(COVER_SENT, failed_ids=(OTHER_ID,), number=1, known_at=NOW)
    rules = Rules(timeout=given) if given else Rules()
    assert end_of_wait(record, NOW, rules) == NOW + given
    assert end_of_wait(COVER_SENT, NOW, rules) == NOW
