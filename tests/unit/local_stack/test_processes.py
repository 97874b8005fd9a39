"""No process of a stack is left: not the orphans, not those that hide their mark, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from local_stack.processes import MARK, end, kill_remaining, members, start

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
# What Airflow's workers do: a child of a child that outlives its parent.
ORPHAN = f"import os, sys; os.fork() and sys.exit(); {SLEEP}"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


@pytest.fixture
def mark() -> Iterator[str]:
    """A stack's mark; whatever still carries it at the end of the test is killed."""
    name = uuid.uuid4().hex
    yield name
    kill_remaining(name, None)


def launch(program: str, mark: str, *, new_session: bool = False) -> subprocess.Popen[str]:
    """Start a Python program with a mark and wait until it is up."""
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=new_session,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    child.stdout.close()
    return child


def test_an_orphan_is_found_by_its_mark_and_killed(mark: str) -> None:
    launch(ORPHAN, mark).wait()
    assert len(members(mark, None)) == 1
    assert kill_remaining(mark, None) == []
    assert members(mark, None) == []


def test_what_hides_its_mark_is_found_by_its_session(mark: str) -> None:
    with launch(SLEEP, "overwritten by a process title", new_session=True) as child:
        assert members(mark, None) == []
        assert [process.pid for process in members(mark, child.pid)] == [child.pid]
        assert kill_remaining(mark, child.pid) == []
        assert members(mark, child.pid) == []


def test_processes_of_another_stack_are_left_alone(mark: str) -> None:
    other = uuid.uuid4().hex
    with launch(SLEEP, other) as child:
        kill_remaining(mark, None)
        assert child.poll() is None
        child.kill()


def test_the_spared_are_left_alone(mark: str) -> None:
    with launch(SLEEP, mark) as child:
        assert kill_remaining(mark, None, spare=[child.pid]) == []
        assert child.poll() is None
        child.kill()


def test_a_part_that_ignores_sigterm_is_killed(mark: str, tmp_path: Path) -> None:
    environment = {**os.environ, MARK: mark}
    log = tmp_path / "part.log"
    child = start([sys.executable, "-c", STUBBORN], cwd=tmp_path, log=log, environment=environment)
    while "up" not in log.read_text():
        assert child.poll() is None
    end([child], grace=0.1)
    assert child.returncode == -9


def test_a_part_runs_in_a_process_group_of_its_own(mark: str, tmp_path: Path) -> None:
    environment = {**os.environ, MARK: mark}
    child = start([sys.executable, "-c", SLEEP], cwd=tmp_path, log=tmp_path / "log", environment=environment)
    assert os.getpgid(child.pid) == child.pid
    end([child], grace=5)
    assert not psutil.pid_exists(child.pid)
