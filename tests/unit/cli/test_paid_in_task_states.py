"""`airflow kie doubts`, `adopt`, `release` and `spend` where tasks record what they pay for in their own states."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_database import run as dag_run
from airflow_database import scheduled, stored
from airflow_kie._airflow_private.task_states import StateOf
from airflow_kie.cli import paid, spend
from airflow_kie.client.errors import KieCreateInDoubt
from airflow_kie.hooks import sending
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.checks.account import ledger_findings
from airflow_kie.operators.suno import KieGenerateMusicOperator
from airflow_kie.web.status import routes
from airflow_kie.web.status.report import gathered
from airflow_task import FakeTaskStateStore, TaskInstance, TaskRun, WorkerCrash, health_check
from kie_simulator.server import SimulatorServer
from paid_requests import dying_at

OF = StateOf("nightly_songs", "manual__1", "generate_music")


@pytest.fixture(autouse=True)
def several_machines(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let workers share no file, and give them neither a bucket nor a database; Airflow has the run's rows."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    sending._balances.clear()
    with stored(dag_run(OF.dag_id, OF.run_id)):
        yield


@pytest.fixture
def doubtful(kie: SimulatorServer) -> TaskRun:
    """Let a worker die between KIE's answer and its record, an hour ago, in a task that keeps its state in Airflow."""
    run = TaskRun(
        lambda: KieGenerateMusicOperator(
            task_id=OF.task_id, prompt="rain on a roof", deferrable=False, poll_interval=0.05
        ),
        OF,  # type: ignore[arg-type]
        TaskInstance(dag_id=OF.dag_id, run_id=OF.run_id, map_index=-1),
    )
    with dying_at("after post"), pytest.raises(WorkerCrash):
        run.execute()
    (key,) = (key for key in rows() if not key.startswith("paid/_doubt/"))
    entries = OF.get(key)
    for name, body in entries.items():
        value = json.loads(body)
        times = {time: value[time] - 3600 for time in ("at", "not_after", "callback_by") if value.get(time)}
        entries[name] = json.dumps(value | times)
    OF.set(key, entries)
    return run.retried()


def rows() -> list[str]:
    from airflow_kie._airflow_private.task_states import stored_keys

    return stored_keys("paid/").get(OF, [])


def ended(command: Any, **args: Any) -> int:
    with pytest.raises(SystemExit) as end:
        command(Namespace(kie_conn_id=None, **args))
    assert isinstance(end.value.code, int)
    return end.value.code


def only_doubt(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert ended(paid.doubts) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "dag nightly_songs, run manual__1, task generate_music" in line
    return line.partition(",")[0]


def test_a_doubt_in_a_tasks_own_state_is_listed_and_its_task_adopted(
    kie: SimulatorServer, doubtful: TaskRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (charge,) = kie.control.ledger("music")
    request = only_doubt(capsys)
    with pytest.raises(KieCreateInDoubt):
        doubtful.attempt()
    assert ended(paid.adopt, request=request, id=charge["task_id"]) == 0
    where = "the state of task generate_music of DAG nightly_songs, run manual__1"
    assert f"attempt 1, {where}" in capsys.readouterr().out
    assert ended(paid.doubts) == 0
    heard = capsys.readouterr()
    assert heard.out == "No request is in doubt.\n"
    assert "sent with KieHook on other machines is not listed" in heard.err
    assert doubtful.cleared().attempt() == charge["task_id"]
    assert len(kie.control.ledger("music")) == 1


def test_a_doubt_in_a_tasks_own_state_is_released_and_sent_again_once(
    kie: SimulatorServer, doubtful: TaskRun, capsys: pytest.CaptureFixture[str]
) -> None:
    request = only_doubt(capsys)
    assert ended(paid.release, request=[request], yes=True) == 0
    made = doubtful.cleared().attempt()
    assert [charge["task_id"] for charge in kie.control.ledger("music")][1:] == [made]
    assert doubtful.cleared().attempt() == made


def test_a_request_that_no_task_has_recorded_is_neither_adopted_nor_released(
    kie: SimulatorServer, doubtful: TaskRun, capsys: pytest.CaptureFixture[str]
) -> None:
    other = f"suno.music/{'0' * 32}"
    assert ended(paid.adopt, request=other, id="5" * 32) == 1
    assert f"No task's state has request {other}, and nothing is recorded." in capsys.readouterr().err
    assert ended(paid.release, request=[other], yes=True) == 1
    assert "nothing is released (the task state store)" in capsys.readouterr().err


def test_a_task_that_runs_is_not_decided_about(doubtful: TaskRun, capsys: pytest.CaptureFixture[str]) -> None:
    request, running = only_doubt(capsys), scheduled("default_pool", task_id=OF.task_id, run_id=OF.run_id)
    running.dag_id, running.state = OF.dag_id, "running"
    with stored(running):
        assert ended(paid.release, request=[request], yes=True) == 1
        assert ended(paid.adopt, request=request, id="5" * 32) == 1
    told = capsys.readouterr().err
    assert told.count("generate_music of DAG nightly_songs, run manual__1, runs now") == 2
    assert only_doubt(capsys) == request


def test_spending_the_status_page_and_the_checks_see_tasks_own_states(
    doubtful: TaskRun, capsys: pytest.CaptureFixture[str]
) -> None:
    request = only_doubt(capsys)
    sent = json.loads(OF.get(f"paid/kie_default/{request}")[f"kie_default/{request}/1.intent"])["at"]
    ended(spend.spend, month=f"{datetime.fromtimestamp(sent, tz=UTC):%Y-%m}", by="dag", csv=False)
    assert "nightly_songs: 0 credits used, 12 quoted, 1 task, unknown for 1" in capsys.readouterr().out
    (account,) = gathered().accounts
    assert [doubt.request for doubt in account.doubts] == [request]
    found = {one.check: one.seen for one in ledger_findings(KieHook())}
    assert found["ledger"].startswith("Paid requests are recorded in the task state store. Not covered: requests of ")
    assert found["in doubt"].startswith("1 requests may have been paid for")


def asked_by_page(monkeypatch: pytest.MonkeyPatch, **body: str) -> Any:
    """Return what the status page sends."""
    monkeypatch.setattr(routes, "audit", lambda *_, **__: None)
    user = SimpleNamespace(get_name=lambda: "ada")
    return SimpleNamespace(state=SimpleNamespace(kie_user=user, kie_body={"connection": "kie_default", **body}))


def test_the_status_page_adopts_and_releases_in_tasks_own_states(
    kie: SimulatorServer, doubtful: TaskRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request, running = only_doubt(capsys), scheduled("default_pool", task_id=OF.task_id, run_id=OF.run_id)
    running.dag_id, running.state = OF.dag_id, "running"
    with stored(running), pytest.raises(routes.ChangeRefused, match="runs now"):
        routes.release(asked_by_page(monkeypatch, request=request))
    with pytest.raises(routes.ChangeRefused, match="no task's state has this request"):
        routes.release(asked_by_page(monkeypatch, request=f"suno.music/{'0' * 32}"))
    routes.release(asked_by_page(monkeypatch, request=request))
    with pytest.raises(routes.ChangeRefused, match="no longer in doubt"):
        routes.release(asked_by_page(monkeypatch, request=request))
    (charge,) = kie.control.ledger("music")
    routes.adopt(asked_by_page(monkeypatch, request=request, task_id=charge["task_id"]))
    assert doubtful.cleared().attempt() == charge["task_id"]


def test_states_that_a_backend_keeps_elsewhere_are_said_to_be_unread(
    doubtful: TaskRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__WORKERS__STATE_STORE_BACKEND", "mine.S3Backend")
    assert ended(paid.doubts) == 1
    told = capsys.readouterr()
    assert "No request is in doubt" not in told.out
    assert "[workers] state_store_backend keeps those where this cannot list them" in told.err
    assert "adopt_task_id" in told.err


def test_a_health_check_says_that_it_does_not_see_what_is_in_doubt(
    doubtful: TaskRun, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"):
        health_check(FakeTaskStateStore()).attempt()
    assert "is recorded in the states of its tasks, which only commands and the status page read" in caplog.text
