"""How long, and how many, connections the receiver alone keeps, whatever is sent to it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from airflow_kie.web.receiver import server
from airflow_kie.web.receiver.server import BoundedProtocol, Phase
from asgi_server import serving

LONG = 200.0
"""Seconds that even a busy machine needs for nothing here; what fails still ends before pytest's own limit."""
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer at once, whatever is asked; under ``/never`` when the caller has gone."""
    while scope["path"] == "/never" and (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port() -> Iterator[int]:
    with serving(app, http=BoundedProtocol, timeout_keep_alive=int(LONG)) as port:
        yield port


def connected(port: int, begun: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=LONG)
    connection.sendall(begun)
    return connection


def received(connection: socket.socket) -> bytes:
    """Return what comes until the server closes the connection."""
    whole = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1000):
            whole += part
    return whole


def answered(connection: socket.socket) -> bool:
    """Say whether a request on the connection is answered; False if the server has closed it."""
    whole = b""
    with contextlib.suppress(ConnectionError):
        connection.sendall(REQUEST)
        while not whole.endswith(b"\r\n\r\nok") and (part := connection.recv(1000)):  # head and body come apart
            whole += part
    return whole.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("phase", "begun", "answers"),
    [
        (Phase.RECEIVING, b"", 0),
        (Phase.RECEIVING, b"GET / HTTP/1.1\r\nX: ", 0),
        (Phase.RECEIVING, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx", 1),
        (Phase.RECEIVING, REQUEST + b"GET / HTTP/1.1\r\nX: ", 1),
        (Phase.ANSWERING, b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    ],
)
def test_what_does_not_come_to_its_end_is_closed(
    port: int, monkeypatch: pytest.MonkeyPatch, phase: Phase, begun: bytes, answers: int
) -> None:
    monkeypatch.setitem(server.LIMITS, phase, 3.0 if answers else 0.2)  # what is answered is answered before
    with connected(port, begun) as connection:
        assert received(connection).count(b"HTTP/1.1 200") == answers


def test_a_byte_now_and_then_buys_no_more_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(server.LIMITS, Phase.RECEIVING, 0.5)
    with connected(port, b"GET / HTTP/1.1\r\nX: ") as connection, pytest.raises(ConnectionError):
        for _ in range(2000):
            connection.sendall(b"x")
            time.sleep(0.05)


def test_a_connection_that_idles_between_two_requests_is_kept(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(server.LIMITS, Phase.RECEIVING, 2.0)
    monkeypatch.setitem(server.LIMITS, Phase.ANSWERING, 2.0)
    with connected(port) as connection:
        assert answered(connection)
        time.sleep(2.5)
        assert answered(connection)


def test_a_request_in_many_pieces_is_answered(port: int) -> None:
    with connected(port) as connection:
        for byte in REQUEST:
            connection.sendall(bytes((byte,)))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_however_many_connections_are_opened_a_new_one_is_served(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 20)
    with contextlib.ExitStack() as opened:
        begun: deque[socket.socket] = deque()
        for _ in range(10_000):  # a process may have 1024 files open, so few of them at a time
            begun.append(opened.enter_context(connected(port, b"GET / HTTP/1.1\r\nX: ")))
            if len(begun) > 60:
                with begun.popleft() as oldest:
                    assert received(oldest) == b""
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=LONG).status_code == 200
        assert all(received(connection) == b"" for connection in list(begun)[:20])  # at most 20 of 60 are open


def test_an_idle_connection_goes_first_and_one_that_is_answered_stays(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    with (
        connected(port) as idle,
        connected(port, b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n") as asked,
        connected(port, b"GET / HTTP/1.1\r\nX: ") as unfinished,
    ):
        assert answered(idle)
        with connected(port) as another:
            assert answered(another)
            assert received(idle) == b""
            unfinished.sendall(b"y\r\nHost: x\r\n\r\n")
            assert unfinished.recv(1000).startswith(b"HTTP/1.1 200")
            asked.setblocking(False)
            with pytest.raises(BlockingIOError):  # it still waits
                asked.recv(1)
