"""What a command prints reaches whoever reads it: odd titles, terminals that know few signs, readers that have gone."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_kie.cli import terminal
from airflow_kie.cli.terminal import agreed, complain, only_warnings_on_a_terminal, output_for_answers, say, say_json


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Ünïcödé ♫ 海", "Ünïcödé ♫ 海"),
        ("two\nlines\r\n\u2028", "two\\nlines\\r\\n\\u2028"),
        ("\x1b[2Jcleared\x07", "\\x1b[2Jcleared\\x07"),
        ("half \ud800 sign", "half \\ud800 sign"),
    ],
)
def test_what_a_song_is_called_stays_in_its_line_and_moves_no_cursor(
    capsys: pytest.CaptureFixture[str], title: str, shown: str
) -> None:
    say(f"start: {title}.")
    complain(title)
    assert capsys.readouterr() == (f"start: {shown}.\n", f"{shown}\n")


def test_a_terminal_that_knows_few_signs_shows_the_others_as_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding="latin-1"))
    say("Ünïcödé ♫")
    say_json({"title": "♫"})
    assert kept.getvalue().decode("latin-1") == 'Ünïcödé \\u266b\n{\n  "title": "\\u266b"\n}\n'


@pytest.fixture
def nobody_reads() -> Iterator[io.TextIOWrapper]:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        yield stream


def test_a_reader_that_has_gone_ends_no_work(nobody_reads: io.TextIOWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", nobody_reads)
    with output_for_answers():
        say("first")
        say("second")


def test_a_person_who_interrupts_reads_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, output_for_answers():
        raise KeyboardInterrupt
    assert ended.value.code == terminal.INTERRUPTED
    assert capsys.readouterr().err.startswith("Interrupted: ")


@pytest.mark.parametrize(("watched", "level", "shown"), [(True, 20, False), (True, 10, True), (False, 20, True)])
def test_a_person_who_watches_a_line_of_progress_reads_no_log_beside_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, watched: bool, level: int, shown: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: watched, raising=False)
    with caplog.at_level(level), only_warnings_on_a_terminal():
        log = logging.getLogger("airflow_kie.some.module")
        log.info("made")
        log.warning("slow")
    assert [record.message for record in caplog.records] == ["made"] * shown + ["slow"]


def test_what_airflow_logs_of_itself_does_not_come_between_the_lines_of_a_command(tmp_path: Path) -> None:
    program = (
        "import logging, structlog, airflow.settings\n"
        "from airflow_kie._airflow_private import process\n"
        "process.begin_command()\n"
        "for logger in (structlog.get_logger, logging.getLogger):\n"
        "    logger('airflow.providers.amazon.aws.utils.connection_wrapper.AwsConnectionWrapper').info('where from')\n"
        "    logger('airflow.sdk._shared.secrets_masker.secrets_masker').warning('too short')\n"
        "    logger('airflow.providers.amazon.aws.hooks.s3').warning('a warning')\n"
        "    logger('airflow_kie.hooks.sending').info('our own')\n"
    )
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path)}
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    shown = ran.stdout + ran.stderr
    assert [shown.count(line) for line in ("where from", "too short", "a warning", "our own")] == [0, 0, 2, 2]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_json_stays_json_whatever_a_terminal_knows(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    kept, value = io.BytesIO(), {"title": "Ünïcödé ♫ 😀 \x7f half \ud800"}
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding=encoding))
    say_json(value)
    assert json.loads(kept.getvalue().decode(encoding)) == value


@pytest.mark.parametrize(("answer", "agrees"), [("yes\n", True), ("YES\n", True), ("y\n", False), ("", False)])
def test_a_question_is_seen_where_the_answers_go_to_a_file_and_what_is_not_yes_gets_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str, agrees: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    with output_for_answers():
        assert agreed("2 songs\nwill be restarted.", yes=False) is agrees
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("2 songs\\nwill be restarted. Type yes to continue: ")
    assert ("so it is not done" in err) is not agrees
