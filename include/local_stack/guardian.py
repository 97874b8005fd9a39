"""The guardian: waits for its keeper to end, in whatever way, and then kills what is left of the stack."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from local_stack.processes import kill_remaining


def fork_guardian(stack_id: str, *, own_session: bool, afterwards: Callable[[], object] = lambda: None) -> int:
    """Fork a process that outlives this one by a moment and leaves nothing of the stack behind.

    The guardian holds the reading end of a pipe whose writing end only the caller has (children that are started
    later do not inherit it), so the end of the caller, SIGKILL included, is the end of the file.

    :param stack_id: the stack's mark.
    :param own_session: whether the caller leads a session that only the stack's processes are in; a command in a
        person's terminal does not.
    :param afterwards: what is done once no process is left.
    :return: the guardian's process id.
    """
    reading, writing = os.pipe()
    guardian = os.fork()
    if guardian:
        os.close(reading)
        return guardian
    os.close(writing)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3 if not own_session else 1):
        os.dup2(nowhere, descriptor)  # nobody is to wait for the end of this output
    with contextlib.suppress(OSError):
        os.read(reading, 1)
    # This process is of that session, so its number is nobody else's.
    kill_remaining(stack_id, os.getsid(0) if own_session else None)
    afterwards()
    os._exit(0)
