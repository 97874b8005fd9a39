"""The callback receiver over real HTTP: what is let in, what is turned away, and what each callback leads to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn

from airflow_kie.webhook.address import Waiting, wake_token
from airflow_kie.webhook.receiver import MAX_BODY_BYTES, UNVERIFIED_PER_SECOND, create_app
from airflow_kie.webhook.signature import OLDEST, sign

SECRET = "a webhook secret"
WAITING = Waiting("music_cover", "run", "generate_cover", 2, "nonce")
SONG = "5c79be8e0a3f4d1c9b7e2f6a8d0c1e35"


@dataclass
class FakeWorld:
    """Airflow as the receiver sees it; it notes what it is asked."""

    known: tuple[str, ...] = (SECRET,)
    deferred: bool = True
    durable: bool = True
    new: bool = True
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def secrets_of(self, kie_conn_id: str) -> tuple[str, ...]:
        return self.known if kie_conn_id == "kie_default" else ()

    def wake(self, waiting: Waiting) -> bool:
        self.asked.append(("wake", waiting))
        return self.deferred

    def wake_sensors(self, kie_task_id: str) -> int:
        self.asked.append(("wake_sensors", kie_task_id))
        return 0

    def hear_of(self, kie_conn_id: str, music_task_id: str) -> bool:
        self.asked.append(("hear_of", kie_conn_id, music_task_id))
        if not self.durable:
            raise OSError("the bucket is away")
        return self.new

    def announce(self, kie_conn_id: str, music_task_id: str) -> None:
        self.asked.append(("announce", kie_conn_id, music_task_id))


@dataclass
class Served:
    """A receiver that listens.

    :param url: where its callback route is, for ``kie_default``.
    :param world: what it asks.
    """

    url: str
    world: FakeWorld
    client: httpx.Client

    def post(
        self,
        body: Any,
        *,
        task_id: str = SONG,
        secret: str = SECRET,
        at: float | None = None,
        url: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Call back as KIE does."""
        stamp = str(int(time.time() if at is None else at))
        signed = {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": sign(secret, task_id, stamp)}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(url or self.url, content=content, headers=signed if headers is None else headers)

    def told(self, word: str) -> list[tuple[Any, ...]]:
        return [asked for asked in self.world.asked if asked[0] == word]


@pytest.fixture
def served() -> Iterator[Served]:
    world = FakeWorld()
    config = uvicorn.Config(create_app(world), host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(trust_env=False) as client:
        yield Served(f"http://127.0.0.1:{port}/callback/kie_default", world, client)
    server.should_exit = True
    thread.join(10)


def music(stage: str, code: int = 200, **data: Any) -> dict[str, Any]:
    return {"code": code, "msg": "m", "data": {"callbackType": stage, "task_id": SONG, "data": [], **data}}


COVER = {"code": 200, "msg": "success", "data": {"taskId": "c1", "images": ["https://x.example/1.png"]}}


def test_a_finished_foreign_song_is_noted_before_the_answer_and_announced_after(served: Served) -> None:
    answer = served.post(music("complete"))
    assert (answer.status_code, answer.json()) == (200, {"status": "received"})
    assert ("hear_of", "kie_default", SONG) in served.world.asked
    for _ in range(500):  # it follows the answer
        if served.told("announce"):
            break
        time.sleep(0.01)
    assert served.world.asked[-1] == ("announce", "kie_default", SONG)


def test_a_song_that_cannot_be_noted_is_not_answered_with_200_so_that_kie_calls_again(served: Served) -> None:
    served.world.durable = False
    assert served.post(music("complete")).status_code == 500
    assert served.told("announce") == []


def test_a_song_that_is_archived_or_in_work_is_not_announced_again(served: Served) -> None:
    served.world.new = False
    assert served.post(music("complete")).status_code == 200
    assert served.told("announce") == []


@pytest.mark.parametrize("stage", ["text", "first"])
def test_intermediate_stages_end_nothing(served: Served, stage: str) -> None:
    assert served.post(music(stage)).status_code == 200
    assert served.world.asked == []


@pytest.mark.parametrize("body", [music("error", 501), music("complete", 413), music("complete", 531)])
def test_a_failed_foreign_song_starts_nothing_but_lets_its_sensor_look(served: Served, body: dict[str, Any]) -> None:
    assert served.post(body).status_code == 200
    assert served.told("wake_sensors") == [("wake_sensors", SONG)]
    assert served.told("hear_of") == []


def test_a_callback_with_our_token_wakes_the_task_that_it_names_and_starts_nothing(served: Served) -> None:
    url = f"{served.url}?token={wake_token(SECRET, WAITING)}"
    assert served.post(COVER, task_id="c1", url=url).status_code == 200
    assert served.world.asked == [("wake", WAITING)]


def test_a_token_without_kies_signature_wakes_nobody(served: Served) -> None:
    url = f"{served.url}?token={wake_token(SECRET, WAITING)}"
    assert served.post(COVER, url=url, headers={}).status_code == 401
    assert served.world.asked == []


def test_a_token_that_we_did_not_sign_wakes_nobody(served: Served) -> None:
    url = f"{served.url}?token={wake_token('other', WAITING)}"
    assert served.post(COVER, task_id="c1", url=url).status_code == 200
    assert served.told("wake") == []


def test_a_cover_of_somebody_else_starts_nothing(served: Served) -> None:
    assert served.post(COVER, task_id="c1").status_code == 200
    assert served.told("hear_of") == []


@pytest.mark.parametrize(
    "call",
    [
        {"headers": {}},
        {"secret": "other"},
        {"task_id": "another"},
        {"at": time.time() - OLDEST - 60},
        {"at": time.time() + 3600},
        {"headers": {"X-Webhook-Timestamp": "now", "X-Webhook-Signature": "x"}},
    ],
    ids=["unsigned", "other secret", "other task", "old", "future", "nonsense"],
)
def test_what_is_not_kies_is_refused_and_changes_nothing(served: Served, call: dict[str, Any]) -> None:
    answer = served.post(music("complete"), **call)
    assert (answer.status_code, answer.content) == (401, b"")
    assert served.world.asked == []


def test_without_a_configured_secret_everything_is_refused(served: Served) -> None:
    served.world.known = ()
    assert served.post(music("complete"), secret="").status_code == 401


def test_an_unknown_connection_is_refused_like_a_wrong_signature(served: Served) -> None:
    assert served.post(music("complete"), url=served.url.replace("kie_default", "other")).status_code == 401


@pytest.mark.parametrize("body", [b"", b"\x00", b"nonsense", b"[1]", b'{"data": 7}', b"[" * 50_000])
def test_a_body_that_names_no_task_is_refused(served: Served, body: bytes) -> None:
    assert served.post(body).status_code == 401


def test_a_body_larger_than_any_callback_is_turned_away(served: Served) -> None:
    assert served.post(b"x" * (MAX_BODY_BYTES + 1)).status_code == 413


def test_a_flood_of_forgeries_is_turned_away_and_a_real_call_in_it_is_let_in(served: Served) -> None:
    codes = {served.post(music("complete"), headers={}).status_code for _ in range(UNVERIFIED_PER_SECOND * 5)}
    assert codes == {401, 429}
    assert served.post(music("complete")).status_code == 200


def test_a_doubled_callback_asks_twice_and_harms_nobody(served: Served) -> None:
    url = f"{served.url}?token={wake_token(SECRET, WAITING)}"
    for _ in range(3):
        assert served.post(COVER, task_id="c1", url=url).status_code == 200
    assert served.told("wake") == [("wake", WAITING)] * 3


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/", "/callback", "/callback/"])
def test_nothing_else_is_served(served: Served, path: str) -> None:
    assert served.client.get(served.url.split("/callback")[0] + path).status_code == 404


def test_the_route_takes_nothing_but_post(served: Served) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
        assert served.client.request(method, served.url).status_code == 405


def test_no_secret_and_no_body_stands_in_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="airflow_kie")
    served.post(music("complete", lyrics="words of the song"))
    served.post(music("complete", lyrics="words of the song"), headers={})
    assert "refused" in caplog.text
    for secret in (SECRET, "words of the song", wake_token(SECRET, WAITING)):
        assert secret not in caplog.text
