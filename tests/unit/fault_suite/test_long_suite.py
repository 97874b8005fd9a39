"""What a long run does besides disturbing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from long_run import suite as module
from long_run.suite import LongSuite


def test_the_song_of_a_request_in_doubt_is_named_once_all_is_well_and_its_run_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adopted: list[tuple[Any, ...]] = []
    again: list[tuple[str, str]] = []
    doubts = [(name, SimpleNamespace(intent=SimpleNamespace(owner={"run": name}))) for name in ("made", "unmade")]
    ledger = SimpleNamespace(doubts=lambda account: doubts, adopt=lambda *words: adopted.append(words))
    monkeypatch.setattr(module, "PaidRequests", lambda running: SimpleNamespace(ledgers=lambda: [ledger]))
    charges = [{"request": {"title": "Paid song 1"}, "task_id": "task-1"}]
    simulator = SimpleNamespace(ledger=lambda kind: charges)
    stage: Any = SimpleNamespace(
        running=SimpleNamespace(simulator=simulator),
        duplicate="named",
        start_failed_again=lambda *words: again.append(words),
    )
    suite = LongSuite(stage, 1, lambda line: None, SimpleNamespace())  # type: ignore[arg-type]
    suite._generated = ["Paid song 1", "Paid song 2"]
    suite._runs_of_paid = {"Paid song 1": "made", "Paid song 2": "unmade"}
    assert suite._not_made() == ["Paid song 2"]
    assert (adopted, again) == ([], [("music_generate", "unmade")])
    suite._well, suite._next = True, dict.fromkeys(suite._next, 0.0)
    suite._not_made()
    assert adopted == [("made", "task-1")]
    assert again[2:] == [("music_generate", "made")]
