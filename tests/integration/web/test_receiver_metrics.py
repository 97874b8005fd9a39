"""What came of each callback is counted, and nothing of what a stranger wrote becomes a tag."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.client.callbacks.signature import sign
from airflow_kie.client.callbacks.url import Waiting, wake_token
from airflow_kie.web.receiver import receiver
from airflow_kie.web.receiver.receiver import create_app
from asgi_server import serving
from fake_gateway import SECRET, FakeGateway
from statsd_listener import StatsdListener, airflow_sends

SONG = "5c79be8e0a3f4d1c9b7e2f6a8d0c1e35"
WAITING = Waiting("music_cover", "run", "generate_cover", 2, "nonce")


@dataclass
class Called:
    """A receiver, its Airflow, and what it sent.

    :param post: calls back: stage, whether somebody waits, whether KIE has signed it.
    """

    world: FakeGateway
    sent: StatsdListener
    post: Callable[..., int]

    def outcomes(self) -> list[str]:
        self.sent.of("kie.callbacks")
        return [sample.tags["outcome"] for sample in self.sent.samples if sample.name == "airflow.kie.callbacks"]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Iterator[Called]:
    world = FakeGateway()
    with (
        airflow_sends(monkeypatch) as sent,
        serving(create_app(world, pause=0.05)) as port,
        httpx.Client(trust_env=False, timeout=200) as client,
    ):

        def post(stage: str = "complete", *, waits: bool = False, signed: bool = True, body: bytes = b"") -> int:
            stamp = str(int(time.time()))
            body_sent: dict[str, Any] = {"code": 200, "data": {"callbackType": stage, "task_id": SONG}}
            query = f"?token={wake_token(SECRET, WAITING)}" if waits else ""
            headers = {
                "X-Webhook-Timestamp": stamp,
                "X-Webhook-Signature": sign(SECRET if signed else "x", SONG, stamp),
            }
            url = f"http://127.0.0.1:{port}/callback/kie_default{query}"
            return client.post(url, content=body or json.dumps(body_sent).encode(), headers=headers).status_code

        yield Called(world, sent, post)


def test_each_callback_is_counted_by_what_came_of_it(called: Called) -> None:
    called.post("text")
    called.post("complete")
    called.world.new = False
    called.post("complete")
    called.world.wakes = [Wake.WOKEN, Wake.GONE]
    called.post(waits=True)
    called.post(waits=True)
    called.world.new, called.world.durable = True, False
    assert called.post("complete") == 503
    assert called.post(signed=False) == 401
    assert called.post(body=b"x" * (receiver.MAX_BODY_BYTES + 1)) == 413
    expected = ["stage", "song", "known", "woken", "gone", "not_stored", "refused", "bad_body"]
    for _ in range(10_000):
        if len(called.outcomes()) == len(expected):
            break
        time.sleep(0.02)
    assert called.outcomes() == expected
    assert all(f"`{outcome}`" in receiver.metrics.CALLBACKS.meaning for outcome in expected)
    assert [line for line in called.sent.lines if SONG in line or "callbackType" in line] == []
