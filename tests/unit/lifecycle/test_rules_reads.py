"""The rules of one paid task, when it was read: running, done, another song's, not shown, not readable."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import Answer, Invisible, Unreadable, decode_details
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Done, Fail, Fetch, Rules, Wait, next_action
from kie_answers import COVER_ID, MUSIC_ID, OTHER_ID, answer, track_data
from step_records import COVER_SENT, IMAGES, MUSIC_SENT, NOW, after, cover, failed, music, waits

# --- reading ---


def test_a_cover_with_images_is_done() -> None:
    action = after(COVER_SENT, (50, cover(1, IMAGES, errorCode=200, errorMessage="")))
    assert isinstance(action, Done)
    assert action.details.urls == tuple(IMAGES)
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


@pytest.mark.parametrize(("days", "adopted", "gone"), [(13, True, False), (15, True, True), (15, False, False)])
def test_a_cover_that_another_run_has_made_fails_once_its_files_have_expired(
    days: int, adopted: bool, gone: bool
) -> None:
    record = replace(COVER_SENT, digest="d", number=1, adopted=adopted)
    made = dict.fromkeys(("createTime", "completeTime"), (NOW - days * 86_400) * 1000)
    action = after(record, (0, cover(1, IMAGES, **made)))
    if not gone:
        assert isinstance(action, Done)
        return
    error = failed(action).error
    assert isinstance(error, errors.KieResultsExpired)
    assert "expired at KIE" in str(error) and "force_new" in str(error) and "is not paid for again" in str(error)


def test_a_song_is_another_one_in_each_run_and_is_used_whatever_its_age() -> None:
    record = replace(MUSIC_SENT, digest="d", number=1, adopted=True)
    made = dict.fromkeys(("createTime", "completeTime"), (NOW - 15 * 86_400) * 1000)
    assert isinstance(after(record, (0, music("SUCCESS", [track_data()], **made))), Done)


def test_the_time_at_which_a_task_became_known_stays() -> None:
    assert after(COVER_SENT, (40, cover(0, createTime=(NOW - 9) * 1000))).record.known_at == NOW


def test_a_good_read_ends_a_doubt_and_its_time() -> None:
    doubted = replace(COVER_SENT, doubt="a doubt", doubt_at=NOW)
    for answered in (cover(0), cover(1, IMAGES)):
        record = after(doubted, (40, answered)).record
        assert (record.doubt, record.doubt_at) == (None, None)


# --- a success of unknown shape ---


def market(result: Any) -> Answer:
    data = {"taskId": "j", "state": "success", "resultJson": json.dumps(result)}
    return decode_details(task_kind("market"), "j", answer(data))


def test_a_success_of_unknown_shape_is_finished_after_two_reads_and_hands_over_kies_answer() -> None:
    record = TaskRecord.of_known_task("market", "j", number=1)
    waits(after(record, (50, market({"scenes": [1]}))))
    action = after(record, (50, market({"scenes": [1]})), (80, market({"scenes": [1]})))
    assert isinstance(action, Done)
    assert [(result.role, result.value["resultJson"]) for result in action.details.results] == [
        ("answer", '{"scenes": [1]}')
    ]


def test_results_that_come_after_the_success_are_taken() -> None:
    record = TaskRecord.of_known_task("market", "j", number=1)
    action = after(record, (50, market({})), (80, market({"resultUrls": ["https://a/1.png"]})))
    assert isinstance(action, Done)
    assert [result.role for result in action.details.results] == ["result"]


def test_a_song_and_a_cover_without_files_fail_after_two_reads() -> None:
    for record, read in ((COVER_SENT, cover(1)), (MUSIC_SENT, music("SUCCESS"))):
        assert type(failed(after(record, (50, read), (80, read))).error) is errors.KieNoFiles


# --- data: null ---


def test_a_task_that_kie_does_not_show_yet_is_read_again_for_60_seconds() -> None:
    answers = [(seconds, Invisible()) for seconds in range(0, 60, 5)]
    assert waits(after(COVER_SENT, *answers)).until < NOW + 120


def test_a_task_that_kie_still_does_not_show_after_60_seconds_is_unknown() -> None:
    action = failed(after(COVER_SENT, (8, Invisible()), (59, Invisible()), (60, Invisible())))
    assert type(action.error) is errors.KieTaskUnknown
    assert action.error.facts.task_id == COVER_ID
    assert action.record.task_id == COVER_ID


@pytest.mark.parametrize(
    ("known", "connections", "said"),
    [
        ({"connection": "mine", "form": "unified"}, ("mine", "theirs"),
         "it was read under mine in the unified API variant; `kie_conn_ids` also names theirs"),
        ({"connection": "mine"}, ("mine",), "it was read under mine in both API variants, or in the one"),
        ({"connection": "mine", "kind": "veo.extend"}, (), "it was read under mine. "),
    ],
)  # fmt: skip
def test_a_task_that_is_unknown_names_the_connection_and_the_form_in_which_it_was_read(
    known: dict[str, Any], connections: tuple[str, ...], said: str
) -> None:
    rules = Rules(connections=connections)
    record = replace(TaskRecord.of_known_task("suno.cover", COVER_ID, known_at=NOW), **known)
    assert said in str(failed(after(record, (0, Invisible()), (60, Invisible()), rules=rules)).error)


def read_again_after(task_id: str = COVER_ID, **rules: Any) -> float:
    action = next_action(
        replace(COVER_SENT, task_id=task_id), NOW + 40, Unreadable(errors.KieServerError()), Rules(**rules)
    )
    return waits(action).until - NOW - 40


def test_a_read_is_repeated_as_often_as_was_asked_for_and_as_all_that_wait_allow() -> None:
    assert 17 <= read_again_after(interval=20.0) <= 23
    assert read_again_after(waiting=1000) > 80
    assert 3 < read_again_after() < 5  # 40 s after it was made: before and long after that it is longer
    assert read_again_after() != read_again_after(OTHER_ID)  # what was made together is not read together


def test_the_60_seconds_of_an_id_from_elsewhere_begin_with_its_first_read() -> None:
    record = TaskRecord.of_known_task("suno.cover", COVER_ID)
    first = waits(after(record, (0, Invisible())))
    assert first.record.known_at == NOW
    assert isinstance(next_action(first.record, NOW + 59, Invisible()), Wait)
    error = failed(next_action(first.record, NOW + 60, Invisible())).error
    assert type(error) is errors.KieTaskUnknown and "read under" not in str(error)


@pytest.mark.parametrize(
    ("kind", "adopted", "api", "form"),
    [
        ("suno.cover", True, "", ""),
        ("suno.cover", False, "", "unified"),
        ("suno.cover", True, "unified", None),
        ("veo.extend", True, "", "unified"),
    ],
)
def test_a_task_that_was_made_before_is_read_in_both_forms_before_it_is_unknown(
    kind: str, adopted: bool, api: str, form: str | None
) -> None:
    """KIE can name a cover of the other form as the one that it has made for a song before."""
    record = replace(COVER_SENT, kind=kind, adopted=adopted, form="unified")
    action = after(record, (0, Invisible()), rules=Rules(api=api))
    assert type(action) is (Fetch if form == "" else Wait)
    assert action.record.form == ("unified" if form is None else form)
    if isinstance(action, Fetch):
        again = waits(next_action(action.record, NOW, Invisible()))
        assert type(failed(next_action(again.record, NOW + 60, Invisible())).error) is errors.KieTaskUnknown


def test_one_empty_answer_does_not_make_a_task_unknown_that_was_seen_before() -> None:
    action = waits(after(COVER_SENT, (70, cover(2)), (80, Invisible())))
    assert action.until == NOW + 110
    assert isinstance(next_action(action.record, NOW + 110, cover(2)), Wait)
    assert type(failed(next_action(action.record, NOW + 110, Invisible())).error) is errors.KieTaskUnknown


# --- another song ---


@pytest.mark.parametrize("flag", [0, 1, 2, 3])
def test_a_cover_of_another_song_is_refused_in_every_state(flag: int) -> None:
    other = cover(flag, IMAGES, parentTaskId=OTHER_ID)
    action = failed(after(COVER_SENT, (10, other), (40, other)))
    assert type(action.error) is errors.KieWrongParent
    assert OTHER_ID in str(action.error)


@pytest.mark.parametrize("parent", [None, "", MUSIC_ID])
def test_a_cover_that_names_its_song_or_none_is_accepted(parent: str | None) -> None:
    assert isinstance(after(COVER_SENT, (10, cover(1, IMAGES, parentTaskId=parent))), Done)


# --- reads that fail ---


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
    ],
)
def test_what_only_a_person_can_mend_fails_at_the_second_read_and_keeps_the_id(error: errors.KieError) -> None:
    action = failed(after(COVER_SENT, (10, Unreadable(error)), (40, Unreadable(error))))
    assert type(action.error) is type(error)
    assert action.record.task_id == COVER_ID


def test_a_rate_limited_read_waits_out_the_window_of_10_seconds() -> None:
    fast = Rules(interval=1.0)
    limited = Unreadable(errors.KieRateLimited("slower", code=429))
    assert waits(after(COVER_SENT, (20, limited), rules=fast)).until == pytest.approx(NOW + 31, abs=0.2)
    assert waits(after(COVER_SENT, (20, Unreadable(errors.KieServerError("x"))), rules=fast)).until < NOW + 25


def test_retry_after_is_honoured() -> None:
    limited = Unreadable(errors.KieRateLimited("slower", code=429, retry_after=120.0))
    assert waits(after(COVER_SENT, (20, limited))).until >= NOW + 140


def test_a_failed_read_in_between_does_not_withdraw_a_doubt() -> None:
    told = cover(3, errorCode=500)
    action = after(COVER_SENT, (40, told), (55, Unreadable(errors.KieServerError("x"))), (70, told))
    assert isinstance(action, Fail)
