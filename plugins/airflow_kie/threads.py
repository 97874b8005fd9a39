"""Threads of our own, in which an event loop calls what may block."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


@functools.cache
def _own_threads() -> ThreadPoolExecutor:
    """Return this process's threads.

    Airflow 3.3.2: a task's process ends by `os._exit`, which joins no thread, and runs the exit functions before that
    were registered after its fork (`supervisor._fork_main`). Without this one, a request that is being sent while
    another one fails the task would be in doubt.
    """
    threads = ThreadPoolExecutor(thread_name_prefix="airflow-kie")
    atexit.register(threads.shutdown, cancel_futures=True)
    return threads


os.register_at_fork(after_in_child=_own_threads.cache_clear)


async def in_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call in a thread of our own what may ask Airflow's supervisor, from an event loop of a task.

    Airflow 3.3.2: `CommsDecoder.asend` holds the one lock of the line to the supervisor while it waits for a thread of
    asyncio's own pool. Without a pool for these calls alone, a dozen that wait for that lock take its last thread, and
    the task hangs for good. On the event loop itself such a call raises `DeadlockImminentError`.

    :param call: may block.
    """
    work = functools.partial(contextvars.copy_context().run, call, *args, **kwargs)
    return cast("T", await asyncio.get_running_loop().run_in_executor(_own_threads(), work))
