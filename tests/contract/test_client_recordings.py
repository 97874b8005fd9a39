"""Recorded KIE traffic through the client: the same requests are built, and every answer is read as it was meant."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_kie.client import errors
from airflow_kie.client.account import KieAccount
from airflow_kie.client.answers.decode import Created, Invisible, Read, Refused
from airflow_kie.client.answers.envelope import Response, decode_envelope
from airflow_kie.client.api import Kie
from airflow_kie.client.http.transport import KieTransport
from airflow_kie.client.operations.operation import CallOperation, Operation, State, TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS
from answering_server import FakeServer, Seen, serving

FOLDER = Path(__file__).parents[1] / "data" / "kie-recordings"
HOSTS = {"api": "api.kie.ai", "upload": "kieai.redpandaai.co"}

ONE_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True)
class Exchange:
    """One recorded request and its answer."""

    name: str
    method: str
    url: str
    body: dict[str, Any] | None
    answered: Any

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.url).query).items()}

    @property
    def operation(self) -> Operation:
        """The row whose create, call or upload has this path; what only reads is found by its details path."""
        for row in OPERATIONS.values():
            task = isinstance(row, TaskOperation)
            requests = {("POST", row.create), ("GET", row.details)} if task else {(row.method, row.path)}
            if (self.method, self.path) in requests:
                return row
        raise LookupError(f"{self.method} {self.path} belongs to no row")


def exchanges() -> Iterator[Exchange]:
    for file in sorted(FOLDER.glob("*.json")):
        for number, entry in enumerate(json.loads(file.read_text())):
            sent, answered = entry["request"], entry["response"]
            assert answered["status"] == 200
            yield Exchange(
                f"{file.stem}-{number}", sent["method"], sent["url"], sent.get("body"), answered["body"]
            )  # fmt: skip


ALL = list(exchanges())
CREATES = [one for one in ALL if isinstance(one.operation, TaskOperation) and one.method == "POST"]
READS = [one for one in ALL if isinstance(one.operation, TaskOperation) and one.method == "GET"]
OTHERS = [one for one in ALL if not isinstance(one.operation, TaskOperation)]


def named(some: list[Exchange]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("exchange", some, ids=[one.name for one in some])


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> Iterator[tuple[Kie, FakeServer, Exchange]]:
    """A server that answers as KIE did, and the client before it."""
    exchange: Exchange = request.getfixturevalue("exchange")

    def reply(_: Seen) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "application/json;charset=UTF-8"}, json.dumps(exchange.answered).encode()

    with serving(reply) as server:
        transport = KieTransport(KieAccount("recorded-key", api_url=server.url, upload_url=server.url))
        yield Kie(transport), server, exchange
        transport.close()


Replay = tuple[Kie, FakeServer, Exchange]


def test_every_recording_is_replayed_here() -> None:
    assert len({one.name.rpartition("-")[0] for one in ALL}) == len(list(FOLDER.glob("*.json"))) >= 24
    assert len(CREATES) + len(READS) + len(OTHERS) == len(ALL)


@named(ALL)
def test_every_recorded_request_goes_to_the_host_of_its_operation(exchange: Exchange) -> None:
    row = exchange.operation
    host = "api" if isinstance(row, TaskOperation) else row.host
    assert urlsplit(exchange.url).hostname == HOSTS[host]


@named(CREATES)
def test_a_recorded_create_is_sent_and_read_as_recorded(exchange: Exchange, replay: Replay) -> None:
    kie, server, _ = replay
    kind = exchange.operation
    assert isinstance(kind, TaskOperation)
    body = dict(exchange.body or {})
    callback = body.pop("callBackUrl", "")
    answered = kie.create(kind, body, kind.source_in(body), callback)

    (seen,) = server.seen
    assert (seen.method, seen.path) == (exchange.method, exchange.path)
    sent = json.loads(seen.body)
    assert sent.pop("callBackUrl"), "recorded without one, KIE refused the create"
    assert sent == body

    code, data = exchange.answered["code"], exchange.answered["data"]
    if code == 200:
        assert answered == Created(data["taskId"])
    else:
        assert isinstance(answered, Refused)
        no_record = kind.both_forms and "does not exist" in exchange.answered["msg"]
        assert type(answered.error) is (errors.KieNoRecord if no_record else errors.KieInvalidRequest)
        assert (answered.error.facts.code, answered.error.facts.message) == (422, exchange.answered["msg"])


@named(READS)
def test_recorded_details_are_asked_for_and_read_as_recorded(exchange: Exchange, replay: Replay) -> None:
    kie, server, _ = replay
    kind = exchange.operation
    assert isinstance(kind, TaskOperation)
    answered = kie.details(kind.in_form(kind.form), exchange.query["taskId"])

    (seen,) = server.seen
    assert (seen.method, seen.path) == ("GET", f"{exchange.path}?{urlsplit(exchange.url).query}")

    data = exchange.answered["data"]
    if data is None:
        assert answered == Invisible()
        return
    assert isinstance(answered, Read)
    details = answered.details
    assert (details.task_id, details.word, details.known_word) == (data["taskId"], data["state"], True)
    assert details.state is {"success": State.SUCCEEDED}.get(data["state"], State.RUNNING)
    assert list(details.urls) == (json.loads(data["resultJson"])["resultUrls"] if data["resultJson"] else [])
    assert (details.error_code, details.error_message) == (None, None)
    asked = json.loads(data["param"])
    assert details.param == {"model": asked["model"], "input": json.loads(asked["input"])}
    assert details.created_at is not None
    assert details.created_at.timestamp() * 1000 == data["createTime"]
    if data["completeTime"] is None:
        assert details.completed_at is None
    else:
        assert details.completed_at is not None
        assert details.completed_at.timestamp() * 1000 == pytest.approx(data["completeTime"])


@named(OTHERS)
def test_a_recorded_call_or_upload_is_sent_and_read_as_recorded(exchange: Exchange, replay: Replay) -> None:
    kie, server, _ = replay
    row = exchange.operation
    error = None
    try:
        assert isinstance(row, CallOperation)
        streamed = {"uploadPath": "images/test-uploads"} if row.file_field else None
        file = ("a.png", ONE_PIXEL) if row.file_field else None
        got = kie.call(row, exchange.body or streamed, file)
    except errors.KieError as caught:
        error = caught

    (seen,) = server.seen
    assert (seen.method, seen.path) == (exchange.method, exchange.path)
    if exchange.body is not None:
        assert json.loads(seen.body) == exchange.body
    if exchange.answered["code"] == 200:
        assert error is None
        assert got == exchange.answered["data"]
    else:
        assert type(error) is errors.KieInvalidRequest
        assert error.facts.message == exchange.answered["msg"]


@named(ALL)
def test_every_recorded_answer_is_an_envelope(exchange: Exchange) -> None:
    envelope = decode_envelope(Response(200, {}, json.dumps(exchange.answered).encode()))
    assert (envelope.code, envelope.data) == (exchange.answered["code"], exchange.answered["data"])


def test_a_recorded_market_task_is_followed_from_create_to_files() -> None:
    """The whole recorded life of a task, replayed in its order."""
    entries = [one for one in ALL if one.name.startswith("seedream-5-lite")]
    left = iter(entries)

    def reply(_: Seen) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, json.dumps(next(left).answered).encode()

    with serving(reply) as server:
        transport = KieTransport(KieAccount("recorded-key", api_url=server.url))
        kie, kind = Kie(transport), OPERATIONS["market"]
        assert isinstance(kind, TaskOperation)
        created = kie.create(kind, entries[0].body or {}, {}, "")
        assert isinstance(created, Created)
        states = []
        for _ in entries[1:]:
            read = kie.details(kind, created.task_id)
            assert isinstance(read, Read)
            states.append(read.details.state)
            complete = read.details.complete
        transport.close()
    assert states == [State.RUNNING] * (len(states) - 1) + [State.SUCCEEDED]
    assert complete
