"""Waiting on a machine that may be suspended: the waiting ends, but not because the machine was suspended."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from local_stack import timeout
from local_stack.timeout import Timeout


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass between two reads of the time."""
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])  # not that of the whole process, in which servers run
    monkeypatch.setattr(timeout, "time", clock)

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def test_it_is_over_once_the_time_has_passed_in_small_steps(after: Callable[[float], None]) -> None:
    waiting, checks = Timeout(30.0), 0
    while not waiting.expired():
        after(0.5)
        checks += 1
    assert checks == 60


def test_a_machine_that_was_suspended_has_not_waited(after: Callable[[float], None]) -> None:
    waiting = Timeout(120.0)
    after(100.0)
    assert not waiting.expired()
    after(3600.0)
    assert not waiting.expired()


def test_one_that_is_never_checked_without_a_pause_ends_all_the_same(after: Callable[[float], None]) -> None:
    waiting, checks = Timeout(120.0), 0
    while not waiting.expired():
        after(60.0)
        checks += 1
    assert checks == 12
