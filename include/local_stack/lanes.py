"""Commands that run side by side: each lane one after the other, each command's output in one piece when it ends."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRESS_SECONDS = 30.0
YIELDING = 5
"""Nice value of a lane that makes way; a process of it gets about a third of the time of one that does not."""
_AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")


@dataclass(frozen=True)
class Lane:
    """Commands that run one after the other.

    :param commands: each with its arguments.
    :param environment: their whole environment.
    :param yields: whether it makes way for the other lanes: a stack that gets no time loses its heartbeats.
    :param fills: whether it waits until another lane has ended, and takes its place.
    """

    commands: Sequence[Sequence[str]]
    environment: Mapping[str, str]
    yields: bool = False
    fills: bool = False


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    :param command: program and arguments.
    :param code: its exit code.
    :param output: what it has written.
    :param seconds: how long it took.
    """

    command: Sequence[str]
    code: int
    output: str
    seconds: float


class _Running:
    """A command under way, its output in a file."""

    def __init__(self, command: Sequence[str], lane: Lane, cwd: Path) -> None:
        self.command, self.began = command, time.monotonic()
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by finish
        prefix = ["nice", "-n", str(YIELDING)] if lane.yields else []
        # A session of its own: Linux may share the processor out among sessions first, whatever their nice values.
        self.process = subprocess.Popen(
            [*prefix, *command],
            cwd=cwd,
            env=lane.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=lane.yields,
        )
        if lane.yields:
            yield_as_session(self.process.pid)

    def written(self) -> str:
        """Return what was written so far."""
        return os.pread(self.output.fileno(), os.fstat(self.output.fileno()).st_size, 0).decode(errors="replace")

    def finish(self) -> Ended:
        """Return the command, which has ended."""
        ended = Ended(self.command, self.process.returncode, self.written(), time.monotonic() - self.began)
        self.output.close()
        return ended

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
        self.output.close()


def yield_as_session(leader: int) -> None:
    """Let the whole session of a process make way, where Linux weighs sessions (``autogroup``) and not processes."""
    with contextlib.suppress(OSError):
        if _AUTOGROUP.read_text().strip() == "1":
            Path(f"/proc/{leader}/autogroup").write_text(str(YIELDING))


def side_by_side(
    lanes: Sequence[Lane], cwd: Path, name: Callable[[Sequence[str]], str], say: Callable[[str], None]
) -> Iterator[Ended]:
    """Run lanes at the same time and yield each command when it ends; whatever still runs at the end is killed.

    :param lanes: what runs beside each other.
    :param cwd: the commands' working folder.
    :param name: what a command is called in the progress line.
    :param say: takes a line on the progress, every half a minute.
    """
    waiting = [deque(lane.commands) for lane in lanes]
    running: dict[int, _Running] = {}
    places = sum(not lane.fills for lane in lanes)
    began = reported = time.monotonic()
    try:
        while running or any(waiting):
            for number, lane in sorted(enumerate(lanes), key=lambda each: each[1].fills):
                if number not in running and waiting[number] and (len(running) < places or not lane.fills):
                    running[number] = _Running(waiting[number].popleft(), lane, cwd)
            for number in [number for number, one in running.items() if one.process.poll() is not None]:
                yield running.pop(number).finish()
            if time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                progress = [f"{name(one.command)} {how_far(one.written())}" for one in running.values()]
                say(f"{clock(reported - began)}  {', '.join(progress)}")
            time.sleep(0.1)
    finally:
        for one in running.values():
            one.kill()


def how_far(output: str) -> str:
    """Say how far a run of pytest is: its last percentage, and what failed until then.

    :param output: what it has written so far.
    """
    tests = re.findall(r"^(?:tests/\S+ )?([.FEsx]+) *\[ *(\d+)%\]$", output, re.M)
    failed = sum(marks.count("F") + marks.count("E") for marks, _ in tests)
    return (f"{tests[-1][1]} %" if tests else "runs") + (f" ({failed} failed)" if failed else "")


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
