"""The callback receiver over real HTTP: what is let in, what is turned away, and what each callback leads to."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.archive.s3.errors import S3AccessDenied
from airflow_kie.client.callbacks.auth import CallbackKeys, connection_token
from airflow_kie.client.callbacks.signature import OLDEST, PROBE_TASK_ID, sign
from airflow_kie.client.callbacks.url import Waiting, wake_token
from airflow_kie.web.receiver import receiver
from airflow_kie.web.receiver.connections import ConnectionUnreadable
from airflow_kie.web.receiver.receiver import MAX_BODY_BYTES, THREADS, UNVERIFIED_PER_SECOND, create_app
from asgi_server import serving
from fake_gateway import SECRET, TOKEN_SECRET, FakeGateway

WAITING = Waiting("music_cover", "run", "generate_cover", 2, "nonce")
SONG = "5c79be8e0a3f4d1c9b7e2f6a8d0c1e35"
PAUSE = 0.05
"""Seconds between two attempts to wake a task that is not waiting yet."""
LONG = 200.0
"""Seconds that even a busy machine needs for nothing here; what fails still ends before pytest's own limit."""


@dataclass
class Served:
    """A receiver that listens.

    :param url: where its callback route is, for ``kie_default``.
    :param world: what it asks.
    """

    url: str
    world: FakeGateway
    client: httpx.Client

    def post(
        self,
        body: Any,
        *,
        task_id: str = SONG,
        secret: str = SECRET,
        age: float = 0.0,
        url: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Call back as KIE does."""
        stamp = str(int(time.time() - age))
        signed = {"X-Webhook-Timestamp": stamp, "X-Webhook-Signature": sign(secret, task_id, stamp)}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(url or self.url, content=content, headers=signed if headers is None else headers)

    def calls(self, word: str) -> list[tuple[Any, ...]]:
        return self.world.calls(word)

    def eventually_called(self, word: str, times: int = 1) -> list[tuple[Any, ...]]:
        """Return what was asked with this word once it was asked so often: it follows the answer."""
        for _ in range(10_000):
            if len(self.calls(word)) >= times:
                break
            time.sleep(0.01)
        return self.calls(word)

    def changed(self) -> list[tuple[Any, ...]]:
        """Return what was asked besides the trace of the last callback."""
        return [asked for asked in self.world.asked if asked[0] != "record_callbacks"]


@pytest.fixture
def served() -> Iterator[Served]:
    world = FakeGateway()
    with serving(create_app(world, pause=PAUSE)) as port, httpx.Client(trust_env=False, timeout=LONG) as client:
        yield Served(f"http://127.0.0.1:{port}/callback/kie_default", world, client)


def music(stage: str, code: int = 200, **data: Any) -> dict[str, Any]:
    return {"code": code, "msg": "m", "data": {"callbackType": stage, "task_id": SONG, "data": [], **data}}


COVER = {"code": 200, "msg": "success", "data": {"taskId": "c1", "images": ["https://x.example/1.png"]}}


def test_a_finished_foreign_song_is_recorded_before_the_answer_and_announced_after(served: Served) -> None:
    answer = served.post(music("complete"))
    assert (answer.status_code, answer.json()) == (200, {"status": "received"})
    assert ("register", "kie_default", SONG) in served.world.asked
    assert served.eventually_called("announce") == [("announce", "kie_default", SONG)]
    assert served.world.asked.index(("register", "kie_default", SONG)) < len(served.world.asked) - 1


WRITTEN = Path(__file__).parents[2] / "data" / "unified" / "callbacks"


@pytest.mark.parametrize("escaped", [True, False])
def test_the_market_s_body_of_a_finished_foreign_song_is_taken_as_one_and_that_of_a_cover_or_failure_is_not(
    served: Served, escaped: bool
) -> None:
    """KIE has repeated a request without escaping its quotes: such a body is no JSON."""
    for name, songs in {"market-cover": 0, "market-failure": 0, "market-song": 1}.items():
        body = json.loads((WRITTEN / f"{name}.json").read_text())["body"]
        body["data"]["taskId"] = SONG
        text = json.dumps(body)
        if not escaped:
            text = text.replace(json.dumps(body["data"]["param"]), f'"{body["data"]["param"]}"')
        assert served.post(text.encode()).status_code == 200
        assert len(served.eventually_called("announce", songs)) == songs
        assert served.calls("wake_sensors")[-1] == ("wake_sensors", SONG)


def test_a_callback_whose_connection_cannot_be_read_is_answered_with_503_so_that_kie_calls_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(kie_conn_id: str) -> Any:
        raise ConnectionUnreadable(kie_conn_id)

    with monkeypatch.context() as away:
        away.setattr(served.world, "keys_of", unreadable)
        assert served.post(music("complete")).status_code == 503
    assert served.world.asked == []
    assert served.post(music("complete")).status_code == 200


def test_a_song_that_cannot_be_recorded_is_answered_with_503_so_that_kie_calls_again_and_one_line_says_why(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.world.durable = False
    assert served.post(music("complete")).status_code == 503
    assert served.calls("announce") == []

    def refused(*_: object) -> None:
        raise S3AccessDenied("PutObject songs/_pending/x.json")

    monkeypatch.setattr(served.world, "register", refused)
    caplog.clear()
    assert served.post(music("complete")).status_code == 503
    (line,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert re.search(
        rf"task {SONG} could not be .* 503: .*PutObject.* A task that waits reads KIE itself", line.message
    )
    assert line.exc_info is None
    monkeypatch.undo()
    served.world.durable = True
    assert served.post(music("complete")).status_code == 200
    assert len(served.eventually_called("announce")) == 1


def test_a_song_that_is_archived_or_in_work_is_not_announced_again(served: Served) -> None:
    served.world.new = False
    assert served.post(music("complete")).status_code == 200
    assert served.calls("announce") == []


@pytest.mark.parametrize("stage", ["text", "first"])
def test_intermediate_stages_end_nothing(served: Served, stage: str) -> None:
    assert served.post(music(stage)).status_code == 200
    assert served.changed() == []


@pytest.mark.parametrize("body", [music("error", 501), music("complete", 413), music("complete", 531)])
def test_a_failed_foreign_song_starts_nothing_but_resumes_its_sensor(served: Served, body: dict[str, Any]) -> None:
    assert served.post(body).status_code == 200
    assert served.calls("wake_sensors") == [("wake_sensors", SONG)]
    assert served.calls("register") == []


def test_a_callback_with_our_token_wakes_the_task_that_it_names_and_starts_nothing(served: Served) -> None:
    url = f"{served.url}?token={wake_token(SECRET, WAITING)}"
    assert served.post(COVER, task_id="c1", url=url).status_code == 200
    assert served.changed() == [("wake", WAITING)]


def test_a_token_without_kies_signature_wakes_nobody(served: Served) -> None:
    url = f"{served.url}?token={wake_token(SECRET, WAITING)}"
    assert served.post(COVER, url=url, headers={}).status_code == 401
    assert served.world.asked == []


def test_a_token_that_we_did_not_sign_wakes_nobody(served: Served) -> None:
    url = f"{served.url}?token={wake_token('other', WAITING)}"
    assert served.post(COVER, task_id="c1", url=url).status_code == 200
    assert served.calls("wake") == []


def test_a_cover_of_somebody_else_starts_nothing(served: Served) -> None:
    assert served.post(COVER, task_id="c1").status_code == 200
    assert served.calls("register") == []


@pytest.mark.parametrize(
    "call",
    [
        {"headers": {}},
        {"secret": "other"},
        {"task_id": "another"},
        {"age": OLDEST + 60},
        {"age": -3600},
        {"headers": {"X-Webhook-Timestamp": "now", "X-Webhook-Signature": "x"}},
    ],
    ids=["unsigned", "other secret", "other task", "old", "future", "nonsense"],
)
def test_what_is_not_kies_is_refused_and_changes_nothing(served: Served, call: dict[str, Any]) -> None:
    answer = served.post(music("complete"), **call)
    assert (answer.status_code, answer.content) == (401, b"")
    assert served.world.asked == []


def test_without_a_configured_secret_everything_is_refused(served: Served) -> None:
    served.world.keys = CallbackKeys()
    assert served.post(music("complete"), secret="").status_code == 401
    assert served.world.asked == []


def test_an_unknown_connection_is_refused_like_a_wrong_signature(served: Served) -> None:
    assert served.post(music("complete"), url=served.url.replace("kie_default", "other")).status_code == 401


@pytest.mark.parametrize("body", [b"", b"\x00", b"nonsense", b"[1]", b'{"data": 7}', b"[" * 50_000])
def test_a_body_that_names_no_task_is_refused(served: Served, body: bytes) -> None:
    assert served.post(body).status_code == 401


TEMPLATES = ("{{ conn.kie_default.password }}", "{% for x in [1] %}{{ conn.kie_default.password }}{% endfor %}")


@pytest.mark.parametrize("planted", TEMPLATES)
def test_a_template_as_the_id_of_a_signed_callback_is_refused_and_one_elsewhere_goes_nowhere(
    served: Served, planted: str, caplog: pytest.LogCaptureFixture
) -> None:
    refused = served.post(music("complete", task_id=planted), task_id=planted)
    assert (refused.status_code, served.changed()) == (401, [])
    track = {"id": planted, "title": planted, "prompt": planted, "audio_url": planted}
    body = music("complete", data=[track], **{planted: planted}) | {"msg": planted}
    assert served.post(body).status_code == 200
    served.eventually_called("announce")
    assert planted not in repr(served.changed()) + caplog.text


def test_a_body_larger_than_any_callback_is_turned_away(served: Served) -> None:
    assert served.post(b"x" * (MAX_BODY_BYTES + 1)).status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "BODY_SECONDS", 0.1)
    url = httpx.URL(served.url)
    with socket.create_connection((url.host, url.port or 0)) as caller:
        caller.sendall(f"POST {url.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 408 ")
    assert served.world.asked == []


def test_a_caller_that_hangs_up_half_way_is_no_error(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    url = httpx.URL(served.url)
    with socket.create_connection((url.host, url.port or 0)) as caller:
        caller.sendall(f"POST {url.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
    assert served.post(music("text")).status_code == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_out_of_order_and_doubled_stages_record_a_song_by_its_end_alone(served: Served) -> None:
    for body in (music("complete"), music("first"), music("text"), music("error", 501)):
        assert served.post(body).status_code == 200
    assert served.calls("register") == [("register", "kie_default", SONG)]


def test_a_flood_of_forgeries_is_turned_away_and_a_real_call_in_it_is_let_in() -> None:
    within_a_second = time.time()
    app = create_app(FakeGateway(), clock=lambda: within_a_second)
    with serving(app) as port, httpx.Client(trust_env=False, timeout=LONG) as client:
        served = Served(f"http://127.0.0.1:{port}/callback/kie_default", FakeGateway(), client)
        codes = [served.post(music("complete"), headers={}).status_code for _ in range(UNVERIFIED_PER_SECOND + 5)]
        assert codes == [401] * UNVERIFIED_PER_SECOND + [429] * 5
        assert served.post(music("complete")).status_code == 200


def test_a_doubled_callback_asks_twice_and_harms_nobody(served: Served) -> None:
    url = f"{served.url}?token={wake_token(SECRET, WAITING)}"
    for _ in range(3):
        assert served.post(COVER, task_id="c1", url=url).status_code == 200
    assert served.calls("wake") == [("wake", WAITING)] * 3


def test_a_task_that_is_not_waiting_yet_is_woken_again_until_it_waits(served: Served) -> None:
    served.world.wakes = [Wake.NOT_YET, Wake.NOT_YET, Wake.WOKEN]
    url = f"{served.url}?token={wake_token(SECRET, WAITING)}"
    assert served.post(COVER, task_id="c1", url=url).status_code == 200
    assert served.eventually_called("wake", 3) == [("wake", WAITING)] * 3


def test_a_database_that_is_locked_for_a_moment_does_not_end_the_attempts_to_wake_a_task(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.world.wakes = [Wake.NOT_YET, Wake.NOT_YET, Wake.WOKEN]
    wake = served.world.wake

    def locked_once(waiting: Waiting) -> Wake:
        found = wake(waiting)
        if len(served.calls("wake")) == 2:
            raise OSError("the database is locked")
        return found

    monkeypatch.setattr(served.world, "wake", locked_once)
    url = f"{served.url}?token={wake_token(SECRET, WAITING)}"
    assert served.post(COVER, task_id="c1", url=url).status_code == 200
    assert served.eventually_called("wake", 3) == [("wake", WAITING)] * 3


def test_a_hundred_early_callbacks_of_one_task_hold_up_nobody_else(served: Served) -> None:
    served.world.wakes = [Wake.NOT_YET]
    url = f"{served.url}?token={wake_token(SECRET, WAITING)}"
    began = time.monotonic()
    for _ in range(100):  # more than the server has threads
        assert served.post(COVER, task_id="c1", url=url).status_code == 200
    assert served.post(music("complete")).status_code == 200
    assert served.calls("register") == [("register", "kie_default", SONG)]
    attempts = len(served.calls("wake")) - 100
    assert attempts <= (time.monotonic() - began) / PAUSE + 1  # equal ones are one


@pytest.mark.parametrize("asked", ["keys_of", "register"])  # of a secrets backend; of the bucket
def test_what_hangs_takes_the_receivers_own_threads_and_none_of_airflows(asked: str) -> None:
    world, let_go, entered = FakeGateway(), threading.Event(), threading.Semaphore(0)
    answer = getattr(world, asked)

    def hang(*arguments: Any) -> Any:
        entered.release()
        let_go.wait(LONG)
        return answer(*arguments)

    setattr(world, asked, hang)
    app = create_app(world)
    app.add_api_route("/page", lambda: "shown")  # a page of Airflow's, in a thread of the server
    with serving(app) as port, httpx.Client(trust_env=False, timeout=LONG) as client, ThreadPoolExecutor(61) as pool:
        served = Served(f"http://127.0.0.1:{port}/callback/kie_default", world, client)
        calls = [pool.submit(served.post, music("complete")) for _ in range(60)]  # more than a server has threads
        for _ in range(THREADS):
            assert entered.acquire(timeout=LONG)
        shown = pool.submit(httpx.get, f"http://127.0.0.1:{port}/page", trust_env=False, timeout=LONG)
        unanswered = [call for call in calls if not call.done()]
        page = shown.exception(LONG / 2) or shown.result().status_code
        let_go.set()
        assert {call.result().status_code for call in calls} == {200}
    assert page == 200
    assert len(unanswered) == 60


def test_a_callback_after_its_task_has_ended_is_answered_and_wakes_nobody_again(served: Served) -> None:
    served.world.wakes = [Wake.GONE, Wake.NOT_YET, Wake.WOKEN]
    early = Waiting("music_cover", "run", "generate_cover", 7, "nonce")
    for waiting in (WAITING, early):
        url = f"{served.url}?token={wake_token(SECRET, waiting)}"
        assert served.post(COVER, task_id="c1", url=url).status_code == 200
    assert served.eventually_called("wake", 3) == [("wake", WAITING), ("wake", early), ("wake", early)]


def test_what_kie_has_called_is_recorded_after_the_answers(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_kie.web.receiver.recent.WRITE_EVERY", 0.1)
    served.post(music("text"), headers={})
    for stage in ("text", "first", "complete"):
        served.post(music(stage))
    for _ in range(10_000):
        *_, proof, outcomes = served.eventually_called("record_callbacks")[-1]
        if len(outcomes) == 4:
            break
        time.sleep(0.01)
    assert (proof, sorted(outcomes)) == ("signature", ["refused", "song", "stage", "stage"])


def test_what_proves_nothing_is_recorded_later_once_and_without_a_word_of_its_own(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_kie.web.receiver.recent.WRITE_REFUSED_EVERY", 0.1)
    served.post(music("complete"), headers={}, url=served.url.replace("kie_default", "made_up"))
    served.post({"data": {"taskId": PROBE_TASK_ID}}, headers={})  # our own check
    served.post(music("complete"), headers={})
    assert served.eventually_called("record_callbacks") == [("record_callbacks", "kie_default", None, ["refused"])]


@pytest.fixture
def unsigned(served: Served) -> Served:
    """Give the receiver of an account that does not sign, whose owner has opted in."""
    served.world.keys = CallbackKeys(token=TOKEN_SECRET)
    return served


def test_an_account_that_does_not_sign_starts_nothing_without_the_owners_token(unsigned: Served) -> None:
    guesses = ["", "token", TOKEN_SECRET, connection_token(TOKEN_SECRET, "other"), wake_token(SECRET, WAITING), "ü"]
    for guess in guesses:
        assert unsigned.post(music("complete"), headers={}, url=f"{unsigned.url}?token={guess}").status_code == 401
    assert unsigned.post(music("complete"), secret=TOKEN_SECRET).status_code == 401
    assert unsigned.world.asked == []


def test_a_song_of_an_account_that_does_not_sign_is_recorded_if_its_url_holds_the_connections_token(
    unsigned: Served,
) -> None:
    url = f"{unsigned.url}?token={connection_token(TOKEN_SECRET, 'kie_default')}"
    assert unsigned.post(music("complete"), headers={}, url=url).status_code == 200
    assert unsigned.calls("register") == [("register", "kie_default", SONG)]
    assert unsigned.eventually_called("record_callbacks") == [("record_callbacks", "kie_default", "token", ["song"])]


def test_a_tasks_own_token_wakes_that_task_and_starts_nothing_for_the_body(unsigned: Served) -> None:
    url = f"{unsigned.url}?token={wake_token(TOKEN_SECRET, WAITING)}"
    assert unsigned.post(music("complete"), headers={}, url=url).status_code == 200
    assert unsigned.changed() == [("wake", WAITING)]


def test_once_the_account_signs_a_token_alone_proves_nothing(served: Served) -> None:
    served.world.keys = CallbackKeys((SECRET,), TOKEN_SECRET)
    for token in (connection_token(TOKEN_SECRET, "kie_default"), wake_token(TOKEN_SECRET, WAITING)):
        assert served.post(COVER, headers={}, url=f"{served.url}?token={token}").status_code == 401
    assert served.world.asked == []
    url = f"{served.url}?token={wake_token(TOKEN_SECRET, WAITING)}"  # a task sent before, signed now
    assert served.post(COVER, task_id="c1", url=url).status_code == 200
    assert served.calls("wake") == [("wake", WAITING)]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/", "/callback", "/callback/"])
def test_nothing_else_is_served(served: Served, path: str) -> None:
    assert served.client.get(served.url.split("/callback")[0] + path).status_code == 404


def test_the_route_takes_nothing_but_post(served: Served) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
        assert served.client.request(method, served.url).status_code == 405


def test_no_secret_and_no_body_is_in_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="airflow_kie")
    served.post(music("complete", lyrics="words of the song"))
    served.post(music("complete", lyrics="words of the song"), headers={})
    assert "refused" in caplog.text
    for secret in (SECRET, "words of the song", wake_token(SECRET, WAITING)):
        assert secret not in caplog.text
