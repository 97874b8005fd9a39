"""The switch fails closed: whatever cannot be read or understood means that nothing is paid for now."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    ErrorResponse,
    GetVariable,
    GetVariableKeys,
    VariableKeysResult,
    VariableResult,
)
from hypothesis import given
from hypothesis import strategies as st

from airflow_kie.client.errors import KieSpendingStopped
from airflow_kie.hooks.spending_switch import FRESH, SpendingSwitch, Stop, key_of, stop_in
from airflow_task import Variables
from spending_switches import resume, stop


@dataclass
class Supervisor:
    """Airflow's supervisor as a task reaches it: the real SDK talks to it.

    :param rows: the Variables.
    :param down: every request is answered with an error of the API server, as while its database is away.
    """

    rows: dict[str, str] = field(default_factory=dict)
    down: bool = False
    asked: list[str] = field(default_factory=list)

    def send(self, message: Any) -> Any:
        self.asked.append(type(message).__name__)
        if self.down:
            return ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 500})
        if isinstance(message, GetVariableKeys):
            keys = [key for key in self.rows if key.startswith(message.prefix or "")]
            return VariableKeysResult(keys=keys, total_entries=len(keys))
        assert isinstance(message, GetVariable)
        if message.key not in self.rows:
            return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={"key": message.key})
        return VariableResult(key=message.key, value=self.rows[message.key])


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    there = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", there, raising=False)
    return there


def test_a_task_of_an_account_that_nobody_has_stopped_costs_one_request(supervisor: Supervisor) -> None:
    SpendingSwitch("main").check()
    assert supervisor.asked == ["GetVariableKeys"]


def test_an_api_server_that_answers_with_errors_stops_new_tasks(supervisor: Supervisor) -> None:
    supervisor.down = True
    with pytest.raises(KieSpendingStopped, match="could not be read"):
        SpendingSwitch("main").check()


def test_the_plain_way_to_read_a_variable_would_have_let_them_pass(supervisor: Supervisor) -> None:
    from airflow.sdk import Variable

    supervisor.down = True
    assert Variable.get(key_of("main"), default=None) is None  # Airflow says "not found" of what it cannot read
    with pytest.raises(AirflowRuntimeError):
        list(Variable.keys(prefix=key_of("main")))


def test_who_when_and_why_are_read_by_a_task(supervisor: Supervisor) -> None:
    text = Stop("main", "jane@bastion", datetime(2026, 11, 28, 20, 15, tzinfo=UTC), "a loop").to_text()
    supervisor.rows[key_of("main")] = text
    with pytest.raises(KieSpendingStopped, match=r"jane@bastion .* 28 Nov 2026 20:15 UTC \(\"a loop\"\)"):
        SpendingSwitch("main").check()


def test_a_teams_task_sees_the_variables_that_are_everybodys(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    supervisor.rows[key_of("main")] = Stop("main", "jane", datetime.now(UTC)).to_text()
    real = supervisor.send

    def send(message: Any) -> Any:
        return VariableKeysResult(keys=[], total_entries=0) if isinstance(message, GetVariableKeys) else real(message)

    monkeypatch.setattr(supervisor, "send", send)
    with pytest.raises(KieSpendingStopped, match="jane"):
        SpendingSwitch("main").check()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "false",
        "{}",
        "off",
        "[]",
        '{"by": "jane", "at": "yesterday", "reason": ""}',
        '{"by": "jane", "at": "2026-11-28T20:15:00", "reason": ""}',
        '{"by": "jane", "at": 12, "reason": ""}',
        '{"by": "", "at": "2026-11-28T20:15:00+00:00", "reason": ""}',
        '{"by": 1, "at": "2026-11-28T20:15:00+00:00", "reason": ""}',
        '{"by": "jane", "at": "0001-01-01T00:00:00+14:00", "reason": ""}',
        "[" * 100_000,
    ],
)
def test_a_switch_that_somebody_has_edited_into_something_else_stops_new_tasks(switch: Variables, text: str) -> None:
    switch.set(key_of("main"), text)
    with pytest.raises(KieSpendingStopped, match=r"cannot be understood.*spending resume --account main"):
        SpendingSwitch("main").check()


@given(st.text())
def test_no_text_of_the_variable_lets_tasks_pass_or_breaks(text: str) -> None:
    assert stop_in("main", text).sentence()


@given(st.text(min_size=1).filter(str.strip), st.datetimes(timezones=st.just(UTC)), st.text())
def test_a_stop_survives_its_text(by: str, at: datetime, reason: str) -> None:
    stored = Stop("main", by, at.replace(microsecond=0), reason)
    read = stop_in("main", stored.to_text())
    assert (read.at, read.problem) == (stored.at, "")
    assert "\n" not in read.sentence()


def test_a_process_that_reads_all_the_time_sees_a_stop_within_seconds(switch: Variables) -> None:
    now = [0.0]
    there = SpendingSwitch("main", clock=lambda: now[0])
    there.check()
    stop(switch, "main")
    seen = None
    for now[0] in range(1, 11):
        try:
            there.check()
        except KieSpendingStopped:
            seen = seen or now[0]
    assert seen == FRESH
    resume(switch, "main")
    there.check()


def test_a_stop_is_visible_as_plain_json(switch: Variables) -> None:
    stop(switch, "main")
    assert json.loads(switch.rows["kie_spending_stopped__main"]).keys() == {"by", "at", "reason"}
