"""What happens where an Airflow lacks an internal that is used: its feature is switched off, and the log says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

MISSING = (ImportError, AttributeError, TypeError)
"""What is raised if a version of Airflow has removed an internal, or changed its signature."""
_logged: set[str] = set()


def switched_off(otherwise: Callable[[], Any], instead: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function answer without an internal that is missing, and log that once in a process.

    :param otherwise: gives the answer without it.
    :param instead: what does not work then, and what does instead; sentences for the log and the docstring.
    """

    def guard(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except MISSING as error:
                if (name := function.__name__) not in _logged:
                    _logged.add(name)
                    template = "airflow_kie does not know this version of Airflow: %s failed (%s: %s). %s"
                    log.warning(template, name, type(error).__name__, error, instead)
                return otherwise()  # type: ignore[no-any-return]

        guarded.__doc__ = f"{function.__doc__}\nWithout it: {instead}"
        return guarded

    return guard


def with_session(function: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Let a function read Airflow's metadata database: only in the api-server and in commands.

    Airflow 3.3.2: `utils.session.create_session`. Without it the function does what it does without its own internal.
    """

    @wraps(function)
    def in_session(*args: P.args, **kwargs: P.kwargs) -> R:
        from airflow.utils.session import create_session

        with create_session() as session:
            return function(session, *args, **kwargs)

    return in_session
