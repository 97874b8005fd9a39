"""What a run of the suite does in a person's place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fault_suite import suite as module
from fault_suite.plan import Plan
from fault_suite.suite import Suite
from long_run.suite import LongSuite

CHARGES = [{"request": {"title": "Paid song 1"}, "task_id": "task-1"}]


def staged(again: list[tuple[str, str]], *outcomes: str) -> Any:
    """Return a stage on which KIE has made the first of two songs that cost credits, with callbacks that ended so."""
    callbacks = [{"task_id": "task-1", "outcome": outcome} for outcome in outcomes]
    simulator = SimpleNamespace(ledger=lambda kind: CHARGES, state=lambda: {"callbacks": callbacks})
    return SimpleNamespace(
        running=SimpleNamespace(simulator=simulator),
        duplicate="named",
        start_failed_again=lambda *words: again.append(words),
    )


@pytest.mark.parametrize(
    ("outcomes", "complaints"),
    [
        (("gave_up", "lost"), []),
        (("gave_up", "delivered"), ["Paid song 1 was in doubt; its callbacks: ['gave_up', 'delivered']"]),
        (("undeliverable",), ["Paid song 1 was in doubt; its callbacks: ['undeliverable']"]),
        ((), ["Paid song 1 was in doubt; its callbacks: []"]),
    ],
)
def test_the_song_of_a_request_in_doubt_is_named_and_a_callback_that_could_have_named_it_is_complained_of(
    monkeypatch: pytest.MonkeyPatch, outcomes: tuple[str, ...], complaints: list[str]
) -> None:
    adopted: list[tuple[Any, ...]] = []
    again: list[tuple[str, str]] = []
    doubts = [(name, SimpleNamespace(intent=SimpleNamespace(owner={"run": name}))) for name in ("made", "unmade")]
    ledger = SimpleNamespace(doubts=lambda account: doubts, adopt=lambda *words: adopted.append(words))
    monkeypatch.setattr(module, "PaidRequests", lambda running: SimpleNamespace(ledgers=lambda: [ledger]))
    suite = Suite(staged(again, *outcomes), Plan(1, (), (), (), ()), lambda line: None)
    suite._generated = {"Paid song 1": "made", "Paid song 2": "unmade"}
    suite._adopt()
    assert adopted == [("made", "task-1")]
    assert again == [("music_generate", "made")]
    assert suite.outcome.complaints == complaints

    doubts.clear()  # a run that failed only after that was "running" when it was looked at
    suite._adopt()
    assert (len(adopted), again) == (1, [("music_generate", "made")] * 2)


def test_a_long_run_starts_again_what_has_failed_before_anything_was_paid() -> None:
    again: list[tuple[str, str]] = []
    suite = LongSuite(staged(again), 1, lambda line: None, SimpleNamespace())  # type: ignore[arg-type]
    suite._generated = {"Paid song 1": "made", "Paid song 2": "unmade"}
    assert suite._not_made() == ["Paid song 2"]
    assert again == [("music_generate", "unmade")]
