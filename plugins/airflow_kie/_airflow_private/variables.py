"""Airflow's Variables in its database, and its audit log: for commands and the api-server.

Nothing here is switched off where an internal is missing: who stops spending has to know that it did not work.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import cast


def in_task() -> bool:
    """Return whether this is a process that Airflow's supervisor has started: a task, or a trigger.

    Airflow 3.3.2: `sdk.execution_time.task_runner.SUPERVISOR_COMMS`. Without it the database is asked instead, which
    no task reaches: the caller then takes it that nothing may be paid for.
    """
    return getattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS", None) is not None


def variables_with_prefix(prefix: str) -> dict[str, str | None]:
    """Return the texts of the Variables whose names begin so; None for one that cannot be decrypted.

    Airflow 3.3.2: `models.variable.Variable`; the public way is GET /api/v2/variables with a token. `Variable.get`
    would ask secrets backends first and take an error for "not found". Without it a command cannot look.
    """
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalars(select(Variable).where(Variable.key.startswith(prefix, autoescape=True)))
        return {str(row.key): None if row.val is None else str(row.val) for row in found}


def write_variable(key: str, text: str, description: str) -> None:
    """Write a Variable (Airflow 3.3.2: `models.variable.Variable`; public: PATCH /api/v2/variables with a token).

    Without it the command fails and says so.
    """
    from airflow.models.variable import Variable

    Variable.set(key, text, description=description)


def delete_variable(key: str) -> None:
    """Delete a Variable (Airflow 3.3.2: `models.variable.Variable`; public: DELETE /api/v2/variables with a token).

    Without it the command fails and says so.
    """
    from airflow.models.variable import Variable

    Variable.delete(key)


def audited(name: str, function: Callable[[Namespace], int]) -> Callable[[Namespace], int]:
    """Return a command that Airflow's audit log records: event ``cli_<name>``, who, on which host, the command line.

    Airflow 3.3.2: `utils.cli.action_cli`, as its own commands use it. Without it the command fails: a change of the
    switch that nobody can find later is worse than pausing the DAGs.

    :param name: the event's.
    :param function: the command.
    """
    from airflow.utils.cli import action_cli

    def recorded(args: Namespace) -> int:
        return function(args)

    recorded.__name__ = name
    return cast("Callable[[Namespace], int]", action_cli(recorded, check_db=False))  # type: ignore[no-untyped-call]
