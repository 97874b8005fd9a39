"""The room for Airflow's internals: what stands outside `airflow.sdk` and documented modules.

Each function says what it needs, in which Airflow that was seen, and what happens without it. Those that serve a
running Airflow answer without it then, and one line of the log says so; those of commands raise, and the command says
that it could not look.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, NoReturn, cast

from airflow_kie._airflow_private.fallback import nothing, switched_off
from airflow_kie.client.callbacks.url import Waiting

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

LOOK = {"outcome": "look"}
"""The event that makes a waiting task look at KIE's details; it claims nothing about them."""


class _NoSession:
    """Stands for a session where Airflow offers none: each function then does what it does without its internal."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError("airflow.utils.session offers no session")


@contextmanager
def metadata_session() -> Iterator[Session]:
    """Open a session on Airflow's database: only in the api-server and in commands.

    Airflow 3.3.2: `utils.session.create_session`. Without it every function that is given a session does what it does
    without its own internal.
    """
    try:
        from airflow.utils.session import create_session
    except ImportError:
        yield cast("Session", _NoSession())
        return
    with create_session() as session:
        yield session


@switched_off(lambda: Wake.AT_NEXT_READ, "Callbacks wake no task: each finds its end when it polls the next time.")
def wake(session: Session, waiting: Waiting) -> Wake:
    """Resume a deferred task instance at once, without its triggerer; return what became of that.

    Airflow 3.3.2: `models.trigger.Trigger.submit_event`. No public route resumes a deferred task; without this one the
    triggerer's slow poll finds the end, as it does for a receiver outside of Airflow.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import State
    from sqlalchemy import select

    found = session.scalars(
        select(TaskInstance).where(
            TaskInstance.dag_id == waiting.dag_id,
            TaskInstance.run_id == waiting.run_id,
            TaskInstance.task_id == waiting.task_id,
            TaskInstance.map_index == waiting.map_index,
        )
    ).one_or_none()
    if found is None or found.state in State.finished:
        return Wake.GONE
    return Wake.WOKEN if _resume(session, found) else Wake.NOT_YET


@switched_off(int, "Callbacks wake no sensor: each finds its end when it polls the next time.")
def wake_by_key(session: Session, keys: list[str]) -> int:
    """Resume the deferred task instances that hold one of these keys in their task state store; return how many.

    Airflow 3.3.2: `models.task_state_store.TaskStateStoreModel`. Without it the slow poll finds the end.
    """
    from airflow.models.task_state_store import TaskStateStoreModel as Stored
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    waiting = session.scalars(
        select(TaskInstance)
        .join(Stored, of_task_instance(Stored))
        .where(Stored.key.in_(keys), TaskInstance.state == TaskInstanceState.DEFERRED)
    ).unique()
    return sum(_resume(session, found) for found in waiting)


def of_task_instance(stored: Any) -> Any:
    """Return the condition that joins a model which Airflow stores for a task instance with that instance.

    Airflow 3.3.2: `models.taskinstance.TaskInstance`, whose key has four columns. A function of this room that
    needs it does without its internal where it fails.

    :param stored: a model with the same four columns.
    """
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import and_

    columns = ("dag_id", "run_id", "task_id", "map_index")
    return and_(*(getattr(TaskInstance, column) == getattr(stored, column) for column in columns))


def _resume(session: Session, task_instance: Any) -> bool:
    from airflow.models.trigger import Trigger
    from airflow.triggers.base import TriggerEvent
    from airflow.utils.state import TaskInstanceState

    if task_instance.state != TaskInstanceState.DEFERRED or task_instance.trigger_id is None:
        return False
    event = TriggerEvent(dict(LOOK))  # type: ignore[no-untyped-call]
    Trigger.submit_event(task_instance.trigger_id, event, session=session)
    return True


async def state_of(task_instance: Any) -> str | None:
    """Return the state of a trigger's task instance, None where it has none or cannot be looked up.

    Airflow 3.3.2: `task_instance` of a trigger, and `RuntimeTaskInstance.get_task_states`, which Airflow's own triggers
    call in a thread. Without it a trigger whose task was woken by a callback logs that somebody has killed it.

    :param task_instance: as the triggerer gives it to the trigger.
    """
    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        ti = task_instance
        states = await asyncio.to_thread(
            RuntimeTaskInstance.get_task_states,
            dag_id=ti.dag_id,
            task_ids=[ti.task_id],
            run_ids=[ti.run_id],
            map_index=ti.map_index,
        )
        name = ti.task_id if ti.map_index in (None, -1) else f"{ti.task_id}_{ti.map_index}"
        state = (states.get(ti.run_id) or {}).get(name)
    except Exception as missing:  # noqa: BLE001 - only the words of a log depend on it
        log.debug("What has become of a trigger's task cannot be looked up: %s", missing)
        return None
    return None if state is None else str(getattr(state, "value", state))


@switched_off(bool, "Callbacks start no run: the sweep of DAG cover_inbox finds their songs.")
def send_asset_event(session: Session, uri: str, partition_key: str, extra: dict[str, Any]) -> bool:
    """Send an asset event with a partition key; return False while no DAG has declared the asset.

    Airflow 3.3.2: `assets.manager.asset_manager`; the public way is POST /api/v2/assets/events with a token. Without it
    the sweep of DAG cover_inbox starts the song.
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


@switched_off(bool, "A doubled callback can start a second run of a song, which costs and changes nothing.")
def event_was_sent(session: Session, uri: str, partition_key: str, since: datetime) -> bool:
    """Return whether an asset had an event for a partition since a time (Airflow 3.3.2: `models.asset.AssetEvent`).

    The public way is GET /api/v2/assets/events with a token. Without it a song may be announced twice, which costs and
    changes nothing.
    """
    from airflow.models.asset import AssetEvent, AssetModel
    from sqlalchemy import select

    sent = (
        select(AssetEvent.id)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(AssetModel.uri == uri, AssetEvent.timestamp >= since, AssetEvent.partition_key == partition_key)
    )
    return session.scalars(sent.limit(1)).first() is not None


@switched_off(bool, "A song that a run works on can get a second run, which pays for nothing again.")
def run_is_active(session: Session, dag_id: str, run_id: str) -> bool:
    """Return whether a DAG run is queued or running (Airflow 3.3.2: `models.dagrun.DagRun`).

    Without it no run counts as active: a song may get a second one, which takes up what the first has paid for.
    """
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    state = session.scalars(select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).first()
    return str(state) in ("queued", "running")


@switched_off(nothing, "When KIE last called back is not known; nothing else depends on it.")
def variable(session: Session, key: str) -> str | None:
    """Return a Variable's text, None if there is none (Airflow 3.3.2: `models.variable.Variable`).

    The public Variable of `airflow.sdk` asks a supervisor, which the api-server and commands do not have. Without it
    nobody knows when KIE last called back.
    """
    from airflow.models.variable import Variable
    from sqlalchemy import select

    found = session.scalars(select(Variable).where(Variable.key == key)).first()
    return None if found is None else str(found.val)


@switched_off(lambda: None, "When KIE last called back is not written down; nothing else depends on it.")
def set_variable(session: Session, key: str, value: str, description: str) -> None:
    """Write a Variable (Airflow 3.3.2: `models.variable.Variable`; public: PATCH /api/v2/variables with a token).

    Without it nobody knows when KIE last called back.
    """
    from airflow.models.variable import Variable

    Variable.set(key, value, description=description, session=session)


def begin_command() -> None:
    """Let a command find connections in Airflow's database, as `airflow connections test` does, and log to stderr.

    Airflow 3.3.2: the environment variable `_AIRFLOW_PROCESS_CONTEXT`, and `cli.utils`. Without the first a command
    sees only what stands in the environment and in a secrets backend; without the second, log lines stand between
    what it prints.
    """
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    try:
        from airflow.cli.utils import redirect_stdout_log_handlers_to_stderr
    except ImportError:
        return
    redirect_stdout_log_handlers_to_stderr()


def living_jobs(session: Session, job_type: str) -> list[str]:
    """Return the hosts of Airflow's jobs of a type whose heartbeat is fresh (Airflow 3.3.2: `jobs.job.Job`).

    The public way is GET /api/v2/monitor/health, which needs the api-server. Without it a command cannot look.
    """
    from airflow.jobs.job import Job
    from sqlalchemy import select

    jobs = session.scalars(select(Job).where(Job.job_type == job_type, Job.state == "running"))
    return [job.hostname or "" for job in jobs if job.is_alive()]


def missing_pools(session: Session) -> list[str]:
    """Return the pools that tasks of this package are scheduled in and that do not exist: they would wait for ever.

    Airflow 3.3.2: `models.pool.Pool`, `models.taskinstance.TaskInstance`. The public way is GET /api/v2/pools with a
    token. Without it a command cannot look.
    """
    from airflow.models.pool import Pool
    from airflow.models.taskinstance import TaskInstance as Task
    from sqlalchemy import select

    scheduled = select(Task.pool).where(Task.operator.startswith("Kie"), Task.state == "scheduled")
    return list(session.scalars(scheduled.where(Task.pool.not_in(select(Pool.pool))).distinct()))


def paused_dags(session: Session, dag_ids: Iterable[str]) -> dict[str, bool]:
    """Return which of these DAGs Airflow knows, and whether each is paused (Airflow 3.3.2: `models.dag.DagModel`).

    The public way is GET /api/v2/dags with a token. Without it a command cannot look.
    """
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    known = select(DagModel.dag_id, DagModel.is_paused).where(
        DagModel.dag_id.in_(list(dag_ids)), DagModel.is_stale.is_(False)
    )
    return {dag_id: bool(paused) for dag_id, paused in session.execute(known)}


def dags_started_by(session: Session, uri: str) -> dict[str, bool]:
    """Return which DAGs an asset starts, and whether each is paused.

    Airflow 3.3.2: `models.asset.DagScheduleAssetReference`, `models.dag.DagModel`. The public way is GET /api/v2/assets
    with a token. Without it a command cannot look.
    """
    from airflow.models.asset import AssetModel, DagScheduleAssetReference
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    started = (
        select(DagModel.dag_id, DagModel.is_paused)
        .join(DagScheduleAssetReference, DagScheduleAssetReference.dag_id == DagModel.dag_id)
        .join(AssetModel, AssetModel.id == DagScheduleAssetReference.asset_id)
        .where(AssetModel.uri == uri, DagModel.is_stale.is_(False))
    )
    return {dag_id: bool(paused) for dag_id, paused in session.execute(started)}


def command_words() -> Any:
    """Return the module whose `Arg`, `ActionCommand` and `GroupCommand` a provider's commands are made of.

    Airflow 3.3.2: `airflow.cli.cli_config`, as its page "CLI Commands" for providers shows. Without it there is no
    `airflow kie`; Airflow says so and its other commands go on.
    """
    from airflow.cli import cli_config

    return cli_config


def runs_of_song(session: Session, music_task_id: str, store_key: str) -> list[tuple[str, str, str]]:
    """Return DAG id, run id and state of the runs that an event started for a song or that keep its record, newest
    first.

    Airflow 3.3.2: `models.dagrun.DagRun`, `models.task_state_store.TaskStateStoreModel`. Without them only the run
    that the song's pending record names is known.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.task_state_store import TaskStateStoreModel as Stored
    from sqlalchemy import or_, select

    keeping = select(Stored.dag_run_id).where(Stored.key == store_key)
    runs = (
        select(DagRun.dag_id, DagRun.run_id, DagRun.state)
        .where(or_(DagRun.partition_key == music_task_id, DagRun.id.in_(keeping)))
        .order_by(DagRun.id.desc())
    )
    return [(dag_id, run_id, str(state)) for dag_id, run_id, state in session.execute(runs)]


class Wake(Enum):
    """What became of a wake-up; the value is the log's words."""

    WOKEN = "its task looks now"
    NOT_YET = "nobody waits yet; it is told again for some seconds"
    GONE = "nobody waits for it any more"
    AT_NEXT_READ = "its task sees it at its next read"
