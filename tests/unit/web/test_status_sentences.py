"""The status page's sentences, and its switch where nothing is known yet."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_kie.hooks.spending_switch import Stop
from airflow_kie.monitoring.checks.findings import Level
from airflow_kie.web.status import report, routes, summary
from airflow_kie.web.status.report import Account, Doubt, Report

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
CONNECTION = {"conn_type": "kie", "password": "k" * 32, "extra": {"account": "main"}}
DOUBT = Doubt("suno.music/0", NOW, "dag music_generate", "")


def test_two_connections_of_one_account_count_once() -> None:
    stop = Stop("main", "ada", NOW)
    accounts = [Account(name, "main", credits=812.0, stop=stop, doubts=(DOUBT,)) for name in ("first", "second")]
    report = Report(NOW, tuple(accounts))
    assert summary.money(report).text == (
        "Account main has 812 credits; new paid tasks of main are stopped; 1 request may have been paid for without a "
        "result."
    )
    assert summary.todo(report).more == 1


def test_where_not_everything_could_be_read_it_is_not_said_that_nothing_is_in_doubt() -> None:
    known = Account("first", "main", credits=812.0)
    assert summary.money(Report(NOW, (known,))).text == "Account main has 812 credits; nothing is in doubt."
    unclear = Account("second", "other", credits=5.0, problem="S3 denied access.")
    found = summary.money(Report(NOW, (known, unclear)))
    assert found.level is Level.WARN
    assert found.text.endswith("other has 5 credits; not everything could be read of connection second.")


@pytest.mark.parametrize(("days", "text"), [(1, "KIE deletes the first"), (-1, "KIE has deleted the first")])
def test_files_that_kie_has_deleted_are_not_about_to_be_deleted(days: int, text: str) -> None:
    said = summary.files(Report(NOW, pending=2, next_expiry=NOW + timedelta(days=days)))
    assert said.text.startswith(f"2 songs are pending; {text} of their files on ") and said.level is Level.FAIL


@pytest.mark.parametrize(("account", "stopped"), [("main", True), ("kie_default", False)])
def test_an_account_is_stopped_while_its_balance_is_still_being_read(
    account: str, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", json.dumps(CONNECTION))
    stops: list[Any] = []
    monkeypatch.setattr(routes, "stops", dict)
    monkeypatch.setattr(routes, "audit", lambda *_, **__: None)
    monkeypatch.setattr(routes, "stop_spending", lambda *asked: stops.append(asked))
    monkeypatch.setattr(routes.BOARD, "report", lambda: None)
    user = SimpleNamespace(get_name=lambda: "ada")
    state = SimpleNamespace(kie_user=user, kie_body={"account": account, "stop": True, "reason": "a loop"})
    request: Any = SimpleNamespace(state=state)
    if stopped:
        routes.spending(request)
        assert stops == [("main", "ada", "a loop")]
    else:
        with pytest.raises(routes.ChangeRefused):
            routes.spending(request)
        assert stops == []


def test_a_report_is_shown_until_the_next_one_is_there_however_long_that_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, made = [1000.0], Queue[Report]()
    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def gather() -> Report:
        found = made.get()
        clock[0] += 600  # S3 does not answer
        return found

    board = report.StatusBoard(gather)
    first, second = Report(NOW), Report(NOW)
    assert board.report(patient=0) is None
    made.put(first)
    assert board.report(patient=60) is first
    for seconds in (30, 300):  # meanwhile the next one is gathered
        clock[0] += seconds
        assert board.report(patient=0) is first
    made.put(second)
    assert board.report(patient=60) is second
    clock[0] += 200
    assert board.report(patient=0) is None  # nobody has asked for a while
    made.put(first)
