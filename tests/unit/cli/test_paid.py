"""`airflow kie doubts`, `adopt` and `release`: what is known of a lost answer, and what follows from a decision."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any

import pytest

from airflow_kie.cli import paid
from airflow_kie.client.errors import KieCreateInDoubt
from airflow_kie.hooks import sending
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.suno import KieGenerateMusicOperator
from airflow_task import TaskRun, WorkerCrash
from kie_simulator.server import SimulatorServer
from paid_requests import InDatabase, become_old, dying_at


@pytest.fixture
def doubtful(kie: SimulatorServer) -> TaskRun:
    """Let a worker die between KIE's answer and its record; nobody has another copy of the task's id."""
    sending._balances.clear()
    run = TaskRun(
        lambda: KieGenerateMusicOperator(
            task_id="generate_music", prompt="rain on a roof", deferrable=False, poll_interval=0.05
        )
    )
    with dying_at("after post"), pytest.raises(WorkerCrash):
        run.execute()
    become_old(InDatabase(KieHook().ledger_database()[0]))
    return run.retried()


def listed(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    decided(paid.doubts)
    return capsys.readouterr().out


def decided(command: Any, **args: Any) -> None:
    with pytest.raises(SystemExit) as end:
        command(Namespace(kie_conn_id=None, **args))
    assert end.value.code == 0


def test_a_doubt_names_the_request_and_the_balances_until_a_person_decides(
    kie: SimulatorServer, doubtful: TaskRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (charge,) = kie.control.ledger("music")
    after = KieHook().credits()
    before = after + charge["credits"]
    hint = f"the balance was {before:,g} credits before it and {after:,g} after it, other tasks included"
    with pytest.raises(KieCreateInDoubt, match=re.escape(hint)) as error:
        doubtful.attempt()
    kie.control.set_credits(3)  # what other tasks cost later does not change what was seen
    line = listed(capsys)
    request = line.partition(",")[0]
    assert hint in line and f"request {request}, attempt 1" in str(error.value)
    decided(paid.adopt, request=request, id=charge["task_id"])
    assert listed(capsys) == "No request is in doubt.\n"
    assert doubtful.cleared().attempt() == charge["task_id"]


def test_a_request_that_is_released_is_sent_again(
    kie: SimulatorServer, doubtful: TaskRun, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KieCreateInDoubt):
        doubtful.attempt()
    decided(paid.release, request=[listed(capsys).partition(",")[0]], yes=True)
    assert listed(capsys) == "No request is in doubt.\n"
    made = doubtful.cleared().attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("music")][1:] == [made]


def test_several_requests_are_released_at_once_and_none_where_one_is_not_in_doubt(
    kie: SimulatorServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kie.control.add_fault("create", "code", code=500, msg="Server exception, please try again later", times=2)
    runs = [
        TaskRun(
            lambda prompt=prompt: KieGenerateMusicOperator(  # type: ignore[misc]
                task_id="generate_music", prompt=prompt, idempotency_key=prompt, deferrable=False, poll_interval=0.05
            )
        )
        for prompt in ("rain", "snow")
    ]
    for run in runs:
        with pytest.raises(KieCreateInDoubt, match="it was answered with code 500, which does not say"):
            run.attempt()
    lines = listed(capsys).splitlines()
    assert all("it was answered with code 500" in line for line in lines)
    requests = [line.partition(",")[0] for line in lines]
    assert len(requests) == 2
    with pytest.raises(SystemExit) as end:
        paid.release(Namespace(kie_conn_id=None, request=[*requests, f"suno.music/{'0' * 32}"], yes=True))
    assert end.value.code == 1
    assert len(listed(capsys).splitlines()) == 2
    decided(paid.release, request=requests, yes=True)
    assert [run.cleared().attempt() for run in runs] == [charge["task_id"] for charge in kie.control.ledger("music")]


def test_the_balance_is_a_hint_and_its_absence_stops_nothing(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, doubtful: TaskRun
) -> None:
    kie.control.add_fault("credit", "code", code=500, times=9)
    with pytest.raises(KieCreateInDoubt) as error:
        doubtful.attempt()
    assert "balance" not in str(error.value)
