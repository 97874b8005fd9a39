"""Airflow's Variables in its database: for commands and the api-server.

The public `Variable` of `airflow.sdk` asks a supervisor, which they do not have; the REST API needs a token. Only the
record of callbacks goes on without it: a person who stops spending has to know that it did not work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_kie._airflow_private.fallback import switched_off, with_session

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@with_session
def variables_with_prefix(session: Session, prefix: str) -> dict[str, str | None]:
    """Return the texts of the Variables whose names begin so; None for one that cannot be decrypted.

    Airflow 3.3.2: `models.variable.Variable`. `Variable.get` would ask secrets backends first and take an error for
    "not found". Without it a command cannot check.
    """
    from airflow.models.variable import Variable
    from sqlalchemy import select

    found = session.scalars(select(Variable).where(Variable.key.startswith(prefix, autoescape=True)))
    return {str(row.key): None if row.val is None else str(row.val) for row in found}


@switched_off(lambda: None, "The last callback's time is unknown; nothing else depends on it.")
def variable(key: str) -> str | None:
    """Return a Variable's text, None if there is none (Airflow 3.3.2: `models.variable.Variable`)."""
    return variables_with_prefix(key).get(key)


def write_variable(key: str, text: str, description: str) -> None:
    """Write a Variable (Airflow 3.3.2: `models.variable.Variable`). Without it the command fails and says so."""
    from airflow.models.variable import Variable

    Variable.set(key, text, description=description)


record_variable = switched_off(lambda: None, "The last callback's time is not recorded; nothing else depends on it.")(
    write_variable
)


def delete_variable(key: str) -> None:
    """Delete a Variable (Airflow 3.3.2: `models.variable.Variable`). Without it the command fails and says so."""
    from airflow.models.variable import Variable

    Variable.delete(key)
