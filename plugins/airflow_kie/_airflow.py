"""The only room with Airflow's internals: what stands outside `airflow.sdk` and documented modules.

Each function says what it needs, in which Airflow that was seen, and what happens without it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_kie.webhook.address import Waiting

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

LOOK = {"outcome": "look"}
"""The event that makes a waiting task look at KIE's details; it claims nothing about them."""


@contextmanager
def metadata_session() -> Iterator[Session]:
    """Open a session on Airflow's database: only in the api-server (Airflow 3.3.2: airflow.utils.session)."""
    from airflow.utils.session import create_session

    with create_session() as session:
        yield session


def wake(session: Session, waiting: Waiting) -> bool:
    """Resume a deferred task instance at once, without its triggerer; return whether it was deferred.

    Airflow 3.3.2: `models.trigger.Trigger.submit_event`. Without it the triggerer's slow poll finds the end.
    """
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    found = session.scalars(
        select(TaskInstance).where(
            TaskInstance.dag_id == waiting.dag_id,
            TaskInstance.run_id == waiting.run_id,
            TaskInstance.task_id == waiting.task_id,
            TaskInstance.map_index == waiting.map_index,
        )
    ).one_or_none()
    return found is not None and _resume(session, found)


def wake_by_key(session: Session, keys: list[str]) -> int:
    """Resume the deferred task instances that hold one of these keys in their task state store; return how many.

    Airflow 3.3.2: `models.task_state_store.TaskStateStoreModel`. Without it the slow poll finds the end.
    """
    from airflow.models.task_state_store import TaskStateStoreModel as Stored
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import and_, select

    same = and_(
        TaskInstance.dag_id == Stored.dag_id,
        TaskInstance.run_id == Stored.run_id,
        TaskInstance.task_id == Stored.task_id,
        TaskInstance.map_index == Stored.map_index,
    )
    waiting = session.scalars(
        select(TaskInstance)
        .join(Stored, same)
        .where(Stored.key.in_(keys), TaskInstance.state == TaskInstanceState.DEFERRED)
    ).unique()
    return sum(_resume(session, found) for found in waiting)


def _resume(session: Session, task_instance: Any) -> bool:
    from airflow.models.trigger import Trigger
    from airflow.triggers.base import TriggerEvent
    from airflow.utils.state import TaskInstanceState

    if task_instance.state != TaskInstanceState.DEFERRED or task_instance.trigger_id is None:
        return False
    event = TriggerEvent(dict(LOOK))  # type: ignore[no-untyped-call]
    Trigger.submit_event(task_instance.trigger_id, event, session=session)
    return True


def send_asset_event(session: Session, uri: str, partition_key: str, extra: dict[str, Any]) -> bool:
    """Send an asset event with a partition key; return False while no DAG has declared the asset.

    Airflow 3.3.2: `assets.manager.asset_manager`; the public way is POST /api/v2/assets/events with a token.
    """
    from airflow.assets.manager import asset_manager
    from airflow.models.asset import AssetModel
    from sqlalchemy import select

    asset = session.scalars(select(AssetModel).where(AssetModel.uri == uri)).first()
    if asset is None:
        return False
    asset_manager.register_asset_change(
        asset=asset,
        extra=extra,
        partition_key=partition_key,
        source_is_api=True,
        api_user_teams=set(),
        session=session,
    )
    return True


def run_is_active(session: Session, dag_id: str, run_id: str) -> bool:
    """Return whether a DAG run is queued or running (Airflow 3.3.2: `models.dagrun.DagRun`)."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    state = session.scalars(select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).first()
    return str(state) in ("queued", "running")


def variable(session: Session, key: str) -> str | None:
    """Return a Variable's text, None if there is none (Airflow 3.3.2: `models.variable.Variable`).

    The public Variable of `airflow.sdk` asks a supervisor, which the api-server and commands do not have.
    """
    from airflow.models.variable import Variable
    from sqlalchemy import select

    found = session.scalars(select(Variable).where(Variable.key == key)).first()
    return None if found is None else found.get_val()


def set_variable(session: Session, key: str, value: str, description: str) -> None:
    """Write a Variable (Airflow 3.3.2: `models.variable.Variable`; public: PATCH /api/v2/variables with a token)."""
    from airflow.models.variable import Variable

    Variable.set(key, value, description=description, session=session)


def note_create_pool(dag_run: Any, name: str, key: str, problem_of: Callable[[bool | None], str]) -> None:
    """Write into a Variable what is wrong with a pool, unless it stands there already: only in the scheduler.

    It goes through the session in which the scheduler starts the run, so that the run's tasks see it; on SQLite a
    session of its own would wait for that one for ever. Airflow 3.3.2: `models.pool.Pool`, `models.variable.Variable`
    and the listener's dag_run being an object of that session. Without them nothing is noted, and the pool's tasks
    are refused before they are started.
    """
    from airflow.models.pool import Pool
    from airflow.models.variable import Variable
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        log.warning("Pool %s could not be looked at: the DAG run belongs to no session.", name)
        return
    with session.no_autoflush:
        found = session.scalars(select(Pool.include_deferred).where(Pool.pool == name)).one_or_none()
        stored = session.scalars(select(Variable).where(Variable.key == key)).one_or_none()
    problem = problem_of(found)
    note = json.dumps({"pool": name, "problem": problem})
    if stored is not None and stored.get_val() == note:
        return
    if problem:
        log.error("Pool %s of [kie] create_pool cannot be used: %s.", name, problem)
    description = "What the scheduler last saw of the pool for creating tasks; it is looked at when a run starts."
    Variable.set(key, note, description, session=session)
