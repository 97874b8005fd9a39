"""`airflow kie spending`: a person stops all new paid tasks, everybody sees who did so, and Airflow records it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_connections import kie_connection
from airflow_database import make_tables
from airflow_kie._airflow_private import process, variables
from airflow_kie.cli import spending
from airflow_kie.client.errors import KieSpendingStopped
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.spending_switch import KEY_PREFIX, SpendingSwitch, key_of
from airflow_kie.monitoring.checks.account import spending_findings
from doctor_findings import looked_at
from kie_simulator.server import SimulatorServer


@pytest.fixture(autouse=True)
def database(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Read the switch from Airflow's database, as every process that is no task does."""
    make_tables()
    monkeypatch.setattr(process, "in_task", lambda: False)
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    yield
    for key in variables.variables_with_prefix(KEY_PREFIX):
        variables.delete_variable(key)


def run(capsys: Any, action: str, account: str | None = None, reason: str = "") -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        spending.spending(Namespace(action=action, account=account, reason=reason))
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


def two_accounts(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default, kie_label")
    monkeypatch.setenv("AIRFLOW_CONN_KIE_LABEL", kie_connection(kie, extra={"account": "label a"}))


def test_a_stop_without_an_account_stops_all_and_a_resume_lets_all_go_on(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    two_accounts(kie, monkeypatch)
    code, said, _ = run(capsys, "stop", reason="a loop\nat night")
    assert code == 0
    assert said.count('("a loop at night"); nothing new is sent') == 2
    assert "resume --account 'label a'" in said
    for account in ("kie_default", "label a"):
        with pytest.raises(KieSpendingStopped, match="a loop at night"):
            SpendingSwitch(account).check()
    code, said, _ = run(capsys, "resume")
    assert (code, said.count("are allowed again. Until now: ")) == (0, 2)
    for account in ("kie_default", "label a"):
        SpendingSwitch(account).check()


def test_one_account_is_stopped_by_its_name_or_by_its_connection(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    two_accounts(kie, monkeypatch)
    run(capsys, "stop", "kie_label")
    SpendingSwitch("kie_default").check()
    with pytest.raises(KieSpendingStopped):
        SpendingSwitch("label a").check()
    code, said, _ = run(capsys, "status")
    assert code == 0
    assert "Account kie_default: new paid tasks are allowed." in said
    assert "has stopped new paid tasks of account label a" in said


def test_an_account_that_no_connection_has_is_stopped_and_said_to_be_none_of_them(capsys: Any) -> None:
    code, said, complaint = run(capsys, "stop", "kie_defualt")
    assert (code, "account kie_defualt" in said) == (0, True)
    assert "No connection of [kie] kie_conn_ids has the account kie_defualt (theirs: kie_default)" in complaint
    assert "kie_defualt" in run(capsys, "resume")[1]


def test_a_second_stop_keeps_who_stopped_first_and_mends_what_cannot_be_understood(capsys: Any) -> None:
    run(capsys, "stop", reason="first")
    assert '("first")' in run(capsys, "stop", reason="second")[1]
    variables.write_variable(key_of("kie_default"), "off", "")
    assert "cannot be understood" in run(capsys, "status")[1]
    assert '("third")' in run(capsys, "stop", reason="third")[1]


def test_a_stop_needs_no_key_and_no_connection_that_works(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    broken = json.dumps({"conn_type": "kie", "host": "::", "extra": {"account": "main"}})
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", broken)
    monkeypatch.setenv("AIRFLOW__KIE__KIE_CONN_IDS", "kie_default, kie_missing")
    code, said, complaint = run(capsys, "stop")
    assert (code, "account main" in said, "account kie_missing" in said) == (0, True, True)
    assert "Connection kie_missing does not exist" in complaint


def test_a_switch_that_cannot_be_written_is_an_error_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def locked(*_: str) -> None:
        raise RuntimeError("database is locked")

    monkeypatch.setattr(variables, "write_variable", locked)
    code, _, complaint = run(capsys, "stop")
    assert code == 1
    assert "database is locked" in complaint
    assert "pause the DAGs" in complaint


def test_changes_stand_in_airflows_audit_log_and_a_look_does_not(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    monkeypatch.setattr(sys, "argv", ["airflow", "kie", "spending", "stop", "--reason", "a loop"])
    for action in ("stop", "status", "resume"):
        run(capsys, action, reason="a loop")
    with create_session() as session:
        events = [(log.event, log.extra) for log in session.scalars(select(Log).where(Log.event.like("cli_kie%")))]
    assert [event for event, _ in events[-2:]] == ["cli_kie_spending_stop", "cli_kie_spending_resume"]
    assert "a loop" in str(events[-2][1])


def test_another_process_sees_a_stop_and_its_end(capsys: Any) -> None:
    program = (
        "from airflow_kie.hooks.spending_switch import SpendingSwitch, KieSpendingStopped\n"
        "there = SpendingSwitch('kie_default')\n"
        "for line in __import__('sys').stdin:\n"
        "    there._allowed_at = None\n"
        "    try:\n        there.check(); print('may', flush=True)\n"
        "    except KieSpendingStopped as told:\n        print(told, flush=True)\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    other = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    with other:
        assert other.stdin and other.stdout

        def asked() -> str:
            other.stdin.write("?\n")
            other.stdin.flush()
            return other.stdout.readline().strip()

        assert asked() == "may"
        run(capsys, "stop", reason="a loop")
        assert "stopped new paid tasks of account kie_default" in asked()
        run(capsys, "resume")
        assert asked() == "may"
        other.stdin.close()


def test_doctor_says_who_has_stopped_an_account_when_and_why(capsys: Any) -> None:
    assert looked_at(spending_findings, KieHook()).line("spending")[0] == "ok"
    run(capsys, "stop", reason="a loop")
    level, seen = looked_at(spending_findings, KieHook()).line("spending")
    assert level == "warn"
    assert '("a loop")' in seen


def test_the_command_is_one_of_airflows(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from airflow.cli import cli_parser
    from airflow.cli.cli_parser import AirflowHelpFormatter  # noqa: F401 - loads Airflow's own parser

    parsed = cli_parser.get_parser().parse_args(["kie", "spending", "stop", "--account", "main", "--reason", "a loop"])
    with pytest.raises(SystemExit):
        parsed.func(parsed)
    assert "account main" in capsys.readouterr().out
