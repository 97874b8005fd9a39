"""Requests to the callback receiver that are not KIE's, in every shape that a generator comes up with.

Three ways in: straight into the app (ASGI), where headers and bodies may be what no HTTP library would send; raw bytes
to a real server; and cases that schemathesis makes of the route's description.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from airflow_kie.client.callbacks.auth import CallbackKeys, connection_token
from airflow_kie.client.callbacks.signature import OLDEST, sign
from airflow_kie.client.callbacks.url import Waiting, wake_token
from airflow_kie.web.receiver.receiver import MAX_BODY_BYTES, create_app
from fake_gateway import SECRET, TOKEN_SECRET, FakeGateway

ALLOWED = {400, 401, 404, 405, 413, 429}
SONG = "5c79be8e0a3f4d1c9b7e2f6a8d0c1e35"
Header = tuple[bytes, bytes]


@dataclass(frozen=True)
class Request:
    """A request as ASGI knows it.

    :param chunks: the body, in the pieces in which it comes.
    """

    method: str
    path: str
    query: bytes
    headers: list[Header]
    chunks: list[bytes]


@dataclass
class Target:
    """A receiver under fire, and the world that nobody may change.

    :param keys: the keys of its one connection.
    """

    keys: CallbackKeys
    world: FakeGateway = field(init=False)
    seen: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = FakeGateway(keys=self.keys)
        self.app = create_app(self.world, pause=0.001)

    def count(self, status: int) -> None:
        """Count an answer.

        :raises AssertionError: when it is none of the refusals, or something was asked of Airflow.
        """
        self.seen[status] = self.seen.get(status, 0) + 1
        assert status in ALLOWED, status
        assert self.world.asked == []


# --- strategies ---


def _mostly(usual: Any, odd: st.SearchStrategy[Any], of: int = 10) -> st.SearchStrategy[Any]:
    """Return a strategy that gives the odd once in so many times."""
    return st.integers(1, of).flatmap(lambda number: odd if number == 1 else st.just(usual))


# JSON can escape half a surrogate pair, which UTF-8 cannot hold.
_nasty = st.text(st.sampled_from("aZ9\ud800ü\x00/.-_ \u2028"), max_size=5)
_ids = st.one_of(
    st.just(SONG), st.text(max_size=140), _nasty, st.sampled_from(["..", "a/b", "\ud800", "x" * 129, "\x00", "ü"])
)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)
_data = st.fixed_dictionaries(
    {},
    optional={
        "task_id": st.one_of(_ids, _json),
        "taskId": st.one_of(_ids, _json),
        "callbackType": st.one_of(st.sampled_from(["text", "first", "complete", "error"]), _json),
        "data": _json,
    },
)
_callbacks = st.fixed_dictionaries(
    {"data": st.one_of(_data, _json)},
    optional={"code": st.one_of(st.just(200), _json), "msg": _json, "taskId": _ids, "task_id": _ids},
)
_encodings = st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-8-sig", "utf-7"])


def _encoded(value: Any, encoding: str) -> bytes:
    return json.dumps(value).encode(encoding)


_odd_bodies = st.one_of(
    st.builds(_encoded, _callbacks, st.just("utf-8")),
    st.builds(_encoded, _callbacks, _encodings),
    st.builds(_encoded, _json, _encodings),
    st.binary(max_size=200),
    st.builds(lambda value: gzip.compress(_encoded(value, "utf-8")), _callbacks),
    st.sampled_from(
        [
            b"",
            b"[" * 5000,
            b'{"data":' * 3000,
            b'{"taskId": ' + b"9" * 5000 + b"}",
            b'{"taskId": "\\ud800"}',
            b'{"data": {"taskId": "a", "taskId": ["b"]}}',
            b"task_id=" + SONG.encode(),
            b'{"taskId": NaN}',
        ]
    ),
    st.sampled_from([MAX_BODY_BYTES - 1, MAX_BODY_BYTES, MAX_BODY_BYTES + 1]).map(lambda size: b" " * size),
)
_named = st.builds(
    lambda name, task_id, stage: _encoded({"code": 200, "data": {name: task_id, "callbackType": stage}}, "utf-8"),
    st.sampled_from(["task_id", "taskId"]),
    st.one_of(st.just(SONG), _nasty),
    st.sampled_from(["text", "complete"]),
)
_bodies = st.booleans().flatmap(lambda named: _named if named else _odd_bodies)
_stamps = st.one_of(
    st.sampled_from(["", "now", "-1", "1e9", "²", "9" * 400, " 1769670760", "0x10", "1769670760.0", "٣"]),
    st.integers().map(str),
    st.text(max_size=12),
)


def _nearly(stamp: str, task_id: str, secret: str) -> str:
    """Return a signature that is right for something else: another secret, another task, or another time."""
    return sign(secret, task_id.encode("utf-8", "replace").decode(), stamp.encode("utf-8", "replace").decode())


_signatures = st.one_of(
    st.text(max_size=60),
    st.binary(min_size=32, max_size=32).map(lambda raw: base64.b64encode(raw).decode()),
    st.builds(_nearly, _stamps, _ids, st.sampled_from(["", "another secret"])),
    # KIE's own signature of this song, from an hour and more ago.
    st.just(sign(SECRET, SONG, str(int(time.time() - OLDEST - 7200)))),
    st.just(sign(SECRET, "another", str(int(time.time())))),
)
_names = st.sampled_from(
    [b"x-webhook-signature", b"x-webhook-timestamp", b"content-type", b"content-length", b"content-encoding",
     b"transfer-encoding", b"authorization", b"cookie", b"x-forwarded-for", b"host", b"accept-encoding"]
)  # fmt: skip
_values = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"application/json; charset=utf-16", b"gzip", b"chunked", b"-1"])
)
_times = st.sampled_from([0, -60, 60, -OLDEST - 7200, 7200]).map(lambda age: str(int(time.time() + age)))
_pairs = st.builds(
    lambda stamp, signature: [
        (b"x-webhook-timestamp", stamp.encode("utf-8", "replace")),
        (b"x-webhook-signature", signature.encode("utf-8", "replace")),
    ],
    st.integers(1, 4).flatmap(lambda number: _stamps if number == 1 else _times),
    _signatures,
)
_headers = st.builds(
    lambda pairs, others: [*pairs, *others],
    st.integers(1, 4).flatmap(lambda number: st.just([]) if number == 1 else _pairs),
    st.lists(st.tuples(_names, _values), max_size=3),
)
_tokens = st.one_of(
    st.just(""),
    st.text(max_size=60),
    st.just(wake_token("another secret", Waiting("music_cover", "run", "generate_cover", 0, "nonce"))),
    st.just(connection_token("another secret that is just as long", "kie_default")),
    st.just(connection_token(TOKEN_SECRET, "another_connection")),
    st.binary(max_size=40).map(lambda raw: base64.urlsafe_b64encode(raw).decode() + "." + raw.hex()),
)
_queries = st.one_of(
    st.just(b""), st.binary(max_size=60), st.builds(lambda token: f"token={token}".encode("utf-8", "replace"), _tokens)
)
_odd_paths = st.one_of(
    st.text(max_size=60).map(lambda name: f"/callback/{name}"),
    st.sampled_from(
        ["/callback/../callback/kie_default", "/callback//kie_default", "/", "/docs", "/callback/" + "x" * 5000]
    ),
)
_odd_methods = st.sampled_from(["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "X"])


_paths = _mostly("/callback/kie_default", _odd_paths)
_methods = _mostly("POST", _odd_methods)


def _chunks(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)] or [b""]


app_requests = st.builds(
    Request, _methods, _paths, _queries, _headers, st.builds(_chunks, _bodies, st.sampled_from([7, 1000, 65536, 10**6]))
)
_lines = (
    st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")).filter(lambda raw: b"upgrade" not in raw.lower())
)
raw_requests = st.builds(
    lambda method, path, version, lines, body: (
        b" ".join([method, path, version]) + b"\r\n" + b"\r\n".join([*lines, b"Connection: close", b"", body])
    ),
    st.sampled_from([b"POST", b"GET", b"post", b"P\x00ST", b""]),
    st.one_of(st.just(b"/callback/kie_default"), st.binary(max_size=40).map(lambda raw: b"/callback/" + raw)),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b""]),
    st.lists(
        st.one_of(
            _lines,
            st.sampled_from([b"Host: x", b"Content-Length: 5", b"Content-Length: -5", b"Transfer-Encoding: chunked"]),
            _lines.map(lambda raw: b"X-Webhook-Signature: " + raw),
        ),
        max_size=6,
    ),
    st.one_of(st.binary(max_size=60), st.just(b'5\r\n{"a":\r\n0\r\n\r\n')),
)

# --- the three ways in ---


def _budget(examples: int, *, same: bool) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=same,
        phases=[Phase.generate],  # what fails is shown as it is: shrinking would take longer than the rest
        suppress_health_check=list(HealthCheck),
    )


def fuzz_app(target: Target, examples: int, *, same: bool) -> None:
    """Send requests straight into the app.

    :param examples: how many.
    :param same: the same ones at each run.
    """
    with asyncio.Runner() as runner:

        @_budget(examples, same=same)
        @given(app_requests)
        def one(request: Request) -> None:
            target.count(runner.run(_status(target.app, request)))

        one()


async def _status(app: Any, request: Request) -> int:
    chunks = iter(request.chunks)
    left = len(request.chunks)
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": next(chunks), "more_body": left > 0}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode("utf-8", "replace"),
        "root_path": "",
        "query_string": request.query,
        "headers": request.headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return statuses[0]


def fuzz_server(target: Target, port: int, examples: int, *, same: bool) -> None:
    """Send raw bytes to a real server that serves the target's app."""

    @_budget(examples, same=same)
    @given(raw_requests)
    def one(raw: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        if answer:  # a request that breaks off is answered by closing
            target.count(int(answer.split(b" ", 2)[1]))
        assert target.world.asked == []

    one()


_TEXT = {"schema": {"type": "string"}}
_DESCRIPTION = {
    "openapi": "3.1.0",
    "info": {"title": "KIE's callbacks, as its pages describe them", "version": "1"},
    "paths": {
        "/callback/{kie_conn_id}": {
            "post": {
                "parameters": [
                    {"name": "kie_conn_id", "in": "path", "required": True, **_TEXT},
                    {"name": "token", "in": "query", **_TEXT},
                    {"name": "X-Webhook-Timestamp", "in": "header", **_TEXT},
                    {"name": "X-Webhook-Signature", "in": "header", **_TEXT},
                ],
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["code", "data"],
                                "properties": {
                                    "code": {"type": "integer"},
                                    "msg": {"type": "string"},
                                    "data": {
                                        "type": "object",
                                        "properties": {
                                            "callbackType": {"enum": ["text", "first", "complete", "error"]},
                                            "task_id": {"type": "string"},
                                            "taskId": {"type": "string"},
                                            "data": {"type": "array"},
                                        },
                                    },
                                },
                            }
                        }
                    }
                },
                "responses": {"200": {"description": "received"}},
            }
        }
    },
}


def fuzz_description(target: Target, port: int, examples: int, *, same: bool) -> None:
    """Send what schemathesis makes of the route's description, fitting it and not, to a real server."""
    operation = schemathesis.openapi.from_dict(_DESCRIPTION)["/callback/{kie_conn_id}"]["POST"]
    import requests as http

    with http.Session() as session:
        session.trust_env = False
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @_budget(examples // 2, same=same)
            @given(operation.as_strategy(generation_mode=mode))
            def one(case: Any) -> None:
                answer = case.call(base_url=f"http://127.0.0.1:{port}", session=session)
                target.count(answer.status_code)

            one()


KEYS: dict[str, CallbackKeys] = {
    "signed": CallbackKeys(webhook=(SECRET, "the previous secret")),
    "unsigned": CallbackKeys(token=TOKEN_SECRET),
    "none": CallbackKeys(),
}
Way = Callable[..., None]
