"""./run up, down and demo with all their real processes: nothing is started twice, nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from local_stack.health import unhealthy
from local_stack.processes import members
from local_stack.running import RunningStack
from local_stack.settings import PROJECT
from local_stack.stack import stop_kept
from local_stack.state import StackState, read_state
from song_stack import eventually

TIMEOUT = 900.0
"""Seconds for a command that takes ten of them: also where the machine is slow, or was suspended for two minutes."""
DEAD_PROXY = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
}
"""The environment of somebody behind a proxy that does not answer: nothing of a stack may be asked through it."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a blank in its path for the stacks of one test; what is still up at the end is stopped."""
    local = tmp_path / "local stacks"
    yield local
    for file in [local / "stack.json", *local.glob("*/stack.json")]:
        state = read_state(file.parent)
        if state is not None:
            stop_kept(file.parent, state)


def start_command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a command of ./run whose stacks are in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "local_stack", *arguments],
        env={**os.environ, **DEAD_PROXY, "PYTHONPATH": str(PROJECT / "include"), "KIE_STACK_DIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def command(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a command of ./run to its end and return its exit code and its output."""
    with start_command(folder, *arguments) as process:
        output, _ = process.communicate(timeout=TIMEOUT)
        return process.returncode, output


def wait_for_part(folder: Path, part: str, process: subprocess.Popen[str]) -> StackState:
    """Wait until a demo has started a part of its stack."""
    while process.poll() is None:
        for file in folder.glob("demo-*/stack.json"):
            state = read_state(file.parent)
            if state is not None and part in state.parts:
                return state
        time.sleep(0.05)
    raise AssertionError(f"The demo ended: {process.communicate()[0]}")


def session_ends(state: StackState) -> bool:
    """Wait until no process of a stack's session or with its mark is left."""
    return eventually(lambda: not members(state.stack_id, state.keeper.pid), "no process is left")


def postgres_ends(folder: Path) -> bool:
    """Wait until no process of PostgreSQL, whose clients have sessions of their own, works in a stack's folder."""

    def working() -> list[str]:
        found = (process.info["cwd"] or "" for process in psutil.process_iter(["cwd"]))
        return [cwd for cwd in found if cwd.startswith(str(folder))]

    eventually(lambda: not working(), "no process works in the folder of a stack")
    return eventually(lambda: not list(folder.glob("*/postgres/postmaster.pid")), "what it left is removed")


def answers(url: str) -> bool:
    """Say whether somebody answers at an address, whatever it is."""
    with contextlib.suppress(httpx.TransportError):
        return bool(httpx.get(url, trust_env=False, timeout=300).status_code)
    return False


def test_up_is_up_once_and_down_leaves_no_process(folder: Path) -> None:
    code, output = command(folder, "up")
    assert code == 0, output
    state = read_state(folder)
    assert state is not None
    assert state.kept  # as soon as the command has ended: "down" would not find it otherwise
    assert state.urls["airflow"] in output

    code, again = command(folder, "up")
    assert code == 0
    assert state.urls["airflow"] in again
    assert read_state(folder) == state

    assert command(folder, "down")[0] == 0
    assert session_ends(state)
    assert command(folder, "down") == (0, "No stack is running.\n")


@pytest.mark.parametrize(
    ("number", "part"),
    [
        (signal.SIGINT, "triggerer"),  # the last one to be started
        (signal.SIGTERM, "s3"),
        (signal.SIGHUP, "postgres"),
        (signal.SIGKILL, "triggerer"),
    ],
)
def test_an_interrupted_demo_leaves_no_process(folder: Path, number: signal.Signals, part: str) -> None:
    with start_command(folder, "demo") as process:
        state = wait_for_part(folder, part, process)
        process.send_signal(number)
        output, _ = process.communicate(timeout=TIMEOUT)
    assert session_ends(state) and postgres_ends(folder)
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert "The demo was interrupted while the stack was starting" in output


def test_a_stack_whose_keeper_is_killed_leaves_no_process(folder: Path) -> None:
    with start_command(folder, "demo") as process:
        state = wait_for_part(folder, "triggerer", process)
        os.kill(state.keeper.pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "keeper failed: The keeper ended with exit code -9." in output
    assert session_ends(state) and postgres_ends(folder)
    eventually(lambda: not list(folder.glob("*/s3/ports.json")), "the sockets of the S3 server are removed")


def test_a_demo_says_which_part_failed_and_shows_its_log(folder: Path) -> None:
    with start_command(folder, "demo") as process:
        state = wait_for_part(folder, "postgres", process)
        os.kill(state.parts["s3"].pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "s3 failed: s3 ended with exit code -9 while the stack started." in output
    (log,) = folder.glob("*/logs/s3.log")
    assert log.read_text() and log.read_text().splitlines()[-1] in output
    assert "All logs: " in output
    assert session_ends(state)


def test_a_part_of_a_running_stack_that_is_killed_comes_back_where_it_was(stack: RunningStack) -> None:
    before = stack.state
    for part in ("s3", "postgres"):  # of all parts those whose loss no other test on this stack notices
        stack.kill(part)
        eventually(lambda part=part: stack.state.parts[part] != before.parts[part], f"{part} is started again")  # type: ignore[misc]
    eventually(lambda: answers(before.urls["s3"]), "S3 answers where it was")
    eventually(lambda: not unhealthy(before.urls["airflow"]), "Airflow has its database again")
    assert stack.state.urls == before.urls


def test_airflow_knows_the_dags_of_the_project(stack: RunningStack) -> None:
    stack.airflow.wait_for_dag("music_cover", seconds=TIMEOUT)
    assert stack.airflow.import_errors() == {}
