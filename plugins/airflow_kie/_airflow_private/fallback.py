"""What happens where an Airflow lacks an internal that is used: its feature is switched off, and a line says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

MISSING = (ImportError, AttributeError, TypeError)
"""How it shows that an Airflow has no longer, or calls otherwise, what one of these functions needs."""
_failure_signature: set[str] = set()


def switched_off(otherwise: Callable[[], R], instead: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function answer without an internal that is missing, and log that once in a process.

    :param otherwise: gives the answer without it.
    :param instead: what does not work then, and what does instead; sentences for the log.
    """

    def guard(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except MISSING as error:
                say_missing(function.__name__, error, instead)
                return otherwise()

        return guarded

    return guard


def say_missing(what: str, error: Exception, instead: str) -> None:
    """Log, once in a process for each of them, that an internal is missing."""
    if what not in _failure_signature:
        _failure_signature.add(what)
        log.warning(
            "This Airflow is not one that airflow_kie knows: %s has failed (%s: %s). %s",
            what,
            type(error).__name__,
            error,
            instead,
        )


def nothing() -> str | None:
    """Return None: the text that nobody knows."""
    return None
