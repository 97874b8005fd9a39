"""Threads of the pages' own: where S3 does not answer, pages wait for it, and Airflow's own routes do not.

FastAPI runs the functions of all routes of a process in the same forty threads, those of Airflow's API for tasks too.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, TypeVar

import anyio
from anyio import to_thread
from fastapi import APIRouter

Result = TypeVar("Result")
THREADS = 40
_LIMITER = anyio.CapacityLimiter(THREADS)


def in_own_thread(function: Callable[..., Result]) -> Callable[..., Coroutine[Any, Any, Result]]:
    """Let a function that may block, of a route or a dependency, run in one of these threads."""

    @wraps(function)
    async def run(**given: Any) -> Result:
        return await to_thread.run_sync(lambda: function(**given), limiter=_LIMITER)

    # Some versions of FastAPI would take the types of the parameters from this module's names.
    run.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
    return run


class PageRouter(APIRouter):
    """A router whose functions run in these threads."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **known: Any) -> None:
        """Add a route.

        :param endpoint: may block.
        """
        super().add_api_route(path, in_own_thread(endpoint), **known)


async def streamed(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces that are made in these threads.

    :param pieces: may block.
    """
    while (piece := await to_thread.run_sync(next, pieces, None, limiter=_LIMITER)) is not None:
        yield piece
