"""The trace of the last callback: rare writes, and what is read back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_kie.monitoring.callback_health import CallbackCounter, LastCallback, following, parsed

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_callbacks_are_written_down_at_most_once_a_minute_and_none_is_left_out() -> None:
    now = [0.0]
    counter = CallbackCounter(clock=lambda: now[0])
    assert [counter.count("kie_default") for _ in range(5)] == [1, 0, 0, 0, 0]
    assert counter.count("kie_other") == 1
    now[0] = 60.0
    assert counter.count("kie_default") == 5


def test_a_trace_is_read_back_as_it_was_written() -> None:
    trace = following(LastCallback(AT, 7, "token"), 5, "signature", AT)
    assert trace == LastCallback(AT, 12, "signature")
    assert parsed(trace.text()) == trace


@pytest.mark.parametrize("text", [None, "", "7", "[]", "{}", '{"at": "soon", "count": 1, "proof": "x"}', "nonsense"])
def test_a_variable_that_a_person_has_changed_is_no_trace(text: str | None) -> None:
    assert parsed(text) is None
