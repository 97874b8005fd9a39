"""When a poll, and no callback, last found that a task has ended although a callback was expected.

One Airflow Variable for each connection, beside the receiver's own `kie_callback__…`: where polls find what callbacks
should have told, callbacks get lost on the way.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowRuntimeError

WRITE_EVERY = timedelta(seconds=60)
"""Between two writes for a connection, however many tasks end."""
DESCRIPTION = "When a poll last found what a callback should have told; written by tasks."

log = logging.getLogger(__name__)


def variable_of(kie_conn_id: str) -> str:
    """Return the name of the Variable that keeps a connection's last poll hit."""
    return f"kie_poll_hit__{kie_conn_id}"


def parsed(text: str | None) -> datetime | None:
    """Return what a Variable's text says; None if it says nothing of ours."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else None


def note_poll_hit(kie_conn_id: str) -> None:
    """Note that a poll found the end of a task; for tasks. Nothing depends on it, so nothing fails with it."""
    name, now = variable_of(kie_conn_id), datetime.now(UTC)
    try:
        before = parsed(Variable.get(name, default=None))
        if before is None or now - before >= WRITE_EVERY:
            Variable.set(name, now.isoformat(timespec="seconds"), description=DESCRIPTION)
    except AirflowRuntimeError as error:
        log.warning("That a poll found the end could not be noted (%s); only the doctor misses it.", error)


def last_poll_hit(kie_conn_id: str) -> datetime | None:
    """Return when a poll last found what a callback should have told; None: never, as far as is known here.

    Reads Airflow's database: for commands on the api-server's machine, not for tasks.

    :param kie_conn_id: the Airflow connection.
    """
    from airflow_kie._airflow_private import metadata

    with metadata.metadata_session() as session:
        return parsed(metadata.variable(session, variable_of(kie_conn_id)))
