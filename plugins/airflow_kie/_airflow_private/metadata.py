"""Airflow's metadata database: for the api-server and for commands.

The public way to what is read and sent here is Airflow's REST API, which needs a token and a running api-server. Each
function says what it needs, in which Airflow that was seen, and what happens without it. Those that serve a running
Airflow answer without it then, and one line of the log says so; those of commands raise, and the command says that it
could not check.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_, select

from airflow_kie._airflow_private.fallback import switched_off, with_session
from airflow_kie.client.callbacks.url import Waiting

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

WAKE_UP = {"outcome": "wake_up"}
"""The event that makes a waiting task read KIE's details; it claims nothing about them."""


class Wake(Enum):
    """What became of a wake-up; the value is the text for the log."""

    WOKEN = "its task reads the result now"
    NOT_YET = "no task waits for it yet; repeated for some seconds"
    GONE = "no task waits for it any longer"
    AT_NEXT_READ = "its task sees it at its next read"


@switched_off(lambda: Wake.AT_NEXT_READ, "Callbacks do not wake tasks: each task sees the result at its next poll.")
@with_session
def wake(session: Session, waiting: Waiting) -> Wake:
    """Resume a deferred task instance at once, without its triggerer; return what became of that.

    Airflow 3.3.2: `models.trigger.Trigger.submit_event`. No public route resumes a deferred task; without this one the
    triggerer's slow poll finds the end, as it does for a receiver outside of Airflow.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import State

    found = session.scalars(select(TaskInstance).where(of_task_instance(waiting))).one_or_none()
    if found is None or found.state in State.finished:
        return Wake.GONE
    return Wake.WOKEN if _resume(session, found) else Wake.NOT_YET


@switched_off(int, "Callbacks do not wake sensors: each sensor sees the result at its next poll.")
@with_session
def wake_by_key(session: Session, keys: list[str]) -> int:
    """Resume the deferred task instances that hold one of these keys in their task state store; return how many.

    Airflow 3.3.2: `models.task_state_store.TaskStateStoreModel`.
    """
    from airflow.models.task_state_store import TaskStateStoreModel as Stored
    from airflow.models.taskinstance import TaskInstance

    holding = select(TaskInstance).join(Stored, of_task_instance(Stored)).where(Stored.key.in_(keys))
    return sum(_resume(session, found) for found in session.scalars(holding).unique())


def of_task_instance(other: Any) -> Any:
    """Return the condition that joins a task instance with what names it.

    Airflow 3.3.2: `models.taskinstance.TaskInstance`, whose key has four columns. Of 3.4's models some have its id
    instead, some another index and a region beside it. Without it the function that calls this does what it does
    without its own internal.

    :param other: a model with the same columns, or their values, or with `task_instance_id`.
    """
    from airflow.models.taskinstance import TaskInstance

    if hasattr(other, "task_instance_id"):
        return TaskInstance.id == other.task_instance_id
    index = ("region_id", "region_index") if hasattr(other, "region_index") else ("map_index",)
    columns = ("dag_id", "run_id", "task_id", *index)
    return and_(*(getattr(TaskInstance, column) == getattr(other, column) for column in columns))


def _resume(session: Session, task_instance: Any) -> bool:
    from airflow.models.trigger import Trigger
    from airflow.triggers.base import TriggerEvent
    from airflow.utils.state import TaskInstanceState

    if task_instance.state != TaskInstanceState.DEFERRED or task_instance.trigger_id is None:
        return False
    event = TriggerEvent(dict(WAKE_UP))  # type: ignore[no-untyped-call]
    Trigger.submit_event(task_instance.trigger_id, event, session=session)
    return True


@switched_off(bool, "Callbacks do not start runs: the reconciliation in DAG cover_inbox starts their songs.")
@with_session
def send_asset_event(session: Session, uri: str, partition_key: str | None, extra: dict[str, Any]) -> bool:
    """Send an asset event, with a partition key or None; return False while no DAG has declared the asset.

    Airflow 3.3.2: `assets.manager.asset_manager`.
    """
    from airflow.assets.manager import asset_manager
    from airflow.models.asset import AssetModel

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


@switched_off(bool, "A repeated callback can start a second run for a song, which costs and changes nothing.")
@with_session
def event_was_sent(session: Session, uri: str, partition_key: str, since: datetime) -> bool:
    """Return whether an asset had an event for a partition since a time (Airflow 3.3.2: `models.asset.AssetEvent`)."""
    from airflow.models.asset import AssetEvent, AssetModel

    sent = (
        select(AssetEvent.id)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(AssetModel.uri == uri, AssetEvent.timestamp >= since, AssetEvent.partition_key == partition_key)
    )
    return session.scalars(sent.limit(1)).first() is not None


@switched_off(bool, "A song in progress can get a second run, which adopts what the first one has paid for.")
@with_session
def run_is_active(session: Session, dag_id: str, run_id: str) -> bool:
    """Return whether a DAG run is queued or running (Airflow 3.3.2: `models.dagrun.DagRun`)."""
    from airflow.models.dagrun import DagRun

    state = session.scalars(select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).first()
    return str(state) in ("queued", "running")


@with_session
def living_jobs(session: Session, job_type: str) -> list[str]:
    """Return the hosts of Airflow's jobs of a type whose heartbeat is fresh.

    Airflow 3.3.2: `jobs.job.Job`. Without it a command cannot check.
    """
    from airflow.jobs.job import Job

    jobs = session.scalars(select(Job).where(Job.job_type == job_type, Job.state == "running"))
    return [job.hostname or "" for job in jobs if job.is_alive()]


@with_session
def missing_pools(session: Session) -> list[str]:
    """Return the pools that tasks of this package are scheduled in and that do not exist: they would wait for ever.

    Airflow 3.3.2: `models.pool.Pool`, `models.taskinstance.TaskInstance`. Without it a command cannot check.
    """
    from airflow.models.pool import Pool
    from airflow.models.taskinstance import TaskInstance as Task

    scheduled = select(Task.pool).where(Task.operator.startswith("Kie"), Task.state == "scheduled")
    return list(session.scalars(scheduled.where(Task.pool.not_in(select(Pool.pool))).distinct()))


@with_session
def paused_dags(session: Session, started_by: str = "") -> dict[str, bool]:
    """Return the DAGs of this Airflow, or those that an asset starts, and whether each is paused.

    Airflow 3.3.2: `models.dag.DagModel`, `models.asset.DagScheduleAssetReference`. Without it a command cannot check.

    :param started_by: URI of the asset; empty: all DAGs.
    """
    from airflow.models.asset import AssetModel
    from airflow.models.asset import DagScheduleAssetReference as Started
    from airflow.models.dag import DagModel as Dag

    known = select(Dag.dag_id, Dag.is_paused).where(Dag.is_stale.is_(False))
    if started_by:
        started = select(Started.dag_id).join(AssetModel, AssetModel.id == Started.asset_id)
        known = known.where(Dag.dag_id.in_(started.where(AssetModel.uri == started_by)))
    return {dag_id: bool(paused) for dag_id, paused in session.execute(known)}


@with_session
def waiting_by_dag(session: Session, triggers: str) -> dict[str, int]:
    """Return how many tasks of each DAG wait in triggers whose class path begins so.

    Airflow 3.3.2: `models.trigger.Trigger`. Without it the status page does not say how many wait.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger

    waiting = select(TaskInstance.dag_id, func.count()).join(Trigger, Trigger.id == TaskInstance.trigger_id)
    found = session.execute(waiting.where(Trigger.classpath.startswith(triggers)).group_by(TaskInstance.dag_id))
    return {str(dag_id): int(count) for dag_id, count in found}


@with_session
def runs_of_song(session: Session, music_task_id: str, store_key: str) -> list[tuple[str, str, str]]:
    """Return DAG id, run id and state of the runs that an event started for a song or that keep its record, newest
    first.

    Airflow 3.3.2: `models.dagrun.DagRun`, `models.task_state_store.TaskStateStoreModel`. Without it a command cannot
    check.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.task_state_store import TaskStateStoreModel as Stored

    keeping = select(Stored.dag_run_id).where(Stored.key == store_key)
    runs = (
        select(DagRun.dag_id, DagRun.run_id, DagRun.state)
        .where(or_(DagRun.partition_key == music_task_id, DagRun.id.in_(keeping)))
        .order_by(DagRun.id.desc())
    )
    return [(dag_id, run_id, str(state)) for dag_id, run_id, state in session.execute(runs)]


@switched_off(list[Any], "The pages of runs show only songs whose tasks have started.")
@with_session
def xcoms_of_run(
    session: Session, dag_id: str, run_id: str, operators: Collection[str], keys: Collection[str]
) -> list[Any]:
    """Return what the tasks of some operators have pushed in a run: operators from Z to A, then by map index.

    Airflow 3.3.2: `models.xcom.XComModel`, `TaskInstance.operator`.

    :param operators: class names.
    :param keys: XCom keys.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    rows = session.execute(
        select(XComModel.value)
        .join(TaskInstance, of_task_instance(XComModel))
        .where(
            XComModel.dag_id == dag_id,
            XComModel.run_id == run_id,
            XComModel.key.in_(keys),
            TaskInstance.operator.in_(operators),
        )
        .order_by(TaskInstance.operator.desc(), XComModel.task_id, XComModel.key.desc(), XComModel.map_index)
    )
    return [XComModel.deserialize_value(row) for row in rows]


@switched_off(lambda: None, "The pages of runs do not show the run's progress.")
@with_session
def steps_of_run(
    session: Session, dag_id: str, run_id: str, operators: Collection[str], key: str
) -> tuple[Any, Any, list[tuple[str, int, str | None, Any]]] | None:
    """Return when a run began and ended, and of its mapped tasks operator, map index, state and what they store.

    Airflow 3.3.2: `models.dagrun.DagRun`, `models.task_state_store.TaskStateStoreModel`, `TaskInstance.operator`.

    :param operators: class names.
    :param key: of the task state store.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.task_state_store import TaskStateStoreModel as Stored
    from airflow.models.taskinstance import TaskInstance as Task

    run = session.execute(
        select(DagRun.start_date, DagRun.end_date).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    ).first()
    found = session.execute(
        select(Task.operator, Task.map_index, Task.state, Stored.value)
        .outerjoin(Stored, and_(of_task_instance(Stored), Stored.key == key))
        .where(Task.dag_id == dag_id, Task.run_id == run_id, Task.operator.in_(operators), Task.map_index >= 0)
    )
    steps = [
        (str(operator), index, state and str(state), json.loads(value) if value else {})
        for operator, index, state, value in found
    ]
    return (run.start_date, run.end_date, steps) if run else None


@switched_off(list[dict[str, Any]], "The page of a task shows all songs of its run.")
@with_session
def rendered_arguments(session: Session, /, dag_id: str, run_id: str, **of: Any) -> list[dict[str, Any]]:
    """Return the rendered arguments of task instances that have begun.

    Airflow 3.3.2: `models.renderedtifields`; it keeps those of a task's last 30 runs.

    :param of: ``task_id`` and ``map_index`` of one, or ``operators``: class names.
    """
    from airflow.models.renderedtifields import RenderedTaskInstanceFields as Rendered
    from airflow.models.taskinstance import TaskInstance

    found = select(Rendered.rendered_fields).join(TaskInstance, of_task_instance(Rendered))
    found = found.where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
    if "operators" in of:
        found = found.where(TaskInstance.operator.in_(of["operators"]))
    else:
        found = found.where(TaskInstance.task_id == of["task_id"], TaskInstance.map_index == of["map_index"])
    return [fields for fields in session.scalars(found.order_by(TaskInstance.map_index)) if isinstance(fields, dict)]


@switched_off(list[Any], "The page of songs shows only pending songs, not recently archived ones.")
@with_session
def latest_extras(session: Session, uri: str, count: int) -> list[Any]:
    """Return the extra of an asset's newest events, newest first, with the partition as `music_task_id` if it has none.

    Airflow 3.3.2: `models.asset.AssetEvent`.
    """
    from airflow.models.asset import AssetEvent, AssetModel

    asset = select(AssetModel.id).where(AssetModel.uri == uri).scalar_subquery()
    newest = select(AssetEvent.partition_key, AssetEvent.extra).where(AssetEvent.asset_id == asset)
    found = session.execute(newest.order_by(AssetEvent.timestamp.desc()).limit(count))
    return [{"music_task_id": key, **extra} if isinstance(extra, dict) else extra for key, extra in found]
