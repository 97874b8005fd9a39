"""What made no task does not count against max_creates_per_day, which is a cap on spending."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from airflow_connections import kie_connection
from airflow_kie.client.errors import KieCreateInDoubt, KieDailyCap, KieOutOfCredits
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_task import FakeTaskStateStore, TaskRun
from kie_simulator.server import SimulatorServer

Run = Callable[..., TaskRun]


@pytest.fixture
def run(kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a maker of attempts at a song, under an account that makes at most two tasks in 24 hours."""
    extra = {"max_creates_per_day": 2, "rate_limit": 1000, "account": f"capped {uuid.uuid4().hex}"}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))

    def make(**options: Any) -> TaskRun:
        def operator() -> KieGenerateMusicOperator:
            return KieGenerateMusicOperator(task_id="generate_music", prompt="rain on a roof", **options)

        return TaskRun(operator, FakeTaskStateStore())

    return make


def test_a_balance_below_the_price_does_not_use_up_the_daily_cap(kie: SimulatorServer, run: Run) -> None:
    kie.control.set_credits(0.5)
    for _ in range(4):
        with pytest.raises(KieOutOfCredits):
            run(wait_for_completion=False).execute()
    assert not KieHook().limiter().day_is_full()
    kie.control.set_credits(1000)
    assert [bool(run(wait_for_completion=False).execute()) for _ in range(2)] == [True, True]
    with pytest.raises(KieDailyCap):
        run(wait_for_completion=False).execute()


def test_a_cover_that_kie_has_made_before_does_not_count(kie: SimulatorServer, run: Run) -> None:
    song = kie.control.make_music("Velvet Harbour")[0].task_id

    def operator() -> KieGenerateCoverOperator:
        return KieGenerateCoverOperator(task_id="generate_cover", music_task_id=song, wait_for_completion=False)

    named = {TaskRun(operator, FakeTaskStateStore()).execute() for _ in range(4)}
    assert len(named) == 1
    assert not KieHook().limiter().day_is_full()


def test_a_create_whose_answer_was_lost_counts(kie: SimulatorServer, run: Run) -> None:
    kie.control.add_fault("create", "reset_after", times=2)
    for _ in range(2):
        with pytest.raises(KieCreateInDoubt):
            run(wait_for_completion=False).execute()
    assert KieHook().limiter().day_is_full()
