"""A stack as its commands and tests hold it: start, wait, keep, stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped]

from local_stack.keeper import KEEP
from local_stack.parts import INCLUDE, clear_up
from local_stack.processes import MARK, kill_remaining
from local_stack.settings import StackSettings
from local_stack.state import StackState, read_state, start_of, this_boot


class StackFailed(Exception):
    """A stack did not start or did not stay up.

    :param part: the part that failed.
    :param message: what happened.
    :param log: the part's log file.
    """

    def __init__(self, part: str, message: str, log: Path) -> None:
        super().__init__(message)
        self.part = part
        self.log = log


class Stack:
    """A running stack. As a context manager it is stopped at the end, whatever happens."""

    def __init__(self, settings: StackSettings) -> None:
        """Start the keeper; the stack comes up while the caller goes on. See :meth:`wait_until_ready`.

        :param settings: the stack.
        """
        self.settings = settings
        self._kept = False
        self.stack_id = uuid.uuid4().hex
        settings.home.mkdir(parents=True, exist_ok=True)
        settings.logs.mkdir(exist_ok=True)
        (settings.home / "settings.json").write_text(settings.dumps())
        (settings.home / "stack.json").unlink(missing_ok=True)
        with (settings.logs / "keeper.log").open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-m", "local_stack.keeper", str(settings.home), self.stack_id],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=settings.home,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(INCLUDE), MARK: self.stack_id},
            )

    @property
    def state(self) -> StackState | None:
        """The state of the stack now; None in its first moments."""
        return read_state(self.settings.home)

    def check(self) -> StackState | None:
        """Return the state of a stack that is well.

        :raises StackFailed: when a part or the keeper itself has failed.
        """
        ended = self._keeper.poll()
        state = self.state
        if state is not None and state.phase in ("failed", "stopping", "stopped"):
            raise StackFailed(state.failed_part or "stack", state.message, self.log(state.failed_part))
        if ended is not None:
            raise StackFailed("keeper", f"The keeper ended with exit code {ended}.", self.log("keeper"))
        return state

    def wait_until_ready(self, show: Callable[[StackState], None] = lambda _state: None) -> StackState:
        """Wait until all parts are up and Airflow is healthy.

        :param show: called with the state while it starts.
        :raises StackFailed: when a part failed.
        """
        while True:
            state = self.check()
            if state is not None:
                show(state)
                if state.phase == "ready":
                    return state
            time.sleep(0.1)

    def log(self, part: str) -> Path:
        """Return the log file of a part."""
        named = self.settings.logs / f"{part}.log"
        return named if named.exists() else self.settings.logs / "keeper.log"

    def keep(self) -> StackState:
        """Let the stack stay up after this process and after this object's ``with``.

        :return: the state that says so, as ``./run down`` will read it.
        :raises StackFailed: when a part fails before the keeper has taken the word.
        """
        self._say(KEEP)
        while (state := self.check()) is None or not state.kept:
            time.sleep(0.05)
        self._kept = True
        return state

    def stop(self) -> None:
        """Stop the stack and wait until none of its processes is left; a stack that has ended stays ended."""
        self._say(b"")  # the end of the pipe is the word, and for a stack that was kept up, the signal
        if self._keeper.poll() is None:
            self._keeper.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._keeper.wait(2 * self.settings.grace + 15)
        if self._keeper.poll() is None:
            self._keeper.kill()
            self._keeper.wait()
        _wait_for_guardian(self.state)
        kill_remaining(self.stack_id, None)

    def _say(self, word: bytes) -> None:
        pipe = self._keeper.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(BrokenPipeError):
                pipe.write(word)
                pipe.close()

    def __enter__(self) -> Self:
        """Return the stack, which is starting."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the stack, unless it is to stay up."""
        if not self._kept:
            self.stop()


def stop_kept(home: Path, state: StackState, seconds: float = 25.0) -> list[str]:
    """Stop a stack that another command has left up, and whatever is left of one that died.

    :param home: folder of the stack.
    :param state: what its state file says.
    :param seconds: how long its keeper may take.
    :return: what could not be ended; normally empty.
    """
    keeper = state.keeper.process()
    if keeper is not None:
        keeper.send_signal(signal.SIGTERM)
        try:
            keeper.wait(seconds)
        except psutil.TimeoutExpired:
            keeper.kill()
            keeper.wait(5)
    _wait_for_guardian(state)
    left = kill_remaining(state.stack_id, _orphaned_session(state))
    clear_up(StackSettings(home))
    (home / "stack.json").unlink(missing_ok=True)
    return left


def _orphaned_session(state: StackState) -> int | None:
    """Return the session of a stack whose keeper is gone, or None where the number may be somebody else's by now.

    Linux and macOS give the number of a session to no new process while the session has members; a number without a
    process of its own therefore still means the stack's session, unless the machine was started again.
    """
    try:
        leader = psutil.Process(state.keeper.pid)
        gone = leader.status() == psutil.STATUS_ZOMBIE and start_of(leader) < state.keeper.started + 1
    except psutil.NoSuchProcess:
        gone = True
    this_start = state.keeper.boot == this_boot() and (state.keeper.boot or state.keeper.started > psutil.boot_time())
    return state.keeper.pid if gone and this_start else None


def _wait_for_guardian(state: StackState | None) -> None:
    """Let the guardian do its work: it knows the session, whose members may no longer show the stack's mark."""
    guardian = state.guardian.process() if state is not None and state.guardian is not None else None
    if guardian is not None:
        with contextlib.suppress(psutil.TimeoutExpired):
            guardian.wait(15)
