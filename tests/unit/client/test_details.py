"""Details: tracks, images, doubly encoded results, failures, odd and missing fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import Unreadable, decode_details, failure_of
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.operations.operation import State
from airflow_kie.client.operations.registry import task_kind
from kie_answers import COVER_ID, MUSIC_ID, answer, cover_data, music_data, raw, read, track_data


def unread(kind: str, response: Response) -> errors.KieError:
    got = decode_details(task_kind(kind), COVER_ID, response)
    assert isinstance(got, Unreadable), got
    return got.error


# --- music ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_a_song_has_as_many_tracks_as_kie_names(number: int) -> None:
    details = read("suno.music", music_data("SUCCESS", [track_data(n) for n in range(1, number + 1)]))
    assert [track.position for track in details.tracks] == list(range(1, number + 1))
    assert details.urls == tuple(f"https://musicfile.kie.ai/track-{n}.mp3" for n in range(1, number + 1))
    assert details.complete


def test_a_track_carries_what_kie_says_about_it() -> None:
    (track,) = read("suno.music", music_data("SUCCESS", [track_data()])).tracks
    assert (track.title, track.tags, track.model, track.duration_seconds) == (
        "Rain",
        "calm, piano",
        "chirp-crow",
        198.44,
    )
    assert track.lyrics == "[Verse]\nRain on the roof"
    assert track.audio_id == "8551c6f0-0000-4000-8000-000000000001"
    assert track.image_url == "https://musicfile.kie.ai/track-1.jpeg"


def test_the_streaming_url_is_never_taken_for_the_audio() -> None:
    details = read("suno.music", music_data("TEXT_SUCCESS", [track_data(audioUrl="", duration=None)]))
    assert details.tracks[0].audio_url is None
    assert details.tracks[0].duration_seconds is None
    assert details.urls == ()
    assert not details.complete


def test_a_response_that_is_json_in_a_string_is_read() -> None:
    data = music_data("SUCCESS", response=json.dumps({"sunoData": [track_data()]}))
    details = read("suno.music", data)
    assert [track.title for track in details.tracks] == ["Rain"]
    assert details.complete


@pytest.mark.parametrize("response", [None, "", "not json", {}, [], 7, {"sunoData": None}, {"sunoData": ["x", None]}])
def test_a_song_without_tracks_has_none_whatever_stands_in_their_place(response: Any) -> None:
    details = read("suno.music", music_data("SUCCESS", response=response))
    assert (details.tracks, details.complete) == ((), False)


def test_odd_fields_of_a_track_are_left_out_and_the_others_kept() -> None:
    odd = track_data(title=7, tags=["a"], duration="198.44", imageUrl={"url": "x"}, prompt=None)
    (track,) = read("suno.music", music_data("SUCCESS", [odd])).tracks
    assert (track.title, track.tags, track.image_url, track.lyrics) == (None, None, None, None)
    assert track.duration_seconds == 198.44
    assert track.audio_url == "https://musicfile.kie.ai/track-1.mp3"


@pytest.mark.parametrize("duration", ["long", "nan", "-inf", "1e999", {}, [1], "", 0, None])
def test_a_duration_that_is_no_number_is_none(duration: Any) -> None:
    (track,) = read("suno.music", music_data("SUCCESS", [track_data(duration=duration)])).tracks
    assert track.duration_seconds is None


def test_music_details_repeat_the_request_and_the_times() -> None:
    details = read("suno.music", music_data("PENDING"))
    assert details.param["model"] == "V5"
    assert details.title == "Rain"
    assert details.created_at == datetime(2026, 4, 22, 12, 56, 7, 160000, tzinfo=UTC)


# --- cover ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_cover_has_as_many_images_as_kie_names(number: int) -> None:
    images = [f"https://tempfile.aiquickdraw.com/s/{n}.png" for n in range(number)]
    details = read("suno.cover", cover_data(1, images, errorCode=200, errorMessage=""))
    assert details.urls == tuple(images)
    assert details.complete


def test_error_code_200_belongs_to_a_successful_cover() -> None:
    details = read("suno.cover", cover_data(1, ["https://a/b.png"], errorCode=200, errorMessage=""))
    assert (details.error_code, details.error_message) == (None, None)


def test_an_image_that_stands_alone_counts_as_a_list_of_one() -> None:
    assert read("suno.cover", cover_data(1, "https://a/b.png")).urls == ("https://a/b.png",)


@pytest.mark.parametrize("images", [None, [], "", [None, ""]])
def test_a_cover_without_images_is_not_complete(images: Any) -> None:
    assert not read("suno.cover", cover_data(1, response={"images": images})).complete


def test_a_cover_names_its_song_and_both_times() -> None:
    details = read("suno.cover", cover_data(1, ["https://a/b.png"], completeTime="2026-01-15T10:35:27.000Z"))
    assert (details.task_id, details.parent_id) == (COVER_ID, MUSIC_ID)
    assert details.completed_at is not None
    assert details.created_at is not None
    assert (details.completed_at - details.created_at).total_seconds() == 146


def test_a_parent_that_is_a_number_is_compared_as_text() -> None:
    assert read("suno.cover", cover_data(0, parentTaskId=123)).parent_id == "123"


def test_details_without_an_id_are_those_of_the_task_that_was_asked_for() -> None:
    assert read("suno.cover", {"successFlag": 0}).task_id == "asked-for"
    assert read("suno.cover", {"taskId": {"odd": 1}, "successFlag": 0}).task_id == "asked-for"


def test_details_of_an_empty_object_are_those_of_a_running_task() -> None:
    assert read("suno.cover", {}).state is State.RUNNING


@pytest.mark.parametrize("code", [0, 200, "", None, "abc", "0", []])
def test_an_error_code_that_says_nothing_is_none(code: Any) -> None:
    assert read("suno.cover", cover_data(3, errorCode=code)).error_code is None


@pytest.mark.parametrize("code", [500, "500"])
def test_an_error_code_is_a_number_however_it_is_written(code: Any) -> None:
    assert read("suno.cover", cover_data(3, errorCode=code)).error_code == 500


# --- the others ----------------------------------------------------------------------------------------------------


def test_results_and_request_of_a_market_task_are_decoded_twice() -> None:
    data = {
        "taskId": "j",
        "state": "success",
        "param": json.dumps({"model": "z-image", "input": json.dumps({"prompt": "fox"})}),
        "resultJson": json.dumps({"resultUrls": ["https://a/1.png", "https://a/2.png"]}),
        "failCode": None,
        "creditsConsumed": 12.5,
        "createTime": 1776862567160,
        "completeTime": 1776862622656,
    }
    details = read("market", data)
    assert details.urls == ("https://a/1.png", "https://a/2.png")
    assert details.param == {"model": "z-image", "input": {"prompt": "fox"}}
    assert details.credits_consumed == 12.5


@pytest.mark.parametrize("result", ["", None, "{", "[]", "7", '{"resultUrls": null}', {"resultObject": {}}])
def test_a_market_task_without_results_has_none(result: Any) -> None:
    assert read("market", {"taskId": "j", "state": "generating", "resultJson": result}).urls == ()


def test_a_market_request_that_is_an_object_is_kept_as_it_is() -> None:
    param = {"model": "z-image", "input": {"prompt": "fox"}}
    assert read("market", {"taskId": "j", "state": "waiting", "param": param}).param == param


ORIGIN = "https://a/original.mp3"


@pytest.mark.parametrize(
    "response",
    [
        {"vocalUrl": None, "instrumentalUrl": None, "originUrl": ORIGIN},
        {"vocalUrl": f"{ORIGIN}?Signature=x", "instrumentalUrl": ORIGIN, "originUrl": ORIGIN},
    ],
)
def test_stems_that_are_the_track_itself_are_none(response: dict[str, Any]) -> None:
    details = read("suno.stems", {"successFlag": "SUCCESS", "response": response})
    assert details.urls == ()
    assert not details.complete


def test_a_stem_beside_the_url_of_the_track_is_a_result() -> None:
    response = {"vocalUrl": "https://a/v.mp3", "originUrl": ORIGIN}
    assert read("suno.stems", {"successFlag": "SUCCESS", "response": response}).urls == ("https://a/v.mp3",)


def test_a_market_result_that_repeats_an_input_is_none() -> None:
    param = {"model": "ai-music-api/separate-vocals", "input": {"audio_urls": [f"{ORIGIN}?a=1"]}}
    result = json.dumps({"resultUrls": [ORIGIN, "https://a/v.mp3"]})
    details = read("market", {"state": "success", "param": json.dumps(param), "resultJson": result})
    assert details.urls == ("https://a/v.mp3",)


RESULTS: list[tuple[str, dict[str, Any], list[tuple[str, int, Any]]]] = [
    ("suno.wav", {"response": {"audioWavUrl": "https://a/t.wav"}}, [("wav", 1, "https://a/t.wav")]),
    ("suno.video", {"response": {"videoUrl": "https://a/v.mp4"}}, [("video", 1, "https://a/v.mp4")]),
    (
        "suno.stems",
        {
            "response": {
                "harpUrl": "https://a/h.mp3",
                "vocalUrl": "https://a/v.mp3",
                "drumsUrl": None,
                "instrumentalUrl": "https://a/i.mp3",
                "model": "x",
            }
        },
        [("vocals", 1, "https://a/v.mp3"), ("instrumental", 1, "https://a/i.mp3"), ("stem", 1, "https://a/h.mp3")],
    ),
    (
        "suno.lyrics",
        {"response": {"data": [{"text": "la", "title": "x"}, {"text": "lo"}]}},
        [("lyrics", 1, "la"), ("lyrics", 2, "lo")],
    ),
    (
        "suno.midi",
        {"midiData": {"state": "complete", "instruments": [{"name": "piano", "notes": []}]}},
        [("midi", 1, [{"name": "piano", "notes": []}])],
    ),
    ("voice.generate", {"voiceId": "v-1"}, [("voice_id", 1, "v-1")]),
    (
        "market",
        {"resultJson": json.dumps({"resultUrls": ["https://a/1.mp4"], "lastFrameUrl": "https://a/l.png"})},
        [("result", 1, "https://a/1.mp4"), ("last_frame", 1, "https://a/l.png")],
    ),
    ("market", {"resultJson": json.dumps({"resultObject": {"text": "la"}})}, [("object", 1, {"text": "la"})]),
]


@pytest.mark.parametrize(("kind", "data", "results"), RESULTS)
def test_results_stand_where_the_page_of_the_operation_says(
    kind: str, data: dict[str, Any], results: list[tuple[str, int, Any]]
) -> None:
    found = read(kind, {"taskId": "t"} | data).results
    assert [(result.role, result.position, result.url or result.value) for result in found] == results


def test_an_answer_as_a_result_has_no_signature_in_it() -> None:
    data = {"taskId": "t", "resultJson": json.dumps({"files": ["https://a/1.mp4?Signature=s3cret"]})}
    (answer,) = read("market", data).with_answer().results
    assert (answer.role, answer.medium) == ("answer", "json")
    assert answer.value["resultJson"] == '{"files": ["https://a/1.mp4"]}'


# --- what cannot be read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (answer(code=401, msg="no"), errors.KieUnauthorized),
        (answer(code=429, msg="slower"), errors.KieRateLimited),
        (answer(code=455, msg="maintenance"), errors.KieMaintenance),
        (answer(code=500, msg="oops"), errors.KieServerError),
        (raw(b"<html>", 502), errors.KieServerError),
        (raw(b"<html>", 200), errors.KieBadAnswer),
        (answer("text"), errors.KieBadAnswer),
        (answer(["x"]), errors.KieBadAnswer),
        (answer(7), errors.KieBadAnswer),
    ],
)
def test_what_cannot_be_read_is_unreadable_and_names_kind_and_task(response: Response, expected: type) -> None:
    error = unread("suno.cover", response)
    assert type(error) is expected
    assert (error.facts.kind, error.facts.task_id) == ("suno.cover", COVER_ID)


# --- failures ------------------------------------------------------------------------------------------------------


def failure(kind: str, data: dict[str, Any]) -> errors.KieError:
    return failure_of(task_kind(kind), read(kind, {"taskId": "t"} | data))


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("suno.cover", {"successFlag": 3, "errorCode": 500}, errors.KieGenerationFailed),
        ("suno.cover", {"successFlag": 3, "errorCode": None}, errors.KieGenerationFailed),
        ("suno.cover", {"successFlag": 1}, errors.KieNoFiles),
        ("suno.music", {"status": "GENERATE_AUDIO_FAILED", "errorCode": 500}, errors.KieGenerationFailed),
        ("suno.music", {"status": "CREATE_TASK_FAILED"}, errors.KieGenerationFailed),
        ("suno.music", {"status": "GENERATE_AUDIO_FAILED", "errorCode": 408}, errors.KieGenerationFailed),
        ("suno.music", {"status": "GENERATE_AUDIO_FAILED", "errorCode": 429}, errors.KieGenerationFailed),
        ("suno.music", {"status": "GENERATE_AUDIO_FAILED", "errorCode": 400}, errors.KieContentRejected),
        ("suno.music", {"status": "GENERATE_AUDIO_FAILED", "errorCode": 413}, errors.KieContentRejected),
        ("suno.music", {"status": "PENDING", "errorCode": 413}, errors.KieContentRejected),
        ("suno.music", {"status": "SENSITIVE_WORD_ERROR", "errorCode": 500}, errors.KieContentRejected),
        ("suno.music", {"status": "SUCCESS"}, errors.KieNoFiles),
        ("suno.music", {"status": "CALLBACK_EXCEPTION", "errorCode": 500}, errors.KieNoFiles),
        ("market", {"state": "fail", "failCode": "500", "failMsg": "internal"}, errors.KieGenerationFailed),
        ("market", {"state": "fail", "failCode": "501"}, errors.KieGenerationFailed),
        ("market", {"state": "fail", "failCode": "422", "failMsg": "bad size"}, errors.KieInvalidRequest),
        *(
            ("market", {"state": "fail", "failCode": code}, errors.KieInvalidRequest)
            for code in ("400", "404", "409", "451", "505")
        ),
        ("suno.lyrics", {"status": "SENSITIVE_WORD_ERROR"}, errors.KieContentRejected),
    ],
)
def test_a_failed_task_gets_the_error_that_says_whether_a_new_one_can_help(
    kind: str, data: dict[str, Any], expected: type
) -> None:
    assert type(failure(kind, data)) is expected


def test_a_failure_carries_kies_words_without_the_urls_in_them() -> None:
    error = failure(
        "suno.cover",
        {"successFlag": 3, "errorCode": 500, "errorMessage": "cannot fetch https://h.example/a?token=s3cret"},
    )
    assert error.facts.message == "cannot fetch <URL at h.example>"
    assert (error.facts.code, error.facts.last_state) == (500, "3")


def test_the_message_of_a_market_failure_stands_in_failmsg() -> None:
    assert failure("market", {"state": "fail", "failCode": "500", "failMsg": "internal"}).facts.message == "internal"
