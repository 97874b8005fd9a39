"""The guardian: waits for its keeper to end, in whatever way, and then kills what is left of the stack."""

from __future__ import annotations

import contextlib
import os
import signal

from local_stack.processes import sweep


def fork_guardian(stack_id: str) -> int:
    """Fork a process that outlives this one by a moment and leaves nothing of the stack behind.

    The guardian holds the reading end of a pipe whose writing end only the caller has (children that are started
    later do not inherit it), so the end of the caller, SIGKILL included, is the end of the file.

    :param stack_id: the stack's mark.
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
    session = os.getsid(0)
    with contextlib.suppress(OSError):
        os.read(reading, 1)
    sweep(stack_id, session)  # this process is of that session, so the number is nobody else's
    os._exit(0)
