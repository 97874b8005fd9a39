"""KIE's envelope: the code in the body decides, not the HTTP status, and whatever is no envelope is told apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_kie.client import errors
from airflow_kie.client.answers.envelope import LONGEST_RETRY_AFTER, Response, decode_envelope, error_in
from airflow_kie.client.operations.account import CREDIT, UPLOAD_BASE64
from airflow_kie.client.operations.suno import COVER, LYRICS, MUSIC
from kie_answers import CREDITS_TEXT, answer, raw

COMMON = {
    **dict.fromkeys((0, 1, 201, 302, 399), errors.KieBadAnswer),
    400: errors.KieInvalidRequest,
    401: errors.KieUnauthorized,
    402: errors.KieOutOfCredits,
    403: errors.KieUnauthorized,
    404: errors.KieInvalidRequest,
    408: errors.KieGenerationFailed,
    413: errors.KieContentRejected,
    422: errors.KieInvalidRequest,
    429: errors.KieRateLimited,
    430: errors.KieRateLimited,
    433: errors.KieKeyLimit,
    451: errors.KieInvalidRequest,
    455: errors.KieMaintenance,
    500: errors.KieServerError,
    501: errors.KieGenerationFailed,
    502: errors.KieServerError,
    505: errors.KieInvalidRequest,
    531: errors.KieGenerationFailed,
    550: errors.KieRateLimited,
    418: errors.KieInvalidRequest,
    599: errors.KieServerError,
}


def meaning(response: Response, operation: Any = COVER, table: str = "create_errors") -> errors.KieError | None:
    return error_in(decode_envelope(response), operation.name, getattr(operation, table, {}))


@pytest.mark.parametrize(("code", "expected"), COMMON.items())
@pytest.mark.parametrize("table", ["create_errors", "details_errors"])
def test_an_error_code_under_http_200_is_an_error(code: int, expected: type, table: str) -> None:
    error = meaning(answer(code=code, msg="words of KIE"), table=table)
    assert error is not None
    assert type(error) is expected
    assert (error.facts.code, error.facts.message, error.facts.kind) == (code, "words of KIE", "suno.cover")


def test_code_200_is_no_error() -> None:
    assert meaning(answer({"taskId": "x"})) is None


def test_a_real_http_error_with_a_success_code_is_an_error() -> None:
    assert type(meaning(answer(code=200, http=429))) is errors.KieRateLimited
    assert type(meaning(answer(code=200, http=500))) is errors.KieServerError
    assert type(meaning(answer(code=200, http=400))) is errors.KieInvalidRequest
    assert type(meaning(answer(code=0, http=422))) is errors.KieInvalidRequest


def test_the_code_wins_over_the_http_status_where_both_are_errors() -> None:
    assert type(meaning(answer(code=402, http=500, msg="no"))) is errors.KieOutOfCredits


@pytest.mark.parametrize("code", [402, 429, 500])
@pytest.mark.parametrize(
    "text", [CREDITS_TEXT, "The current credits are insufficient. Please top up.", "insufficient credits"]
)
def test_a_text_about_credits_means_out_of_credits(code: int, text: str) -> None:
    assert type(meaning(answer(code=code, msg=text))) is errors.KieOutOfCredits


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (429, "Your call frequency is too high. Please try again later.", errors.KieRateLimited),
        (500, "Server exception, please try again later", errors.KieServerError),
        (500, "The credits of this request are being counted", errors.KieServerError),
        (531, "Insufficient vocals in the source, credits refunded", errors.KieGenerationFailed),
        (531, "Generation failed, credits refunded, please try again", errors.KieGenerationFailed),
    ],
)
def test_a_text_that_is_not_about_an_empty_account_leaves_the_code_its_meaning(
    code: int, text: str, expected: type
) -> None:
    assert type(meaning(answer(code=code, msg=text))) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (405, errors.KieRateLimited),
        (413, errors.KieContentRejected),
        (429, errors.KieOutOfCredits),
        (430, errors.KieRateLimited),
    ],
)
def test_a_lyrics_create_has_a_code_list_of_its_own(code: int, expected: type) -> None:
    assert type(meaning(answer(code=code, msg="?"), LYRICS)) is expected


def test_the_lyrics_list_of_creates_does_not_hold_for_reads() -> None:
    assert type(meaning(answer(code=429, msg="?"), LYRICS, "details_errors")) is errors.KieRateLimited


def test_400_is_a_refused_request_when_music_is_made_and_rejected_content_when_it_is_read() -> None:
    assert type(meaning(answer(code=400), MUSIC)) is errors.KieInvalidRequest
    assert type(meaning(answer(code=400), MUSIC, "details_errors")) is errors.KieContentRejected


@pytest.mark.parametrize("operation", [CREDIT, UPLOAD_BASE64])
def test_calls_and_uploads_have_the_common_codes(operation: Any) -> None:
    assert type(meaning(answer(code=401), operation)) is errors.KieUnauthorized


def test_the_body_is_read_whatever_its_content_type_says() -> None:
    body = json.dumps({"code": 200, "msg": "success", "data": 1}).encode()
    assert decode_envelope(raw(body)).data == 1
    for content_type in ("text/html", "application/octet-stream"):
        assert decode_envelope(raw(body, content_type=content_type)).data == 1


@pytest.mark.parametrize("code", ["200", " 200 ", 200])
def test_a_code_written_as_text_is_a_code(code: Any) -> None:
    assert decode_envelope(answer(code=code)).code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"msg":"success","data":{"taskId":"x"}}',
        b'{"code":null}',
        b'{"code":"ok"}',
        b'{"code":"\xc2\xb2\xc2\xb2"}',
        b'{"code":true}',
        b'{"code":{"a":1}}',
        b'{"code":200',
        b"\xff\xfe\x00broken",
        b"[" * 200_000,
    ],
)
def test_what_is_no_envelope_is_a_bad_answer(content: bytes) -> None:
    with pytest.raises(errors.KieBadAnswer):
        decode_envelope(raw(content))


def test_an_answer_shows_nothing_of_its_headers_and_content() -> None:
    assert "s3cret" not in repr(raw(b"s3cret", 200, location="https://h.example/?token=s3cret"))
    assert "s3cret" not in repr(decode_envelope(answer({"url": "s3cret"}, msg="s3cret")))


def test_missing_words_and_data_do_not_matter() -> None:
    envelope = decode_envelope(raw(b'{"code":422}'))
    assert (envelope.code, envelope.msg, envelope.data) == (422, "", None)


@pytest.mark.parametrize(
    ("http", "expected"),
    [
        (401, errors.KieUnauthorized),
        (403, errors.KieUnauthorized),
        (429, errors.KieRateLimited),
        (500, errors.KieServerError),
        (502, errors.KieServerError),
        (524, errors.KieServerError),
        (404, errors.KieBadAnswer),
        (302, errors.KieBadAnswer),
        (200, errors.KieBadAnswer),
    ],
)
def test_a_page_of_a_gateway_means_what_its_http_status_says(http: int, expected: type) -> None:
    with pytest.raises(expected) as caught:
        decode_envelope(raw(b"<html><body>cloudflare</body></html>", http, content_type="text/html"))
    assert type(caught.value) is expected
    assert str(http) in str(caught.value)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("17", 17.0), ("0", 0.0), ("999999", LONGEST_RETRY_AFTER), ("inf", None), ("nan", None), ("-5", None), ("", None)],
)
def test_retry_after_is_honoured_in_seconds_and_bounded(header: str, seconds: float | None) -> None:
    error = meaning(answer(code=429, msg="slower", retry_after=header))
    assert error is not None
    assert error.facts.retry_after == seconds


def test_retry_after_of_a_gateway_is_honoured_too() -> None:
    with pytest.raises(errors.KieRateLimited) as caught:
        decode_envelope(raw(b"slow down", 429, retry_after="12"))
    assert caught.value.facts.retry_after == 12
