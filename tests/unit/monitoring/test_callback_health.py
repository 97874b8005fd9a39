"""The record of the last callback: what is read back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_kie.monitoring.callback_health import LastCallback, parsed

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_the_last_callback_is_read_back_as_it_was_written() -> None:
    last = LastCallback("token", AT)
    assert parsed(last.text()) == last


@pytest.mark.parametrize("text", [None, "", "7", "[]", "{}", '{"at": "soon", "proof": "x"}', "nonsense"])
def test_a_variable_that_a_person_has_changed_is_ignored(text: str | None) -> None:
    assert parsed(text) is None
