"""The client of Airflow's API, where Airflow's database is locked or its answer does not come in time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from answering_server import FakeServer, Seen, serving
from local_stack import airflow_api
from local_stack.airflow_api import AirflowApi, AirflowRefused

Answer = tuple[int, dict[str, str], bytes]
TOKEN = (201, {}, b'{"access_token": "t"}')
LOCKED = (500, {}, json.dumps({"detail": {"reason": "Database error", "statement": "hidden"}}).encode())
DONE = (200, {}, b'{"dag_run_id": "manual__1"}')


def answering(*answers: Answer) -> Any:
    """Return a server that answers a login, and every other request with the next of these, the last one for ever."""
    left = list(answers)
    return serving(lambda seen: TOKEN if seen.path == "/auth/token" else left.pop(0) if left[1:] else left[0])


def sent(seen: list[Seen]) -> list[str]:
    """Return the methods of the requests besides the login; the first one may be read after its sender gave it up."""
    while not (methods := [request.method for request in seen if request.path != "/auth/token"]):
        time.sleep(0.01)
    return methods


def test_a_request_that_met_a_locked_database_is_sent_again() -> None:
    with answering(LOCKED, LOCKED, DONE) as server:
        api = AirflowApi(server.url)
        assert api.trigger("music_cover") == "manual__1"
        assert sent(server.seen) == ["POST"] * 3
        api.close()


def test_a_database_that_stays_locked_is_reported_in_airflows_words() -> None:
    with answering(LOCKED) as server:
        api = AirflowApi(server.url)
        with pytest.raises(AirflowRefused, match=r"POST /dags/music_cover/dagRuns with 500: .*Database error"):
            api.trigger("music_cover")
        api.close()


@pytest.mark.parametrize("status", [404, 409, 500, 503])
def test_any_other_error_is_reported_at_once(status: int) -> None:
    with answering((status, {}, b"no")) as server:
        api = AirflowApi(server.url)
        with pytest.raises(AirflowRefused, match=f"with {status}: no"):
            api.trigger("music_cover")
        assert sent(server.seen) == ["POST"]
        api.close()


def test_a_login_that_a_busy_machine_does_not_answer_in_time_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_api, "_SECONDS", 2.0)
    logins, ends = [], threading.Event()

    def answer(seen: Seen) -> Answer:
        logins.append(seen)
        if len(logins) == 1:
            ends.wait()
        return TOKEN

    with serving(answer) as server:
        AirflowApi(server.url).close()
        ends.set()
    assert len(logins) > 1


@pytest.fixture
def blocked() -> Iterator[tuple[AirflowApi, FakeServer]]:
    """Give an Airflow that does not answer the first request after the login before the test ends."""
    first, ends = [True], threading.Event()

    def answer(seen: Seen) -> Answer:
        if seen.path == "/auth/token":
            return TOKEN
        if first:
            first.clear()
            ends.wait()
        return 200, {}, b'{"state": "success", "dag_run_id": "manual__1"}'

    with serving(answer) as server:
        api = AirflowApi(server.url)
        api._http.timeout = httpx.Timeout(2.0)
        yield api, server
        ends.set()
        api.close()


def test_a_reading_request_whose_answer_did_not_come_in_time_is_sent_again(
    blocked: tuple[AirflowApi, FakeServer],
) -> None:
    api, server = blocked
    assert api.run_state("music_cover", "manual__1") == "success"
    assert len(sent(server.seen)) > 1


def test_a_writing_request_whose_answer_did_not_come_in_time_is_not_sent_again(
    blocked: tuple[AirflowApi, FakeServer],
) -> None:
    api, server = blocked
    with pytest.raises(httpx.ReadTimeout):
        api.trigger("music_cover")
    assert sent(server.seen) == ["POST"]
