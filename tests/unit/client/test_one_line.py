"""Nothing from outside writes a line of its own into a log of this package."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_kie.client.errors import KieServerError
from airflow_kie.client.redact import keep_log_lines_whole, one_line

FORGED = "Rain\r\n2026-11-28 ERROR forged\x1b[2J\x00\x85\u2028\u2029\u202e\ufeff\ud83d"
WHOLE = "\U0001f469\u200d\U0001f3a4 \u05e9\u05dc\u05d5\u05dd caf\u00e9"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (FORGED, "Rain 2026-11-28 ERROR forged [2J"),
        ("  Velvet\tHarbour ", "Velvet Harbour"),
        (WHOLE, WHOLE),
        (None, "None"),
    ],
)
def test_a_text_is_one_line_that_a_person_sees_whole(text: object, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize("name", ["archive.fetch", "webhook.receiver", "client.answers"])
@pytest.mark.parametrize("argument", [FORGED, KieServerError(FORGED), {"key": FORGED}])
def test_whatever_a_module_logs_is_one_line(name: str, argument: Any, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger(f"airflow_kie.{name}")
    log.warning("Object %s was refused after %d tries.", argument, 3)
    log.warning("Object %(key)s was refused.", {"key": argument})
    assert len(caplog.messages) == 2
    for line in caplog.messages:
        assert "Rain" in line
        assert len(line.splitlines()) == 1
        line.encode()  # no half character


def test_an_error_is_one_line_whatever_kie_says_and_names() -> None:
    error = KieServerError(FORGED, task_id=FORGED, source_id="s" + FORGED, last_state=FORGED)
    assert len(str(error).splitlines()) == 1
    str(error).encode()


def test_the_handler_is_there_once() -> None:
    keep_log_lines_whole()
    keep_log_lines_whole()
    assert len(logging.getLogger("airflow_kie").handlers) == 1


def test_an_argument_that_writes_no_line_of_its_own_keeps_its_blanks(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("airflow_kie.triggers.task").warning("Waiting for %s%s ends.", "one", " for two")
    assert caplog.messages == ["Waiting for one for two ends."]
