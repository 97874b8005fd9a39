"""What task instances keep in Airflow's task state store: for commands and the api-server, which reach its database.

A task reads its own state alone, and no public route lists keys of several tasks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from airflow_kie._airflow_private.fallback import with_session
from airflow_kie._airflow_private.metadata import of_task_instance

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_BACKENDS = {
    ("state_store", "backend"): "airflow.state.metastore.MetastoreBackend",
    ("workers", "state_store_backend"): "",
}
"""Where Airflow keeps the states in its own database."""


@dataclass(frozen=True)
class StateOf:
    """The task instance whose state it is."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def __str__(self) -> str:
        index = f" [{self.map_index}]" if self.map_index >= 0 else ""
        return f"task {self.task_id}{index} of DAG {self.dag_id}, run {self.run_id}"

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value.

        Airflow 3.3.2: `state.get_state_backend`, as the routes of its own API use it. Without it a command cannot read.
        """
        from airflow.state import get_state_backend

        value = get_state_backend().get(self._scope, key)
        return default if value is None else json.loads(value)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        """Store a value, which never expires by itself (see :meth:`get`)."""
        from airflow.state import get_state_backend

        get_state_backend().set(self._scope, key, json.dumps(value))

    @property
    def _scope(self) -> Any:
        from airflow.state import TaskScope

        return TaskScope(dag_id=self.dag_id, run_id=self.run_id, task_id=self.task_id, map_index=self.map_index)


@with_session
def stored_keys(session: Session, prefix: str) -> dict[StateOf, list[str]]:
    """Return the keys that begin so, by the task instances that keep them.

    Airflow 3.3.2: `models.task_state_store.TaskStateStoreModel`. Without it a command cannot list.
    """
    from airflow.models.task_state_store import TaskStateStoreModel as Stored

    columns = (Stored.dag_id, Stored.run_id, Stored.task_id, Stored.map_index, Stored.key)
    found: dict[StateOf, list[str]] = {}
    rows = session.execute(select(*columns).where(Stored.key.startswith(prefix, autoescape=True)))
    for dag_id, run_id, task_id, map_index, key in rows:
        if key.startswith(prefix):  # SQLite's LIKE does not tell capitals
            found.setdefault(StateOf(dag_id, run_id, task_id, map_index), []).append(key)
    return found


@with_session
def is_running(session: Session, of: StateOf) -> bool:
    """Return whether a task instance runs now.

    Airflow 3.3.2: `models.taskinstance.TaskInstance.state`. Without it a command changes nothing.
    """
    from airflow.models.taskinstance import TaskInstance

    states = session.scalars(select(TaskInstance.state).where(of_task_instance(of)))
    return any(str(state) in ("running", "restarting") for state in states)


def kept_elsewhere() -> str:
    """Return the setting by which the states are not in Airflow's database, and cannot be listed; empty: they are.

    Airflow 3.3.2: its configuration, whose public form is for tasks. Without it a command cannot list.
    """
    from airflow.configuration import conf

    for (section, name), default in _BACKENDS.items():
        if conf.get(section, name, fallback=default) != default:
            return f"[{section}] {name}"
    return ""
