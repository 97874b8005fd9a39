"""What carries out the disturbances of a long run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from long_run import disturber as module
from long_run.disturbances import End, Ground, Kind, Planned
from long_run.disturber import Disturber
from song_stack import eventually


class FakeStack:
    """A stack of processes that end when they are told."""

    url = "http://127.0.0.1:9"

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self, name: str) -> None:
        """Start one that waits for its end."""
        self.begun.append(name)
        self.running[name] = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


@pytest.fixture
def disturbed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Disturber]:
    """Return a disturber of kinds that the test gives, each at once and for no time."""

    def make(stack: Any = None, **begin: Callable[[Ground], End | None]) -> Disturber:
        monkeypatch.setattr(module, "KINDS", {name: Kind(does, (0, 0)) for name, does in begin.items()})
        monkeypatch.setattr(module, "_PAUSE", 0.0)
        monkeypatch.setattr(module, "unhealthy", lambda url: [])
        planned = [Planned(0.0, name, 0.0, 0.5) for name in begin]
        stack = stack or SimpleNamespace(running={}, url="")
        return Disturber(stack, SimpleNamespace(), None, planned, lambda line: None)  # type: ignore[arg-type]

    return make


def test_what_cannot_be_ended_is_tried_again_and_holds_up_nothing(disturbed: Callable[..., Disturber]) -> None:
    tried: list[str] = []

    def end() -> int:
        tried.append("")
        if len(tried) == 1:
            raise RuntimeError("not yet")
        return 3

    with disturbed(stubborn=lambda ground: end, other=lambda ground: lambda: None) as disturber:
        eventually(lambda: len(tried) == 2 and not disturber._under_way, "it was ended at the second try")
    assert disturber.troubles == {"stubborn": 1, "other": 1}
    assert disturber.requests == {"stubborn": 3}


def test_what_finds_nobody_or_goes_wrong_counts_as_missed(disturbed: Callable[..., Disturber]) -> None:
    with disturbed(nobody=lambda ground: None, wrong=lambda ground: 1 / 0) as disturber:  # type: ignore[arg-type,return-value]
        eventually(lambda: disturber.missed.total() == 2, "both were tried")
    assert not disturber.troubles


def test_what_lasts_is_ended_when_all_is_to_be_well(disturbed: Callable[..., Disturber]) -> None:
    ended: list[str] = []
    disturber = disturbed(long=lambda ground: lambda: ended.append("long"))
    disturber.planned = [Planned(0.0, "long", 9999.0, 0.5)]
    with disturber:
        eventually(lambda: disturber.troubles.total() == 1, "it was begun")
        assert ended == []
        disturber.heal()
        assert ended == ["long"]


def test_a_process_that_has_ended_by_itself_is_started_again(disturbed: Callable[..., Disturber]) -> None:
    stack = FakeStack()
    stack.begin("scheduler-1")
    first = stack.running["scheduler-1"]
    with disturbed(stack) as disturber:
        first.communicate(b"\n")
        eventually(lambda: stack.begun == ["scheduler-1"] * 2, "it was started again")
    stack.running["scheduler-1"].communicate(b"\n")
    assert disturber.ended == {"scheduler": 1}


def test_a_kill_waits_until_the_stack_is_whole_and_the_next_one_follows_it_at_its_distance(
    disturbed: Callable[..., Disturber], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []
    monkeypatch.setattr(module, "KILLS", {"worker killed": None})
    monkeypatch.setattr(module, "is_whole", lambda stack: looks.append(len(looks) > 1) or looks[-1])
    disturber = disturbed()
    first, second = (Planned(at, "worker killed", 0.0, 0.5) for at in (10.0, 22.0))
    assert [disturber._may(first, now) for now in (9.0, 11.0, 20.0, 30.0)] == [False, False, False, True]
    assert [disturber._may(second, now) for now in (31.0, 41.0, 43.0)] == [False, False, True]
    assert looks == [False, False, True, True]
