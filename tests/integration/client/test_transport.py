"""Sending over real sockets on loopback: where the key goes, what is lost, what was never sent, and one client each."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_kie.client import errors
from airflow_kie.client.account import KieAccount
from airflow_kie.client.answers.decode import Created, Invisible, Lost, Read, Refused, Unreadable
from airflow_kie.client.api import Kie
from airflow_kie.client.http.transport import KieTransport, post_anywhere
from airflow_kie.client.operations.account import UPLOAD_BASE64, UPLOAD_STREAM
from airflow_kie.client.operations.suno import COVER, MUSIC, STYLE
from airflow_kie.lifecycle.record import TaskRecord
from answering_server import Seen, says, serving, success
from unused_ports import unused_port

KEY = "k3y-0123456789abcdef"
CALLBACK = "https://callback.example/kie"
SONG = {"taskId": "music-1"}
RECORD = TaskRecord.of_known_task("suno.cover", "cover-1", source=SONG)
OK = {"code": 200, "msg": "success", "data": 5916.25}


@contextmanager
def client(url: str, **account: Any) -> Iterator[Kie]:
    transport = KieTransport(KieAccount(KEY, **({"api_url": url, "upload_url": url, "api": "dedicated"} | account)))
    try:
        yield Kie(transport)
    finally:
        transport.close()


# --- the key -------------------------------------------------------------------------------------------------------


def test_the_key_and_json_headers_are_sent_with_every_request() -> None:
    with serving(says(OK)) as server, client(server.url) as kie:
        kie.credits()
        kie.call(STYLE, {"content": "Pop"})
        kie.call(UPLOAD_BASE64, {"base64Data": "aGk=", "uploadPath": "in"})
        for seen in server.seen:
            assert seen.headers["authorization"] == f"Bearer {KEY}"
            assert seen.headers["content-type"] == "application/json"


def test_each_host_gets_what_is_meant_for_it() -> None:
    with (
        serving(says(OK)) as api,
        serving(says({"code": 200, "data": {"downloadUrl": "https://t.example/a"}})) as files,
        client(api.url, upload_url=files.url) as kie,
    ):
        kie.credits()
        assert kie.call(UPLOAD_STREAM, {"uploadPath": "in"}, ("ä.png", b"\x89PNG"))["downloadUrl"]
        assert [seen.path for seen in api.seen] == ["/api/v1/chat/credit"]
        (upload,) = files.seen
        assert upload.path == "/api/file-stream-upload"
        assert upload.headers["content-type"].startswith("multipart/form-data")
        assert b"\x89PNG" in upload.body
        assert b'name="uploadPath"' in upload.body


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_never_followed_so_the_key_reaches_no_other_host(status: int) -> None:
    with serving(says(OK)) as stranger, serving(says(b"", status, Location=f"{stranger.url}/steal")) as server:
        with client(server.url) as kie:
            assert isinstance(kie.details(COVER, RECORD.task_id or ""), Unreadable)
            assert isinstance(kie.create(COVER, SONG, SONG, CALLBACK), Lost)
            with pytest.raises(errors.KieBadAnswer, match=str(status)):
                kie.credits()
        assert len(server.seen) == 3
        assert stranger.seen == []


def test_no_cookie_of_kie_is_carried_to_the_next_request() -> None:
    with serving(says(OK, Set_Cookie="JSESSIONID=abc; Path=/")) as server, client(server.url) as kie:
        kie.credits()
        kie.credits()
        assert all("cookie" not in seen.headers for seen in server.seen)


def test_neither_key_nor_url_nor_answer_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    signed = "https://h.example/a.mp3?X-Amz-Signature=s3cret"
    reply = {"code": 422, "msg": f"cannot fetch {signed} with Bearer {KEY}", "data": None}
    with serving(says(reply)) as server, client(server.url) as kie, caplog.at_level(logging.INFO):
        with pytest.raises(errors.KieInvalidRequest) as caught:
            kie.download_url(signed)
        kie.create(COVER, SONG, SONG, f"{CALLBACK}?token=s3cret")
        kie.details(COVER, RECORD.task_id or "")
    shown = [caplog.text, str(caught.value), repr(caught.value), repr(kie), repr(vars(kie)), str(kie.account)]
    for text in shown:
        assert KEY not in text
        assert "s3cret" not in text
    assert not [record for record in caplog.records if record.name.startswith(("httpx", "httpcore"))]


# --- what the envelope decides -------------------------------------------------------------------------------------


def test_a_rate_limit_under_http_200_is_an_error_and_not_a_task() -> None:
    reply = {"code": 429, "msg": "Your call frequency is too high. Please try again later.", "data": None}
    with serving(says(reply)) as server, client(server.url) as kie:
        refused = kie.create(MUSIC, _music(), {}, CALLBACK)
        assert isinstance(refused, Refused)
        assert type(refused.error) is errors.KieRateLimited
        unreadable = kie.details(COVER, RECORD.task_id or "")
        assert isinstance(unreadable, Unreadable)
        assert type(unreadable.error) is errors.KieRateLimited
        with pytest.raises(errors.KieRateLimited):
            kie.credits()


def test_a_real_http_429_with_retry_after_is_read_too() -> None:
    with serving(says(b"slow down", 429, Retry_After="7")) as server, client(server.url) as kie:
        refused = kie.create(MUSIC, _music(), {}, CALLBACK)
        assert isinstance(refused, Refused)
        assert refused.error.facts.retry_after == 7


def test_an_answer_without_content_type_is_read() -> None:
    with (
        serving(success({"taskId": "cover-1"})) as server,
        client(server.url) as kie,
    ):
        assert kie.create(COVER, SONG, SONG, CALLBACK) == Created("cover-1")


def test_a_cover_is_created_and_read_under_its_own_id() -> None:
    def reply(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        data = {"taskId": "cover-1"} if seen.method == "POST" else {"taskId": "cover-1", "successFlag": 2}
        return 200, {}, json.dumps({"code": 200, "msg": "success", "data": data}).encode()

    with serving(reply) as server, client(server.url) as kie:
        assert kie.create(COVER, SONG, SONG, CALLBACK) == Created("cover-1")
        assert isinstance(kie.details(COVER, RECORD.task_id or ""), Read)
        create, details = server.seen
        assert json.loads(create.body) == {"taskId": "music-1", "callBackUrl": CALLBACK}
        assert details.path == "/api/v1/suno/cover/record-info?taskId=cover-1"


def test_an_unknown_id_is_invisible() -> None:
    with serving(success(None)) as server, client(server.url) as kie:
        assert kie.details(COVER, RECORD.task_id or "") == Invisible()


def test_an_id_with_odd_characters_does_not_break_out_of_its_parameter() -> None:
    odd = TaskRecord.of_known_task("suno.cover", "a&taskId=b#c/../d é")
    with serving(success(None)) as server, client(server.url) as kie:
        kie.details(COVER, odd.task_id or "")
        assert server.seen[0].path == (
            "/api/v1/suno/cover/record-info?taskId=a%26taskId%3Db%23c%2F..%2Fd%20%C3%A9"
        ) or server.seen[0].path.endswith("taskId=a%26taskId%3Db%23c%2F..%2Fd+%C3%A9")


@pytest.mark.parametrize("data", [None, "5", True, {}, []])
def test_a_balance_that_is_no_number_is_a_bad_answer(data: Any) -> None:
    with (
        serving(success(data)) as server,
        client(server.url) as kie,
        pytest.raises(errors.KieBadAnswer, match="balance"),
    ):
        kie.credits()


def test_the_balance_is_a_float() -> None:
    with serving(says(OK)) as server, client(server.url) as kie:
        assert kie.credits() == 5916.25


@pytest.mark.parametrize("data", [None, "", 7, {}])
def test_a_fresh_link_that_is_no_text_is_a_bad_answer(data: Any) -> None:
    with (
        serving(success(data)) as server,
        client(server.url) as kie,
        pytest.raises(errors.KieBadAnswer, match="link"),
    ):
        kie.download_url("https://tempfile.aiquickdraw.com/a.png")


# --- never sent, or lost -------------------------------------------------------------------------------------------


def test_a_refused_connection_means_that_nothing_was_sent_or_paid() -> None:
    with client(f"http://127.0.0.1:{unused_port()}") as kie:
        refused = kie.create(MUSIC, _music(), {}, CALLBACK)
        assert isinstance(refused, Refused)
        assert type(refused.error) is errors.KieNotSent
        assert "nothing was paid" in str(refused.error)
        with pytest.raises(errors.KieNotSent):
            kie.credits()


def test_a_create_without_a_required_field_is_refused_and_not_sent() -> None:
    with serving(says(OK)) as server, client(server.url) as kie:
        refused = kie.create(COVER, {}, SONG, CALLBACK)
        assert isinstance(refused, Refused)
        assert type(refused.error) is errors.KieInvalidRequest
        assert server.seen == []


def test_a_host_that_cannot_be_written_as_one_is_refused_as_a_wrong_connection() -> None:
    with client("https://a\u0001b.example") as kie:
        refused = kie.create(MUSIC, _music(), {}, CALLBACK)
        assert isinstance(refused, Refused)
        assert type(refused.error) is errors.KieConnectionInvalid


def test_an_address_elsewhere_whose_brackets_hold_no_address_is_refused_as_a_wrong_connection() -> None:
    with pytest.raises(errors.KieConnectionInvalid, match="The host is invalid"):
        post_anywhere("http://[::1", {})


LOST_ON_THE_WIRE = {
    "reset after the request": None,
    "closed in the middle of the answer": b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"code":200',
    "no HTTP": b"\x00\x01 garbage\r\n\r\n",
}


@pytest.mark.parametrize("wire", LOST_ON_THE_WIRE.values(), ids=list(LOST_ON_THE_WIRE))
def test_an_answer_that_breaks_off_is_lost_and_may_have_been_paid(wire: bytes | None) -> None:
    with serving(lambda _: wire) as server, client(server.url) as kie:
        lost = kie.create(MUSIC, _music(), {}, CALLBACK)
        assert isinstance(lost, Lost)
        assert type(lost.error) is errors.KieUnreachable
        assert isinstance(kie.details(COVER, RECORD.task_id or ""), Unreadable)
        assert len(server.seen) == 2, "a create is never repeated by itself"


def test_a_create_does_not_travel_on_a_connection_that_kie_may_be_closing() -> None:
    def closes_what_was_kept_open(seen: Seen) -> Any:
        used_before = [earlier.port for earlier in server.seen].count(seen.port) > 1
        return None if used_before else success({"taskId": "task-1"})(seen)

    with serving(closes_what_was_kept_open) as server, client(server.url) as kie:
        kie.details(COVER, RECORD.task_id or "")
        assert kie.create(MUSIC, _music(), {}, CALLBACK) == Created("task-1")


def test_no_answer_in_time_is_lost() -> None:
    hold = threading.Event()

    def reply(_: Seen) -> None:
        hold.wait(20)

    with serving(reply) as server, client(server.url, timeout=0.2) as kie:
        lost = kie.create(MUSIC, _music(), {}, CALLBACK)
        hold.set()
        assert isinstance(lost, Lost)
        assert "ReadTimeout" in lost.error.facts.message


# --- proxies -------------------------------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says(OK)) as proxy, serving(says(OK)) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with client(server.url) as kie:
            assert kie.credits() == 5916.25
        assert proxy.seen == []


def test_a_proxy_that_refuses_the_tunnel_means_that_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says(b"", 407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("https_proxy", proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with client("https://kie.invalid") as kie:
            refused = kie.create(MUSIC, _music(), {}, CALLBACK)
        assert isinstance(refused, Refused)
        assert type(refused.error) is errors.KieNotSent
        assert [seen.method for seen in proxy.seen] == ["CONNECT"]
        assert "authorization" not in proxy.seen[0].headers


def _music() -> dict[str, Any]:
    return {"prompt": "rain", "customMode": False, "instrumental": False, "model": "V5"}
