"""While new paid tasks are stopped none is sent and nothing fails; what is paid is finished; then each is made once."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException

from airflow_connections import kie_connection
from airflow_kie.client import api
from airflow_kie.client.errors import KieCreateInDoubt, KieMaintenance, KieNotSent, KieSpendingStopped
from airflow_kie.client.rate_limiter.limiter import NO_CAPS, Caps, Cost
from airflow_kie.hooks import spending_switch
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.spending_switch import SpendingSwitch
from airflow_kie.lifecycle.claims import SEND_WITHIN
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_task import StoredFiles, TaskRun, Variables, WorkerCrash
from kie_simulator.server import SimulatorServer
from paid_requests import InDatabase, become_old, dying_at, recorded
from spending_switches import resume, stop

SCHEDULED = {"dag_run": SimpleNamespace(run_type="asset_triggered")}
MANUAL = {"dag_run": SimpleNamespace(run_type="manual")}
LONG_AGO = {"since": 1.0, "attempts": 5, "reason": "", "max_tries": 5, "stopped": False}
"""An outage that a task has waited for since 1970."""


def cover_run(song: str, extra: dict[str, Any] | None = None, **options: Any) -> TaskRun:
    options = {"poll_interval": 0.05, "deferrable": False} | options
    make = lambda: KieGenerateCoverOperator(task_id="generate_cover", music_task_id=song, **options)  # noqa: E731
    return TaskRun(make, extra=dict(SCHEDULED if extra is None else extra))


def music_run(extra: dict[str, Any] | None = None, **options: Any) -> TaskRun:
    options = {"poll_interval": 0.05, "deferrable": False, "prompt": "Rain"} | options
    make = lambda: KieGenerateMusicOperator(task_id="generate", **options)  # noqa: E731
    return TaskRun(make, extra=dict(SCHEDULED if extra is None else extra))


def song(kie: SimulatorServer) -> str:
    return kie.control.make_music("Velvet Harbour")[0].task_id


def creates(kie: SimulatorServer) -> int:
    requests = kie.control.state()["requests"]
    return sum(count for path, count in requests.items() if path.startswith("POST") and path.endswith("/generate"))


@pytest.mark.parametrize("extra", [SCHEDULED, MANUAL], ids=["scheduled", "manual"])
@pytest.mark.parametrize("kind", ["cover", "music"])
def test_a_stopped_create_is_rescheduled_and_nothing_is_sent(
    kie: SimulatorServer, switch: Variables, kind: str, extra: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = cover_run(song(kie), extra) if kind == "cover" else music_run(extra)
    stop(switch)
    before = kie.control.state()["requests"]
    with pytest.raises(AirflowRescheduleException):
        run.execute()
    assert kie.control.state()["requests"] == before
    resume(switch)
    run.attempt()
    assert len(kie.control.ledger(kind)) == 1
    (line,) = [line for line in caplog.messages if line.startswith("Rescheduled until")]
    for words in (
        "which does not use a retry",
        "jane@bastion has stopped",
        '("a loop")',
        "Nothing was sent",
        "spending resume",
    ):
        assert words in line


def test_a_stop_takes_no_permit_of_the_limiter(kie: SimulatorServer, switch: Variables, monkeypatch: Any) -> None:
    monkeypatch.setattr(KieHook, "limiter", lambda self, **_: pytest.fail("a permit was asked for"))
    stop(switch)
    with pytest.raises(AirflowRescheduleException):
        cover_run(song(kie)).execute()


@dataclass
class StopsWhileWaiting:
    """A limiter that gives its permit late: meanwhile somebody stops new paid tasks, as they may at any moment."""

    switch: Variables
    monkeypatch: pytest.MonkeyPatch
    given_back: list[Any] = field(default_factory=list)
    caps: Caps = NO_CAPS

    def give_back(self, permit: Any, *, sent: bool = True) -> None:
        assert not sent, "nothing reached KIE"
        self.given_back.append(permit)

    def name(self, permit: Any, request: str) -> None:
        """Nothing is counted."""

    def acquire(self, seconds: float, cost: Cost) -> Any:
        stop(self.switch)
        self.monkeypatch.setattr(spending_switch, "FRESH", 0.0)  # the seconds of the wait are over
        return SimpleNamespace(granted=True, wait_seconds=0.0, over=None)


@pytest.mark.parametrize("kind", ["cover", "music"])
def test_a_running_task_sees_a_stop_after_its_permit_and_is_not_in_doubt(
    kie: SimulatorServer, switch: Variables, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    run = cover_run(song(kie)) if kind == "cover" else music_run()
    with monkeypatch.context() as slow:
        limiter = StopsWhileWaiting(switch, slow)
        slow.setattr(KieHook, "limiter", lambda self, **_: limiter)
        with pytest.raises(AirflowRescheduleException):
            run.execute()
    assert (creates(kie), len(limiter.given_back)) == (0, 1)
    resume(switch)
    run.attempt()  # a music task whose create was taken for sent would fail here
    assert len(kie.control.ledger(kind)) == 1


def test_after_a_resume_each_of_many_waiting_creates_is_made_once(kie: SimulatorServer, switch: Variables) -> None:
    kie.control.set(rate_limit=1000)
    runs = [cover_run(song(kie), poll_interval=0.01) for _ in range(12)]
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda run: run.attempt(), runs[:4]))
        stop(switch)
        for _ in range(2):
            for run in runs[4:]:
                with pytest.raises(AirflowRescheduleException):
                    run.execute()
        assert len(kie.control.ledger("cover")) == 4
        resume(switch)
        list(workers.map(lambda run: run.attempt(), runs))
    assert len(kie.control.ledger("cover")) == 12
    assert creates(kie) == 12


def test_a_create_in_doubt_is_not_sent_again_while_stopped(kie: SimulatorServer, switch: Variables) -> None:
    music = song(kie)
    run = cover_run(music, extra={})
    with dying_at("after post"), pytest.raises(WorkerCrash):
        run.execute()
    paid = InDatabase(KieHook().ledger_database()[0])
    become_old(paid)
    doubted, sent = recorded(paid), creates(kie)
    stop(switch)
    for _ in range(2):
        with pytest.raises(AirflowRescheduleException):
            replace(run, extra=SCHEDULED).execute()
    assert (creates(kie), recorded(paid)) == (sent, doubted)
    resume(switch)
    run.retried().attempt()
    assert creates(kie) == sent + 1
    assert len(kie.control.ledger("cover")) == 1


def test_a_song_whose_create_is_in_doubt_fails_as_ever_and_is_not_sent(kie: SimulatorServer, switch: Variables) -> None:
    run = music_run()
    kie.control.add_fault("create", "reset_after", kind="music", times=1)
    with pytest.raises(KieCreateInDoubt):
        run.execute()
    stop(switch)
    with pytest.raises(KieCreateInDoubt):
        run.retried().execute()
    assert creates(kie) == 1


def test_a_failed_task_is_not_replaced_while_stopped_and_is_replaced_once_afterwards(
    kie: SimulatorServer, switch: Variables
) -> None:
    kie.control.add_fault("task", "fail", kind="cover", times=1)
    music = song(kie)
    run = cover_run(music, wait_for_completion=False)
    run.execute()
    paid = run.store.record(f"cover/{music}")
    stop(switch)
    waiting = replace(run, make=cover_run(music).make)
    for _ in range(2):
        with pytest.raises(AirflowRescheduleException):
            waiting.attempt()
    assert run.store.record(f"cover/{music}")["task_id"] == paid["task_id"]
    resume(switch)
    assert waiting.attempt() != paid["task_id"]
    assert len(kie.control.ledger("cover")) == 2


def test_what_is_paid_is_finished_and_archived_while_stopped(
    kie: SimulatorServer, switch: Variables, archive: StoredFiles, bucket: str
) -> None:
    music = song(kie)
    run = cover_run(music, wait_for_completion=False)
    run.execute()
    stop(switch)
    cover = replace(run, make=cover_run(music).make).attempt()
    transfer = KieCoverToS3Operator(
        task_id="archive", cover_task_id=cover, music_task_id=music, bucket=bucket, prefix="songs"
    )
    TaskRun(lambda: transfer, extra=SCHEDULED).attempt()
    assert f"songs/{music}/manifest.json" in archive.listed()


def test_what_another_run_has_paid_for_is_used_while_stopped(
    kie: SimulatorServer, switch: Variables, bucket: str
) -> None:
    music = song(kie)
    cover = cover_run(music).attempt()
    stop(switch)
    assert cover_run(music).attempt() == cover
    assert len(kie.control.ledger("cover")) == 1


def test_another_accounts_tasks_are_made(kie: SimulatorServer, switch: Variables) -> None:
    stop(switch, "somebody_else")
    stop(switch, "kie_default_2")
    cover_run(song(kie)).attempt()
    assert len(kie.control.ledger("cover")) == 1


def test_a_connection_is_stopped_by_the_name_of_its_account(
    kie: SimulatorServer, switch: Variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"account": "label-a"}))
    stop(switch, "label-a")
    run = cover_run(song(kie))
    with pytest.raises(AirflowRescheduleException):
        run.execute()
    assert creates(kie) == 0
    resume(switch, "label-a")
    run.attempt()


def test_a_long_stop_moves_the_deadline_and_is_asked_for_ever_more_rarely(
    kie: SimulatorServer, switch: Variables
) -> None:
    music = song(kie)
    run = cover_run(music, wait_timeout=60)
    pauses = []
    for minutes in (0, 10, 10_000):
        stop(switch, minutes_ago=minutes)
        with pytest.raises(AirflowRescheduleException) as later:
            run.execute()
        pauses.append(later.value.reschedule_date.timestamp() - datetime.now(UTC).timestamp())
        deadline = run.store.record(f"deadline/cover/{music}")["at"]
        assert deadline - later.value.reschedule_date.timestamp() == pytest.approx(60, abs=10)  # less than any pause
    assert [10 < pauses[0] < 20, 140 < pauses[1] < 200, 290 < pauses[2] < 380] == [True] * 3


def test_the_time_of_a_stop_is_not_that_of_an_outage(kie: SimulatorServer, switch: Variables) -> None:
    run = cover_run(song(kie))
    run.store.set("outage", LONG_AGO)
    stop(switch)
    with pytest.raises(AirflowRescheduleException):
        run.execute()
    resume(switch)
    kie.control.add_fault("create", "code", kind="cover", code=455, times=1)
    with pytest.raises(AirflowRescheduleException):  # it waits for KIE's maintenance, which has just begun
        run.execute()


def test_an_outage_that_lasts_too_long_fails_nothing_that_is_stopped_anyway(
    kie: SimulatorServer, switch: Variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cover_run(song(kie))
    run.store.set("outage", LONG_AGO)

    def down(self: KieGenerateCoverOperator) -> None:
        raise KieMaintenance("not now")

    with monkeypatch.context() as outage:
        outage.setattr(KieGenerateCoverOperator, "probe", down)
        stop(switch)
        with pytest.raises(AirflowRescheduleException):
            run.execute()
        resume(switch)
        run.store.set("outage", LONG_AGO)
        with pytest.raises(KieMaintenance):
            run.execute()


def test_outside_of_a_run_the_error_says_all_of_it(kie: SimulatorServer, switch: Variables) -> None:
    stop(switch, reason="the nightly job loops")
    with pytest.raises(KieSpendingStopped) as told:
        cover_run(song(kie), extra={}).execute()
    said = str(told.value)
    assert "jane@bastion has stopped new paid tasks of account kie_default" in said
    assert '("the nightly job loops")' in said
    assert "Nothing was sent, so nothing was paid for this." in said
    assert "`airflow kie spending resume --account kie_default`" in said


def test_what_could_not_be_sent_in_time_since_the_switch_was_read_too_slowly_is_sent_by_the_next_try(
    kie: SimulatorServer, switch: Variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From then on others count the attempt as in doubt."""
    checks, read = [], SpendingSwitch.check
    later = SimpleNamespace(time=lambda: time.time() + SEND_WITHIN, monotonic=time.monotonic, sleep=time.sleep)
    run = music_run(extra={})
    with monkeypatch.context() as slow:

        def check(self: SpendingSwitch) -> None:
            checks.append(self)
            read(self)
            if len(checks) == 2:  # directly before the POST
                slow.setattr(api, "time", later)

        slow.setattr(SpendingSwitch, "check", check)
        with pytest.raises(KieNotSent, match="too much time passed before it could be sent"):
            run.attempt()
    assert creates(kie) == 0
    assert run.retried().attempt()
    assert creates(kie) == 1


def test_users_own_code_cannot_create_past_the_switch(kie: SimulatorServer, switch: Variables) -> None:
    from airflow_kie.client.operations.suno import COVER

    body = {"taskId": song(kie)}
    stop(switch)
    with pytest.raises(KieSpendingStopped):
        KieHook().get_conn().create(COVER, body, body, "https://example.com/callback")
    assert creates(kie) == 0
