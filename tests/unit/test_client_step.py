"""The rules of one paid task: every doubtful answer, and that nothing is paid for twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_kie.client import errors
from airflow_kie.client.answers import (
    Answer,
    Created,
    Ended,
    Invisible,
    Lost,
    Refused,
    Unreadable,
    decode_details,
)
from airflow_kie.client.operations import Task
from airflow_kie.client.registry import OPERATIONS, task_kind
from airflow_kie.client.step import (
    Action,
    Done,
    Fail,
    Fetch,
    Progress,
    Rules,
    Send,
    TaskRecord,
    Wait,
    next_action,
)
from kie_answers import COVER_ID, MUSIC_ID, OTHER_ID, answer, cover_data, music_data, track_data

NOW = 1_776_862_600.0
ONCE = [name for name, row in OPERATIONS.items() if isinstance(row, Task) and row.once_per_source]
ANEW = [name for name, row in OPERATIONS.items() if isinstance(row, Task) and not row.once_per_source]
COVER = TaskRecord("suno.cover", {"taskId": MUSIC_ID}, "kie_default")
MUSIC = TaskRecord("suno.music", {}, "kie_default")
COVER_SENT = replace(COVER, progress=Progress.SENT, task_id=COVER_ID, known_at=NOW)
MUSIC_SENT = replace(MUSIC, progress=Progress.SENT, task_id=MUSIC_ID, known_at=NOW)
IMAGES = ["https://tempfile.aiquickdraw.com/s/1.png", "https://tempfile.aiquickdraw.com/s/2.png"]


def cover(flag: Any, images: Any = None, **fields: Any) -> Answer:
    return decode_details(task_kind("suno.cover"), COVER_ID, answer(cover_data(flag, images, **fields)))


def music(status: Any, tracks: list[dict[str, Any]] | None = None, **fields: Any) -> Answer:
    return decode_details(task_kind("suno.music"), MUSIC_ID, answer(music_data(status, tracks, **fields)))


def after(record: TaskRecord, *answers: tuple[float, Answer], rules: Rules | None = None) -> Action:
    """Return what the last of the answers (seconds after now, answer) leads to."""
    action: Action = Fetch(record)
    for seconds, answered in answers:
        action = next_action(action.record, NOW + seconds, answered, rules)
    return action


def failed(action: Action) -> Fail:
    assert isinstance(action, Fail), action
    return action


def waits(action: Action) -> Wait:
    assert isinstance(action, Wait), action
    return action


# --- beginning -----------------------------------------------------------------------------------------------------


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


# --- after a create ------------------------------------------------------------------------------------------------

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


# --- reading -------------------------------------------------------------------------------------------------------


def test_a_cover_with_images_is_done() -> None:
    action = after(COVER_SENT, (50, cover(1, IMAGES, errorCode=200, errorMessage="")))
    assert isinstance(action, Done)
    assert action.details.results == tuple(IMAGES)
    assert action.record.last_state == "1"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_song_is_done_whatever_the_number_of_its_tracks(number: int) -> None:
    tracks = [track_data(n) for n in range(number)]
    action = after(MUSIC_SENT, (90, music("SUCCESS", tracks)))
    assert isinstance(action, Done)
    assert len(action.details.tracks) == number


@pytest.mark.parametrize("word", ["PENDING", "TEXT_SUCCESS", "FIRST_SUCCESS"])
def test_text_and_first_track_do_not_end_a_song(word: str) -> None:
    action = waits(after(MUSIC_SENT, (60, music(word, [track_data()]))))
    assert action.record.last_state == word


@pytest.mark.parametrize("flag", [0, 2])
def test_a_cover_that_is_being_made_is_read_again(flag: int) -> None:
    action = waits(after(COVER_SENT, (10, cover(flag))))
    assert action.until > NOW + 10
    assert action.record.doubt is None


@pytest.mark.parametrize(("message", "code"), [("upstream is slow", None), ("upstream is slow", 500)])
def test_a_cover_with_flag_2_runs_whatever_message_stands_beside_it(message: str, code: int | None) -> None:
    answers = [(seconds, cover(2, errorMessage=message, errorCode=code)) for seconds in range(0, 900, 40)]
    action = waits(after(COVER_SENT, *answers))
    assert action.record.doubt is None


def test_an_unknown_state_word_is_waited_for_as_long_as_it_takes() -> None:
    answers = [(seconds, cover(9)) for seconds in range(0, 86_400, 600)]
    assert waits(after(COVER_SENT, *answers)).record.last_state == "9"


def test_the_last_state_and_the_time_are_learnt_for_an_id_from_elsewhere() -> None:
    record = TaskRecord.of_known_task("suno.cover", COVER_ID, source={"taskId": MUSIC_ID})
    old = after(record, (0, cover(0, createTime=(NOW - 300) * 1000))).record
    assert (old.known_at, old.last_state) == (NOW - 300, "0")
    assert after(record, (0, cover(0, createTime=None))).record.known_at == NOW


def test_a_create_time_in_the_future_is_not_believed() -> None:
    record = TaskRecord.of_known_task("suno.cover", COVER_ID)
    assert after(record, (0, cover(0, createTime=(NOW + 8 * 3600) * 1000))).record.known_at == NOW


# --- data: null ----------------------------------------------------------------------------------------------------


def test_a_task_that_kie_does_not_show_yet_is_read_again_for_60_seconds() -> None:
    answers = [(seconds, Invisible()) for seconds in range(0, 60, 5)]
    assert waits(after(COVER_SENT, *answers)).until < NOW + 120


def test_a_task_that_kie_still_does_not_show_after_60_seconds_is_unknown() -> None:
    action = failed(after(COVER_SENT, (8, Invisible()), (59, Invisible()), (60, Invisible())))
    assert type(action.error) is errors.KieTaskUnknown
    assert action.error.facts.task_id == COVER_ID
    assert action.record.task_id == COVER_ID


def test_the_60_seconds_of_an_id_from_elsewhere_begin_with_its_first_read() -> None:
    record = TaskRecord.of_known_task("suno.cover", COVER_ID)
    first = waits(after(record, (0, Invisible())))
    assert first.record.known_at == NOW
    assert isinstance(next_action(first.record, NOW + 59, Invisible()), Wait)
    assert type(failed(next_action(first.record, NOW + 60, Invisible())).error) is errors.KieTaskUnknown


def test_one_empty_answer_does_not_make_a_task_unknown_that_was_seen_before() -> None:
    action = waits(after(COVER_SENT, (70, cover(2)), (80, Invisible())))
    assert action.until == NOW + 110
    assert isinstance(next_action(action.record, NOW + 110, cover(2)), Wait)
    assert type(failed(next_action(action.record, NOW + 110, Invisible())).error) is errors.KieTaskUnknown


# --- doubt ---------------------------------------------------------------------------------------------------------

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


# --- another song --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [0, 1, 2, 3])
def test_a_cover_of_another_song_is_refused_in_every_state(flag: int) -> None:
    action = failed(after(COVER_SENT, (10, cover(flag, IMAGES, parentTaskId=OTHER_ID))))
    assert type(action.error) is errors.KieWrongParent
    assert OTHER_ID in str(action.error)


@pytest.mark.parametrize("parent", [None, "", MUSIC_ID])
def test_a_cover_that_names_its_song_or_none_is_accepted(parent: str | None) -> None:
    assert isinstance(after(COVER_SENT, (10, cover(1, IMAGES, parentTaskId=parent))), Done)


# --- reads that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        errors.KieServerError("HTTP 502", code=502),
        errors.KieUnreachable("ReadTimeout"),
        errors.KieNotSent("ConnectError"),
        errors.KieBadAnswer("HTML"),
        errors.KieMaintenance("455", code=455),
        errors.KieRateLimited("429", code=429),
        errors.KieGenerationFailed("408", code=408),
    ],
)
def test_a_read_that_fails_for_a_while_is_repeated_and_changes_nothing(error: errors.KieError) -> None:
    answers = [(seconds, Unreadable(error)) for seconds in range(10, 4000, 60)]
    action = waits(after(COVER_SENT, *answers))
    assert action.record == COVER_SENT
    assert action.until > NOW + 3970


@pytest.mark.parametrize(
    "error",
    [
        errors.KieUnauthorized("no", code=401),
        errors.KieOutOfCredits("no", code=402),
        errors.KieInvalidRequest("no", code=422),
        errors.KieKeyLimit("no", code=433),
        errors.KieConnectionInvalid("no host"),
    ],
)
def test_a_read_that_only_a_person_can_mend_fails_and_keeps_the_id(error: errors.KieError) -> None:
    action = failed(after(COVER_SENT, (10, Unreadable(error))))
    assert type(action.error) is type(error)
    assert action.record.task_id == COVER_ID


def test_a_rate_limited_read_waits_out_the_window_of_10_seconds() -> None:
    fast = Rules(interval=1.0)
    limited = Unreadable(errors.KieRateLimited("slower", code=429))
    assert waits(after(COVER_SENT, (20, limited), rules=fast)).until >= NOW + 30
    assert waits(after(COVER_SENT, (20, Unreadable(errors.KieServerError("x"))), rules=fast)).until < NOW + 25


def test_retry_after_is_honoured() -> None:
    limited = Unreadable(errors.KieRateLimited("slower", code=429, retry_after=120.0))
    assert waits(after(COVER_SENT, (20, limited))).until >= NOW + 140


def test_a_failed_read_in_between_does_not_withdraw_a_doubt() -> None:
    told = cover(3, errorCode=500)
    action = after(COVER_SENT, (40, told), (55, Unreadable(errors.KieServerError("x"))), (70, told))
    assert isinstance(action, Fail)


# --- new tasks -----------------------------------------------------------------------------------------------------

GONE_WRONG = errors.KieGenerationFailed("build failed", code=501)


def test_a_task_that_kie_failed_is_replaced_by_a_new_one_and_counted() -> None:
    action = next_action(COVER_SENT, NOW + 100, Ended(GONE_WRONG))
    assert isinstance(action, Send)
    record = action.record
    assert (record.progress, record.task_id, record.known_at) == (Progress.SENDING, None, None)
    assert (dict(record.attempts), record.failed_ids) == ({"generation_failed": 1}, (COVER_ID,))


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
    action = failed(next_action(MUSIC_SENT, NOW + 100, Ended(error)))
    assert (type(action.error), action.record) == (type(error), MUSIC_SENT)


@pytest.mark.parametrize("budget", [0, 1, 2, 5])
def test_a_song_gets_no_more_new_tasks_than_the_rules_allow(budget: int) -> None:
    rules, record, sent = Rules(new_tasks=budget), MUSIC_SENT, 0
    for number in range(20):
        action = next_action(record, NOW + number, Ended(GONE_WRONG), rules)
        if isinstance(action, Fail):
            break
        sent += 1
        record = next_action(action.record, NOW + number, Created(f"music-{number}"), rules).record
    assert sent == budget
    end = failed(action)
    assert type(end.error) is errors.KieFailedForGood
    assert f"{budget + 1} tasks failed" in str(end.error)
    assert len(end.record.failed_ids) == budget + 1
    again = failed(next_action(end.record, NOW + 999, Ended(GONE_WRONG), rules))
    assert again.record == end.record
    assert f"{budget + 1} tasks failed" in str(again.error)


def test_a_cover_that_kie_answers_with_the_failed_task_again_is_final() -> None:
    record = next_action(COVER_SENT, NOW, Ended(GONE_WRONG)).record
    action = failed(next_action(record, NOW + 1, Created(COVER_ID, duplicate=True)))
    assert type(action.error) is errors.KieFailedForGood
    assert action.error.remedy is errors.Remedy.PERSON
    assert COVER_ID in str(action.error)


def test_a_lost_create_after_a_failed_task_keeps_the_failed_id_and_the_count() -> None:
    record = next_action(COVER_SENT, NOW, Ended(GONE_WRONG)).record
    action = failed(next_action(record, NOW + 1, Lost(errors.KieUnreachable("reset"))))
    assert action.record.failed_ids == (COVER_ID,)
    again = next_action(action.record, NOW + 60)
    assert isinstance(again, Send)
    fresh = next_action(again.record, NOW + 61, Created(OTHER_ID))
    assert (fresh.record.task_id, dict(fresh.record.attempts)) == (OTHER_ID, {"generation_failed": 1})


def test_the_error_names_kind_song_task_and_last_state() -> None:
    action = failed(after(COVER_SENT, (40, cover(3, errorCode=500)), (70, cover(3, errorCode=500))))
    facts = action.error.facts
    assert (facts.kind, facts.source_id, facts.task_id, facts.last_state) == ("suno.cover", MUSIC_ID, COVER_ID, "3")


@pytest.mark.parametrize(
    ("known", "error"),
    [
        ({"token": "ours"}, errors.KieTaskNotShown),
        ({"token": "ours", "adopted": True}, errors.KieTaskUnknown),
        ({}, errors.KieTaskUnknown),
    ],
    ids=["created here", "adopted", "given"],
)
def test_a_task_that_was_created_here_is_not_given_up_as_unknown(
    known: dict[str, Any], error: type[errors.KieError]
) -> None:
    record = TaskRecord.of_known_task("suno.cover", "c1", source={"taskId": "m1"}, **known)
    told = next_action(record, NOW, Ended(errors.KieTaskUnknown(task_id="c1")))
    assert isinstance(told, Fail)
    assert type(told.error) is error
