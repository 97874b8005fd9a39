"""The state file of a stack, and processes that cannot be taken for later ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from local_stack.state import FILE, ProcessMark, StackState, read_state, write_state


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    me = ProcessMark.of(os.getpid())
    state = StackState(
        "id",
        me,
        guardian=me,
        phase="ready",
        kept=True,
        urls={"airflow": "http://x"},
        parts={"s3": me},
        seconds={"s3": 1},
    )
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert state.alive


def test_a_missing_or_damaged_state_file_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    for text in ("", "{", "[]", "{}", '{"stack_id": "x"}'):
        (tmp_path / FILE).write_text(text)
        assert read_state(tmp_path) is None


def test_another_process_with_the_same_number_is_not_the_keeper() -> None:
    former = ProcessMark(os.getpid(), started=1_000_000.0)
    assert former.process() is None
    assert not StackState("id", former).alive


def test_a_clock_that_was_corrected_in_the_meantime_makes_nobody_a_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = ProcessMark.of(os.getpid())
    for name in ("self", "sys", str(os.getpid())):
        (tmp_path / name).symlink_to(Path("/proc") / name)
    # Linux computes when it was started from its clock now; other systems have no such file and no such trouble.
    stat = Path("/proc/stat").read_text() if sys.platform == "linux" else ""
    (tmp_path / "stat").write_text(
        re.sub(r"^btime (\d+)", lambda found: f"btime {int(found[1]) + 120}", stat, flags=re.M)
    )
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert mark.process() is not None


def test_a_process_of_an_earlier_start_of_the_machine_does_not_run() -> None:
    mark = ProcessMark.of(os.getpid())
    assert ProcessMark(mark.pid, mark.started, boot="another one").process() is None


def test_a_process_that_has_ended_but_is_not_reaped_does_not_run() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL) as child:
        mark = ProcessMark.of(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert mark.process() is None


def test_a_process_that_is_gone_does_not_run() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        mark = ProcessMark.of(child.pid)
        assert mark.process() is not None
        child.kill()
        child.wait()
    assert mark.process() is None
