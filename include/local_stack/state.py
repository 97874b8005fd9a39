"""The state file of a stack: what runs where, for the person's commands and for the cleaning up."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil  # type: ignore[import-untyped]

Phase = Literal["starting", "ready", "stopping", "stopped", "failed"]
FILE = "stack.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class ProcessMark:
    """A process that cannot be mistaken for a later one with the same number.

    :param pid: process id.
    :param started: when it was started, see :func:`start_of`.
    :param boot: which start of the machine that was, see :func:`this_boot`.
    """

    pid: int
    started: float
    boot: str = ""

    @classmethod
    def of(cls, pid: int) -> ProcessMark:
        """Return the mark of a process that runs now."""
        return cls(pid, start_of(psutil.Process(pid)), this_boot())

    def process(self) -> psutil.Process | None:
        """Return the process if it still runs, otherwise None."""
        try:
            process = psutil.Process(self.pid)
            # Two reads of one start time differ by less than a clock tick; a reused number differs by much more.
            same = self.boot == this_boot() and abs(start_of(process) - self.started) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def start_of(process: psutil.Process) -> float:
    """Return when a process was started, by a clock that nobody sets.

    Linux knows seconds since the machine's start; psutil makes them a time of day, which moves with every correction of
    the clock, such as the one after a virtual machine was suspended. Other systems record the time of day itself.

    :raises psutil.NoSuchProcess: when the process does not exist.
    """
    began = float(process.create_time())
    return began - psutil.boot_time() if sys.platform == "linux" else began


def this_boot() -> str:
    """Return an id of this start of the machine, where start times begin again with it; or nothing."""
    return _BOOT_ID.read_text().strip() if sys.platform == "linux" else ""


@dataclass(frozen=True)
class StackState:
    """The state of a stack.

    :param stack_id: value of KIE_STACK_ID in the environment of all its processes.
    :param keeper: the process that holds the stack; its pid is also the session of all the stack's processes.
    :param guardian: the process that cleans up if the keeper dies.
    :param phase: where the stack is between start and stop.
    :param kept: the stack stays up without the command that started it.
    :param message: a sentence about the phase.
    :param failed_part: the part that ended or did not start, when the phase is ``failed``.
    :param urls: address of each server: ``airflow``, ``simulator``, ``s3``.
    :param parts: running processes by name.
    :param seconds: how long each step of the start took.
    """

    stack_id: str
    keeper: ProcessMark
    guardian: ProcessMark | None = None
    phase: Phase = "starting"
    kept: bool = False
    message: str = ""
    failed_part: str = ""
    urls: dict[str, str] = field(default_factory=dict)
    parts: dict[str, ProcessMark] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether the keeper still runs."""
        return self.keeper.process() is not None


def write_state(home: Path, state: StackState) -> None:
    """Replace a stack's state file in one step, so that readers see the old or the new one."""
    path = home / FILE
    draft = path.with_name(f".{FILE}.{os.getpid()}")
    draft.write_text(json.dumps(asdict(state), indent=1))
    draft.replace(path)


def read_state(home: Path) -> StackState | None:
    """Return what a stack's state file says, or None when there is none that can be read."""
    try:
        raw: dict[str, Any] = json.loads((home / FILE).read_text())
        raw["keeper"] = ProcessMark(**raw["keeper"])
        raw["guardian"] = ProcessMark(**raw["guardian"]) if raw["guardian"] else None
        raw["parts"] = {name: ProcessMark(**mark) for name, mark in raw["parts"].items()}
        return StackState(**raw)
    except (OSError, ValueError, KeyError, TypeError):
        return None
