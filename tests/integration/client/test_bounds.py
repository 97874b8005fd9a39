"""Answers without end: too many bytes, too slow, or broken. Each is an error with a type, and a create is in doubt."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from airflow_kie.client import errors
from airflow_kie.client.account import KieAccount
from airflow_kie.client.answers.decode import CreateAnswer, Created, DetailsAnswer, Lost, Read, Refused, Unreadable
from airflow_kie.client.api import Kie, KieAsync
from airflow_kie.client.http import bounded
from airflow_kie.client.http.transport import KieAsyncTransport, KieTransport
from airflow_kie.client.operations.suno import COVER, MUSIC, STYLE
from airflow_kie.lifecycle.record import TaskRecord
from answering_server import serving

RECORD = TaskRecord.of_known_task("suno.cover", "cover-1", source={"taskId": "music-1"})
GOOD = json.dumps({"code": 200, "msg": "success", "data": {"taskId": "cover-1", "successFlag": 0}}).encode()
MIB = 1024 * 1024


def padded(size: int) -> bytes:
    """Return a good answer of so many bytes."""
    return GOOD[:-1] + b', "padding": "' + b"0" * (size - len(GOOD) - 15) + b'"}'


def whole(body: bytes, *headers: str) -> bytes:
    """Return an answer as it stands on the wire."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def create(url: str, **account: Any) -> CreateAnswer:
    transport = KieTransport(KieAccount("key", api_url=url, api="dedicated", **account))
    try:
        return Kie(transport).create(MUSIC, _music(), {}, "https://callback.example/kie")
    finally:
        transport.close()


def details(url: str, **account: Any) -> tuple[DetailsAnswer, DetailsAnswer]:
    """Read a task in both ways: blocking, and on an event loop."""
    transport = KieTransport(KieAccount("key", api_url=url, api="dedicated", **account))
    try:
        blocking = Kie(transport).details(COVER, RECORD.task_id or "")
    finally:
        transport.close()

    async def read() -> DetailsAnswer:
        shell = KieAsyncTransport(KieAccount("key", api_url=url, api="dedicated", **account))
        try:
            return await KieAsync(shell).details(COVER, RECORD.task_id or "")
        finally:
            await shell.close()

    return blocking, asyncio.run(read())


def in_doubt(url: str, error: type[errors.KieError], **account: Any) -> None:
    """Check that a create is in doubt and that a read is read again, for this reason."""
    lost = create(url, **account)
    assert isinstance(lost, Lost), lost
    assert type(lost.error) is error, lost.error
    for read in details(url, **account):
        assert isinstance(read, Unreadable), read
        assert type(read.error) is error, read.error
        assert len(str(read.error)) < 2000


# --- bytes ---------------------------------------------------------------------------------------------------------


def test_an_answer_within_the_bounds_is_read_plain_and_compressed() -> None:
    body = padded(3 * MIB)
    squeezed = {"gzip": gzip.compress(body), "x-gzip": gzip.compress(body), "deflate": zlib.compress(body)}
    wires = [whole(body), *(whole(it, f"Content-Encoding: {name}") for name, it in squeezed.items())]
    for wire in wires:
        with serving(lambda _, wire=wire: wire) as server:
            assert [type(read) for read in details(server.url)] == [Read, Read]
            assert create(server.url) == Created("cover-1")


TOO_LARGE = {
    "plain": whole(padded(5 * MIB)),
    "compressed": whole(gzip.compress(padded(64 * MIB)), "Content-Encoding: gzip"),
    "compressed twice": whole(gzip.compress(gzip.compress(padded(64 * MIB))), "Content-Encoding: gzip, gzip"),
    "deflated": whole(zlib.compress(padded(64 * MIB)), "Content-Encoding: deflate"),
}


@pytest.mark.parametrize("wire", TOO_LARGE.values(), ids=list(TOO_LARGE))
def test_an_answer_of_more_bytes_than_are_allowed_is_in_doubt(wire: bytes) -> None:
    with serving(lambda _: wire) as server:
        in_doubt(server.url, errors.KieBadAnswer)


def test_a_compressed_answer_is_not_decoded_beyond_the_bound() -> None:
    wire = TOO_LARGE["compressed"]
    with serving(lambda _: wire) as server:
        tracemalloc.start()
        try:
            details(server.url)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 32 * MIB


# --- time ----------------------------------------------------------------------------------------------------------

ANSWER = whole(GOOD)
HEAD = ANSWER.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\n\r\n"
TRICKLES: dict[str, list[bytes]] = {
    "the status line and headers": [*(bytes([byte]) for byte in HEAD), GOOD],
    "the body": [HEAD, *(bytes([byte]) for byte in GOOD)],
    "early hints": [*([EARLY] * 60), ANSWER],
}


def trickling(pieces: list[bytes]) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return a reply in pieces, one every 50 ms: each comes well within the time that one read may take."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        try:
            for piece in pieces:
                handler.wfile.write(piece)
                time.sleep(0.05)
        except OSError:  # nobody reads any more
            pass

    return reply


@pytest.fixture(params=list(TRICKLES))
def trickle(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the address of a server whose good answer takes some seconds."""
    with serving(lambda _: trickling(TRICKLES[request.param])) as server:
        yield server.url


def test_an_answer_that_trickles_without_end_ends_at_the_deadline(trickle: str) -> None:
    in_doubt(trickle, errors.KieUnreachable, deadline=1.0)


def test_an_answer_that_is_slow_and_in_time_is_read(trickle: str) -> None:
    assert create(trickle, deadline=60.0) == Created("cover-1")


def test_a_request_whose_body_is_not_taken_ends_at_the_deadline() -> None:
    with serving(lambda _: ANSWER, reads=False) as server:
        transport = KieTransport(KieAccount("key", api_url=server.url, deadline=0.5))
        with pytest.raises(errors.KieUnreachable):
            Kie(transport).call(STYLE, {"content": "x" * 64 * MIB})
        transport.close()


def test_a_connection_whose_answer_was_cut_off_is_not_used_again() -> None:
    wires = [whole(padded(5 * MIB)), ANSWER]
    with serving(lambda _: wires.pop(0)) as server:
        transport = KieTransport(KieAccount("key", api_url=server.url))
        assert isinstance(Kie(transport).details(COVER, RECORD.task_id or ""), Unreadable)
        assert isinstance(Kie(transport).details(COVER, RECORD.task_id or ""), Read)
        transport.close()


# --- broken --------------------------------------------------------------------------------------------------------

NO_ANSWER = {
    "gzip that is none": whole(b"no gzip at all", "Content-Encoding: gzip"),
    "gzip that breaks off": whole(gzip.compress(GOOD)[:-12], "Content-Encoding: gzip"),
    "gzip with a wrong checksum": whole(gzip.compress(GOOD)[:-8] + b"\0" * 8, "Content-Encoding: gzip"),
    "an encoding that was not requested": whole(b"\x0b\x02\x80{}\x03", "Content-Encoding: br"),
    "an encoding that nobody knows": whole(GOOD, "Content-Encoding: rot13"),
    "no UTF-8": whole(b'{"code": 200, "msg": "\xff\xfe"}'),
    "half of the JSON": whole(GOOD[:-9]),
    "NaN": whole(b'{"code": 200, "data": NaN}'),
    "an endless number": whole(b'{"code": 200, "data": {"taskId": 1' + b"0" * 5000 + b"}}"),
    "a number that is infinite": whole(b'{"code": 200, "data": {"taskId": "1", "duration": 1e999}}'),
    "a number beyond 64 bits": whole(
        b'{"code": 200, "data": {"taskId": "1", "creditsConsumed": 1' + b"0" * 400 + b"}}"
    ),
    "NaN within": whole(b'{"code": 200, "data": {"taskId": "1", "creditsConsumed": NaN}}'),
    "deep nesting": whole(b"[" * 200_000),
    "nesting": whole(b'{"code": 200, "data": {"taskId": "1", "x": ' + b"[" * 500 + b"]" * 500 + b"}}"),
    "nothing": whole(b""),
    "a web page": whole(b"<html>502</html>", "Content-Type: text/html; charset=no-such-charset"),
    "an array": whole(b"[]"),
}


@pytest.mark.parametrize("wire", NO_ANSWER.values(), ids=list(NO_ANSWER))
def test_a_body_that_is_no_answer_is_in_doubt_and_no_failed_task(wire: bytes) -> None:
    with serving(lambda _: wire) as server:
        in_doubt(server.url, errors.KieBadAnswer)


def test_half_an_emoji_and_nul_in_an_answer_become_a_replacement_character() -> None:
    said = rb'{"code": 200, "data": {"taskId": "cover-1", "errorMessage": "\ud83d \u0000 \ud83d\ude00"}}'
    with serving(lambda _: whole(said)) as server:
        for read in details(server.url):
            assert isinstance(read, Read)
            assert read.details.error_message == "\ufffd \ufffd \U0001f600"


UNREADABLE = {
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X-Filler: aaaaaaaaaaaaaaaa\r\n" * 50_000 + b"\r\n" + GOOD,
    "one header without end": b"HTTP/1.1 200 OK\r\nX-Filler: " + b"a" * MIB + b"\r\n\r\n" + GOOD,
    "a status line without end": b"HTTP/1.1 200 " + b"O" * MIB + b"\r\n\r\n",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + GOOD,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\n" + GOOD,
    "a chunk that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("wire", UNREADABLE.values(), ids=list(UNREADABLE))
def test_an_answer_that_does_not_speak_http_is_in_doubt(wire: bytes) -> None:
    with serving(lambda _: wire) as server:
        in_doubt(server.url, errors.KieUnreachable)


@pytest.mark.parametrize(
    "location", ["http://[::bad", "http://a\x01b/", "https://:99999999/", "//", "http://" + "a" * 300, "\xff", "http:"]
)
@pytest.mark.parametrize("status", [301, 307])
def test_a_redirect_to_no_address_is_in_doubt_and_no_wrong_connection(status: int, location: str) -> None:
    reply = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    with serving(lambda _: reply) as server:
        lost = create(server.url)
        assert isinstance(lost, Lost)
        assert type(lost.error) in (errors.KieBadAnswer, errors.KieUnreachable)
        assert all(isinstance(read, Unreadable) for read in details(server.url))


def test_a_text_that_cannot_be_sent_is_refused_and_nothing_was_sent() -> None:
    with serving(lambda _: ANSWER) as server:
        transport = KieTransport(KieAccount("key", api_url=server.url))
        kie = Kie(transport)
        for odd in ("half an emoji \ud83d", float("nan"), object()):
            refused = kie.create(MUSIC, _music() | {"prompt": odd}, {}, "https://callback.example/kie")
            assert isinstance(refused, Refused), refused
            assert type(refused.error) is errors.KieInvalidRequest
            assert "nothing was sent" in str(refused.error)
        transport.close()
        assert server.seen == []


def test_a_host_whose_name_no_resolver_takes_is_a_wrong_connection() -> None:
    refused = create("https://" + "a" * 64 + ".example")
    assert isinstance(refused, Refused)
    assert type(refused.error) is errors.KieConnectionInvalid


def test_many_reads_on_one_loop_do_not_spend_their_time_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "CONNECTIONS", 2)

    def slow(_: Any) -> bytes:
        time.sleep(0.4)
        return ANSWER

    async def read(url: str) -> list[DetailsAnswer]:
        shell = KieAsyncTransport(KieAccount("key", api_url=url, deadline=5.0))  # the last one waits for longer
        try:
            return await asyncio.gather(*(KieAsync(shell).details(COVER, RECORD.task_id or "") for _ in range(40)))
        finally:
            await shell.close()

    with serving(slow) as server:
        assert {type(answer) for answer in asyncio.run(read(server.url))} == {Read}


def _music() -> dict[str, Any]:
    return {"prompt": "rain", "customMode": False, "instrumental": False, "model": "V5"}
