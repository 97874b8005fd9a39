"""A threaded HTTP server on loopback that answers as a test tells it, down to the bytes on the wire."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Seen:
    """A request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    port: int


@dataclass
class FakeServer:
    """A server on loopback that answers as it is told.

    :param reply: what to answer: (status, headers, body), or bytes to put on the wire as they are, or None to reset.
    """

    reply: Callable[[Seen], tuple[int, dict[str, str], bytes] | bytes | None]
    url: str = ""
    seen: list[Seen] = field(default_factory=list)


def says(body: Any, status: int = 200, **headers: str) -> Callable[[Seen], tuple[int, dict[str, str], bytes]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _: (status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def success(data: Any) -> Callable[[Seen], tuple[int, dict[str, str], bytes]]:
    """Return a reply: KIE's envelope around the data."""
    return says({"code": 200, "msg": "success", "data": data})


@contextmanager
def serving(reply: Callable[[Seen], Any], *, reads: bool = True) -> Iterator[FakeServer]:
    """Run a server and give it.

    :param reply: what :class:`FakeServer` takes, or a callable that writes to the handler itself.
    :param reads: False: it leaves the requests' bodies where they are, until the server ends.
    """
    ended = threading.Event()
    fake = FakeServer(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            if not reads:
                ended.wait(60)
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, self.path, headers, body, self.client_address[1])
            fake.seen.append(seen)
            answered = fake.reply(seen)
            if isinstance(answered, tuple):
                status, extra, content = answered
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)
                return
            if callable(answered):
                answered(self)
            elif answered:
                self.wfile.write(answered)
            else:  # closing with unread time to linger 0 is a reset
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_CONNECT = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
