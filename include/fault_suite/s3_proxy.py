"""An HTTP proxy before an S3 server that spoils chosen requests: errors, slowness, resets, a bucket that is gone."""

from __future__ import annotations

import http.client
import http.server
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

Action = Literal["error", "slow", "slow_answer", "reset", "reset_mid_upload"]
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect"})
_PIECE = 64 * 1024


@dataclass
class Rule:
    """One fault: the requests that it means, and what becomes of them.

    :param action: answer with an error, wait first, wait with the answer of S3, reset at once, or reset after half of
        the body was taken.
    :param path: regular expression that must match a part of ``/bucket/key``.
    :param methods: HTTP methods; all if empty.
    :param times: how often it strikes; -1: for ever.
    :param skip: how many matches it lets pass first.
    :param until: monotonic second at which it ends.
    :param status: HTTP status of an error.
    :param code: S3's word for it.
    :param seconds: how long ``slow`` and ``slow_answer`` wait.
    :param struck: how often it has struck.
    """

    action: Action
    path: str = ""
    methods: tuple[str, ...] = ()
    times: int = 1
    skip: int = 0
    until: float = float("inf")
    status: int = 500
    code: str = "InternalError"
    seconds: float = 1.0
    struck: int = 0
    number: int = 0

    def strikes(self, method: str, path: str) -> bool:
        """Count a request and say whether it is spoilt."""
        if self.times == 0 or time.monotonic() >= self.until or (self.methods and method not in self.methods):
            return False
        if not re.search(self.path, path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= self.times > 0
        self.struck += 1
        return True


@dataclass
class S3Proxy:
    """A proxy on a free port; as a context manager it serves until the end.

    The Host header goes on as it came, so that signatures stay valid.

    :param upstream: returns the address of the S3 server.
    :param host: the address on which it listens.
    """

    upstream: Callable[[], str]
    host: str = "127.0.0.1"
    rules: list[Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __enter__(self) -> S3Proxy:
        """Start serving."""
        proxy = self

        class Handler(_Handler):
            def rule(self, method: str, path: str) -> Rule | None:
                return proxy.strike(method, path)

            def s3(self) -> str:
                return proxy.upstream()

        self._server = _Server((self.host, 0), Handler)
        threading.Thread(target=self._server.serve_forever, name="s3-proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Address of the proxy."""
        return f"http://{self.host}:{self._server.server_address[1]}"

    def add(self, rule: Rule) -> Rule:
        """Switch a fault on and return it."""
        with self._lock:
            rule.number = next(self._numbers)
            self.rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Switch a fault off; its count stays with it."""
        with self._lock:
            self.rules = [other for other in self.rules if other is not rule]

    def strike(self, method: str, path: str) -> Rule | None:
        """Return the first fault that strikes a request."""
        with self._lock:
            return next((rule for rule in self.rules if rule.strikes(method, path)), None)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that are killed end their connections in the middle."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120

    def rule(self, method: str, path: str) -> Rule | None:
        raise NotImplementedError

    def s3(self) -> str:
        raise NotImplementedError

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: addresses carry signatures."""

    def do_GET(self) -> None:
        rule = self.rule(self.command, self.path)
        if rule and rule.action == "slow":
            time.sleep(rule.seconds)
        elif rule and rule.action == "error":
            self._refuse(rule)
            return
        elif rule and rule.action != "slow_answer":
            self._reset(rule)
            return
        self._pass_on(self._body(), rule.seconds if rule and rule.action == "slow_answer" else 0.0)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _pass_on(self, body: bytes, pause: float) -> None:
        address = urlsplit(self.s3())
        upstream = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        try:
            upstream.request(self.command, self.path, body or None, {**headers, "Content-Length": str(len(body))})
            answer = upstream.getresponse()
            time.sleep(pause)
            self._answer(answer)
        except OSError:
            self._abort()
        finally:
            upstream.close()

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        content = b"" if self.command == "HEAD" else answer.read()
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, rule: Rule) -> None:
        self._body()
        words = f"<Code>{rule.code}</Code><Message>A fault of the suite.</Message>"
        content = f'<?xml version="1.0" encoding="UTF-8"?><Error>{words}</Error>'.encode()
        self.send_response_only(rule.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _reset(self, rule: Rule) -> None:
        if rule.action == "reset_mid_upload":
            half = int(self.headers.get("Content-Length") or 0) // 2
            while half > 0 and (piece := self.rfile.read(min(half, _PIECE))):
                half -= len(piece)
        self._abort()

    def _abort(self) -> None:
        """Close with a reset instead of an orderly end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
