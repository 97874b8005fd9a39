"""`airflow kie doctor` and callbacks: who answers at the URL, what contradicts itself, and when KIE called last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import asgi_server
from airflow_database import make_tables, stored
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.checks.callbacks import callback_findings, is_internal
from airflow_kie.web.receiver.receiver import create_app
from answering_server import says, serving
from doctor_findings import called_back, looked_at
from fake_gateway import FakeGateway
from kie_simulator.server import SimulatorServer
from unused_ports import unused_port

RECEIVER = "/kie/callback/kie_default"


@pytest.fixture(autouse=True, scope="module")
def tables() -> None:
    make_tables()


ANSWERS = {
    "ours": (says(b"", 401), "ok", "refuses unsigned calls"),
    "a login": (says(b"", 401, WWW_Authenticate="Basic"), "FAIL", "a login is required"),
    "nothing": (says(b"", 404), "FAIL", "Set [kie] receiver = True"),
    "a redirect": (says(b"", 301, Location="https://other.example/x"), "FAIL", "redirects the call to other.example"),
    "a stranger": (says(b"thanks", 200), "FAIL", "accepts calls without checking them"),
    "a proxy alone": (says(b"", 502), "FAIL", "finds no api-server behind it"),
    "a teapot": (says(b"", 418), "FAIL", "this is not our receiver"),
    "a limit": (says(b"", 429), "warn", "KIE's calls must not be limited"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_who_answers_at_the_callback_url_is_told(kie: SimulatorServer, monkeypatch: Any, case: str) -> None:
    answer, expected, words = ANSWERS[case]
    with serving(answer) as server:
        called_back(monkeypatch, kie, server.url)
        level, seen = looked_at(callback_findings, KieHook()).line("receiver")
    assert level == expected
    assert words in seen
    (seen_call,) = server.seen
    assert (seen_call.method, seen_call.path) == ("POST", RECEIVER)
    assert kie.api_key not in str(seen_call)


def test_our_own_receiver_is_known_by_its_answer_and_learns_nothing(kie: SimulatorServer, monkeypatch: Any) -> None:
    from fastapi import FastAPI

    world = FakeGateway()
    app = FastAPI()
    app.mount("/kie", create_app(world))
    with asgi_server.serving(app) as port:
        called_back(monkeypatch, kie, f"http://127.0.0.1:{port}")
        assert looked_at(callback_findings, KieHook()).line("receiver")[0] == "ok"
    assert world.asked == []


def test_nobody_at_the_callback_url_is_a_failure(kie: SimulatorServer, monkeypatch: Any) -> None:
    called_back(monkeypatch, kie, f"http://127.0.0.1:{unused_port()}")
    level, seen = looked_at(callback_findings, KieHook()).line("receiver")
    assert level == "FAIL"
    assert "got no answer" in seen


def test_a_receiver_of_ones_own_is_not_judged_by_our_answers(kie: SimulatorServer, monkeypatch: Any) -> None:
    with serving(says(b"taken", 200)) as server:
        called_back(monkeypatch, kie, f"{server.url}/hooks/kie")
        level, seen = looked_at(callback_findings, KieHook()).line("receiver")
    assert level == "ok"
    assert "Your own receiver" in seen


def test_settings_of_callbacks_that_contradict_each_other_are_told(kie: SimulatorServer, monkeypatch: Any) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__RECEIVER", "True")
    assert looked_at(callback_findings, KieHook()).line("callbacks")[0] == "warn"
    with serving(says(b"", 401)) as server:
        called_back(monkeypatch, kie, server.url, webhook_secret="")
        monkeypatch.setenv("AIRFLOW__KIE__RECEIVER", "False")
        told = looked_at(callback_findings, KieHook()).lines("callbacks")
    assert [level for level, _ in told] == ["FAIL", "warn"]
    assert "no webhook secret" in told[0][1]
    assert "[kie] receiver is off" in told[1][1]


@pytest.mark.parametrize(
    ("host", "internal"),
    [("10.1.2.3", True), ("192.168.0.9", True), ("127.0.0.1", True), ("airflow", True), ("airflow.svc", True),
     ("fe80::1", True), ("airflow.example.com", False), ("8.8.8.8", False)],
)  # fmt: skip
def test_hosts_that_kie_cannot_reach_are_known_by_address_or_name(host: str, internal: bool) -> None:
    assert is_internal(host) is internal


def test_when_kie_called_last_is_told(kie: SimulatorServer, monkeypatch: Any) -> None:
    from airflow.models.variable import Variable

    from airflow_kie.monitoring.callback_health import Callbacks, LastCallback, variable_of

    with serving(says(b"", 401)) as server:
        called_back(monkeypatch, kie, server.url)
        assert looked_at(callback_findings, KieHook()).line("last callback")[0] == "warn"
        last = LastCallback("signature", datetime.now(UTC) - timedelta(minutes=5, seconds=5))
        with stored(Variable(key=variable_of("kie_default"), val=Callbacks(last).text())):
            level, seen = looked_at(callback_findings, KieHook()).line("last callback")
    assert (level, seen) == ("ok", "KIE last called back 5 minutes ago, verified by its signature.")


@pytest.mark.parametrize(
    ("called_minutes_ago", "level", "words"),
    [(None, "warn", "no callback has come since"), (60, "warn", "no callback has come since"), (1, "ok", "have come")],
)
def test_a_poll_that_found_what_a_callback_should_have_told_is_shown(
    kie: SimulatorServer, monkeypatch: Any, called_minutes_ago: float | None, level: str, words: str
) -> None:
    from airflow.models.variable import Variable

    from airflow_kie.monitoring.callback_health import Callbacks, LastCallback, poll_variable_of, variable_of

    now = datetime.now(UTC)
    found = Variable(key=poll_variable_of("kie_default"), val=(now - timedelta(minutes=30)).isoformat())
    calls = []
    if called_minutes_ago is not None:
        last = LastCallback("signature", now - timedelta(minutes=called_minutes_ago))
        calls.append(Variable(key=variable_of("kie_default"), val=Callbacks(last).text()))
    with serving(says(b"", 401)) as server:
        called_back(monkeypatch, kie, server.url)
        with stored(found, *calls):
            line = looked_at(callback_findings, KieHook()).line("last poll hit")
    assert line[0] == level
    assert "found the end of a task 30 minutes ago" in line[1]
    assert words in line[1]
