"""Processes of a stack: starting them, and making sure that none is left.

All processes of one stack share a session (the keeper's) and carry KIE_STACK_ID in their environment. Airflow forks
workers and task runners that outlive their parents when these are killed, and its process titles may overwrite the
environment that the system shows: the session finds those. What leaves the session still carries the mark.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

MARK = "KIE_STACK_ID"


def start(command: Sequence[str], *, cwd: Path, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start one part of a stack in a process group of its own, its output appended to a log file.

    :param command: program and arguments.
    :param cwd: working folder.
    :param log: file for standard output and standard error.
    :param environment: the whole environment of the process.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


def members(stack_id: str, session: int | None, spare: Collection[int] = ()) -> list[psutil.Process]:
    """Return the running processes that belong to a stack.

    :param stack_id: value of KIE_STACK_ID that its processes carry.
    :param session: session of the stack while its leader is known to be alive; None where the number may have been
        given to somebody else.
    :param spare: process ids to leave out.
    """
    mine = {os.getpid(), *spare}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in mine and _belongs(process, stack_id, session) and _runs(process)
    ]


def kill_remaining(stack_id: str, session: int | None, spare: Collection[int] = (), seconds: float = 10.0) -> list[str]:
    """Kill all processes that are left of a stack, again and again until none is found.

    :param stack_id: value of KIE_STACK_ID that its processes carry.
    :param session: session of the stack, as for :func:`members`.
    :param spare: process ids to leave alone.
    :param seconds: how long to try.
    :return: what could not be killed, as ``pid name``; normally empty.
    """
    deadline = time.monotonic() + seconds
    while left := members(stack_id, session, spare):
        if time.monotonic() > deadline:
            return [f"{process.pid} {_name(process)}" for process in left]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=0.5)
    return []


def end(children: Iterable[subprocess.Popen[bytes]], grace: float, number: signal.Signals = signal.SIGTERM) -> None:
    """Ask processes to end, wait, then kill those that did not.

    :param children: processes started by :func:`start`.
    :param grace: seconds for all of them together.
    :param number: the signal that asks.
    """
    running = [child for child in children if child.poll() is None]
    for child in running:
        child.send_signal(number)
    deadline = time.monotonic() + grace
    for child in running:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _belongs(process: psutil.Process, stack_id: str, session: int | None) -> bool:
    try:
        if session is not None and os.getsid(process.pid) == session:
            return True
        return bool(process.environ().get(MARK) == stack_id)
    except (OSError, psutil.Error):
        return False


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return "?"
