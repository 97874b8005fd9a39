"""Creates: what an answer says about whether a task was made, and so about whether something was paid."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import CreateAnswer, Created, Lost, Refused, decode_create
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.operations.registry import task_kind
from kie_answers import COVER_ID, CREDITS_TEXT, MUSIC_ID, answer, raw

SOURCE = {"taskId": MUSIC_ID}


def decode(response: Response, kind: str = "suno.cover", source: dict[str, Any] | None = None) -> CreateAnswer:
    return decode_create(task_kind(kind), SOURCE if source is None else source, response)


@pytest.mark.parametrize("data", [{"taskId": COVER_ID}, {"task_id": COVER_ID}, {"taskId": COVER_ID, "recordId": "x"}])
def test_a_success_names_the_new_task(data: dict[str, Any]) -> None:
    assert decode(answer(data)) == Created(COVER_ID, duplicate=False)


def test_an_id_that_is_a_number_is_kept_as_text() -> None:
    assert decode(answer({"taskId": 4711})) == Created("4711")


@pytest.mark.parametrize("http", [200, 400, 409])
@pytest.mark.parametrize("code", [400, 409])
@pytest.mark.parametrize("data", [{"taskId": COVER_ID}, {"task_id": COVER_ID}, COVER_ID])
def test_a_duplicate_cover_is_adopted_under_the_id_that_kie_names(http: int, code: int, data: Any) -> None:
    assert decode(answer(data, code, "exists", http)) == Created(COVER_ID, duplicate=True)


@pytest.mark.parametrize("code", [400, 409])
@pytest.mark.parametrize(
    "data", [None, {}, {"taskId": None}, {"taskId": ""}, {"taskId": MUSIC_ID}, "cover already exists", [1]]
)
def test_a_duplicate_that_names_no_other_id_than_the_songs_cannot_be_adopted(code: int, data: Any) -> None:
    got = decode(answer(data, code, "cover record exists"))
    assert isinstance(got, Refused)
    assert type(got.error) is errors.KieDuplicateWithoutId
    assert (got.error.facts.source_id, got.error.facts.message) == (MUSIC_ID, "cover record exists")
    assert "adopt_task_id" in str(got.error)


def test_a_duplicate_wav_names_the_song_as_its_source() -> None:
    got = decode(answer(None, 409, "exists"), "suno.wav", {"taskId": MUSIC_ID, "audioId": "a-1"})
    assert isinstance(got, Refused)
    assert got.error.facts.source_id == MUSIC_ID


def test_422_is_a_duplicate_only_where_it_names_the_task() -> None:
    kind, source = "veo.4k", {"taskId": MUSIC_ID}
    assert decode(answer({"taskId": COVER_ID}, 422, "exists"), kind, source) == Created(COVER_ID, duplicate=True)
    got = decode(answer(None, 422, "not a valid index"), kind, source)
    assert isinstance(got, Refused)
    assert type(got.error) is errors.KieInvalidRequest


@pytest.mark.parametrize("code", [0, 1, 201, 202, 302])
@pytest.mark.parametrize("kind", ["suno.cover", "suno.music", "market"])
def test_a_code_below_the_errors_is_no_refusal_the_task_that_it_names_is_used_and_without_one_it_is_in_doubt(
    kind: str, code: int
) -> None:
    """No page has such a code; a client has seen 201 for "pending"."""
    assert decode(answer({"taskId": COVER_ID}, code, "accepted"), kind) == Created(COVER_ID)
    for data in (None, {}, "accepted"):
        assert isinstance(decode(answer(data, code, "accepted"), kind), Lost)
    assert isinstance(decode(answer({"taskId": COVER_ID}, code, "no", http=422), kind), Refused)


def test_400_is_no_duplicate_for_a_kind_that_kie_makes_anew() -> None:
    got = decode(answer({"taskId": COVER_ID}, 400, "bad format"), "suno.music", {})
    assert isinstance(got, Refused)
    assert type(got.error) is errors.KieInvalidRequest


@pytest.mark.parametrize(
    ("code", "msg", "expected"),
    [
        (401, "Unauthorized", errors.KieUnauthorized),
        (402, CREDITS_TEXT, errors.KieOutOfCredits),
        (404, "no path", errors.KieFormGone),
        (405, "no such method", errors.KieFormGone),
        (505, "shut down", errors.KieFormGone),
        (422, "Please enter callBackUrl", errors.KieInvalidRequest),
        (429, "Your call frequency is too high. Please try again later.", errors.KieRateLimited),
        (433, "sub-key usage exceeds limit", errors.KieKeyLimit),
        (455, "maintenance", errors.KieMaintenance),
        (500, CREDITS_TEXT, errors.KieOutOfCredits),
        (550, "too many", errors.KieRateLimited),
    ],
)
@pytest.mark.parametrize("kind", ["suno.cover", "suno.music"])
def test_the_code_of_a_refusal_says_that_nothing_was_made(kind: str, code: int, msg: str, expected: type) -> None:
    got = decode(answer(None, code, msg), kind)
    assert isinstance(got, Refused)
    assert type(got.error) is expected


@pytest.mark.parametrize(
    ("code", "msg", "of_a_cover"),
    [
        (500, "Server exception, please try again later", errors.KieServerError),
        (501, "build failed", errors.KieGenerationFailed),
        (531, "refunded", errors.KieGenerationFailed),
        (599, "", errors.KieServerError),
    ],
)
def test_an_error_of_kies_own_refuses_what_is_free_and_leaves_open_what_costs_credits(
    code: int, msg: str, of_a_cover: type
) -> None:
    free = decode(answer(None, code, msg))
    assert isinstance(free, Refused)
    assert type(free.error) is of_a_cover
    for kind in ("suno.music", "suno.wav", "veo.generate", "market"):
        for form in ("dedicated", "unified"):
            got = decode_create(task_kind(kind, form), SOURCE, answer(None, code, msg))
            assert isinstance(got, Lost), (kind, form)
            assert (got.error.scope, got.error.facts.code) == (errors.Scope.SERVICE, code)


@pytest.mark.parametrize("code", [500, 422])
def test_an_error_about_what_a_task_is_made_from_says_that_none_was_made(code: int) -> None:
    for kind in ("suno.recovery", "suno.wav"):
        got = decode(answer(None, code, "The original Suno task does not exist."), kind, {"taskId": MUSIC_ID})
        assert isinstance(got, Refused), kind


def test_a_source_that_kie_does_not_know_is_told_from_a_request_that_is_wrong() -> None:
    missing = answer(None, 422, "Original music record does not exist")
    for kind, error in {"suno.cover": errors.KieNoRecord, "suno.music": errors.KieInvalidRequest}.items():
        got = decode_create(task_kind(kind), {}, missing)
        assert isinstance(got, Refused)
        assert type(got.error) is error


@pytest.mark.parametrize("code", [402, 422, 429, 455, 531])
def test_a_decision_under_a_real_http_error_is_still_a_decision(code: int) -> None:
    assert isinstance(decode(answer(None, code, "no", http=500)), Refused)


@pytest.mark.parametrize(
    "response",
    [
        answer(None, 500, "Server Error", http=500),
        answer(None, 408, "no result for 10 minutes"),
        answer(None, 504, "gateway"),
        answer(None, 200),
        answer({}, 200),
        answer({"taskId": None}, 200),
        answer({"taskId": {"a": 1}}, 200),
        answer({"taskId": True}, 200),
        answer({"taskId": "two words"}, 200),
        answer([COVER_ID], 200),
        answer({"taskId": None, "state": "waiting", "resultJson": ""}, 200),
        answer({"status": "PENDING", "successFlag": 0, "state": "queuing", "note": "soon"}, 200),
        answer({"success": True, "message": "accepted"}, 200),
        answer({"code": 501, "msg": "failed", "data": {"resultUrls": ["https://h.example/1.png"]}}, 200),
        answer("it will be made soon", 200),
        raw(b"<html>bad gateway</html>", 502),
        raw(b"<html>timeout</html>", 524),
        raw(b"<html>welcome</html>", 200),
        raw(b"<html>timeout</html>", 408),
        raw(b"", 200),
        raw(b'{"msg":"success"}', 200),
        raw(b"moved", 302, location="https://elsewhere.example/"),
    ],
)
@pytest.mark.parametrize("kind", ["suno.cover", "suno.music"])
def test_an_answer_that_does_not_tell_leaves_the_create_in_doubt(kind: str, response: Response) -> None:
    got = decode(response, kind)
    assert isinstance(got, Lost)
    assert got.error.facts.kind == kind
    assert got.error.scope is errors.Scope.SERVICE


@pytest.mark.parametrize("form", ["dedicated", "unified"])
@pytest.mark.parametrize(
    "data",
    [
        {"resultUrls": ["https://h.example/1.png"]},
        {"taskId": None, "images": ["https://h.example/1.png"], "state": "success", "successFlag": 1},
        {"code": 200, "msg": "success", "data": {"resultUrls": ["https://h.example/1.png"]}},
        [{"url": "https://h.example/1.png"}],
        ["https://h.example/1.png"],
        "https://h.example/1.png",
    ],
)
def test_an_answer_that_is_the_result_itself_is_kept_whole_and_hidden(form: str, data: Any) -> None:
    got = decode_create(task_kind("suno.cover", form), SOURCE, answer(data))
    assert got == Created("", answer=data)
    assert "h.example" not in repr(got)


@pytest.mark.parametrize("http", [400, 401, 403, 404, 413, 429])
def test_a_real_http_4xx_without_envelope_says_that_nothing_was_made(http: int) -> None:
    assert isinstance(decode(raw(b"<html>", http)), Refused)


def test_an_error_with_http_429_keeps_its_retry_after() -> None:
    got = decode(raw(b"", 429, retry_after="12"))
    assert isinstance(got, Refused)
    assert got.error.facts.retry_after == 12
