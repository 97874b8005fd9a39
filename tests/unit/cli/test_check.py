"""`airflow kie check`: the free reads of one account, and nothing else."""

from __future__ import annotations

from argparse import Namespace

import pytest

from airflow_kie.cli.doctor import check as command
from kie_simulator.server import SimulatorServer


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command change how this process looks connections up, for one test."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")


def check() -> object:
    with pytest.raises(SystemExit) as ended:
        command(Namespace(kie_conn_id=None))
    return ended.value.code


def test_it_reads_the_balance_and_makes_no_task(
    kie: SimulatorServer, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["key", "credits", "clock", "limiter", "bucket"]
    assert kie.control.state()["requests"] == {"GET /api/v1/chat/credit": 1}


def test_it_fails_where_nothing_can_be_made(kie: SimulatorServer, bucket: str) -> None:
    kie.control.set_credits(0)
    assert check() == 1


def test_a_connection_that_cannot_be_used_does_not_hide_the_bucket(
    bucket: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", '{"conn_type": "kie"}')
    assert check() == 1
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["FAIL", "connection"],
        ["ok", "bucket"],
    ]
