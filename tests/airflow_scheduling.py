"""Lets Airflow's scheduler decide which tasks of music_cover start, with its own code, and prints that as JSON.

    python airflow_scheduling.py <folder of DAG files> <pool>

`AIRFLOW_HOME` names a home of its own, whose database this process makes. Nothing is executed: for each state of the
pool a run is started, its tasks are put where the question needs them, and the scheduler says which it would queue.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

STATES: dict[str, tuple[int, bool] | None] = {
    "missing": None,
    "running only": (8, False),
    "closed": (0, True),
    "open": (8, True),
}
"""State of the pool → slots and Include Deferred; None: there is no such pool."""


def main(folder: str, pool: str) -> None:
    sys.argv = ["airflow", "scheduler"]  # the plugin listens in the scheduler alone
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dag import DagModel
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    initdb()
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    bag = DagBag(str(Path(folder) / "music_cover.py"), bundle_path=Path(folder), bundle_name="dags-folder")
    assert bag.import_errors == {}, bag.import_errors
    sync_bag_to_db(bag, "dags-folder", None)
    runner = SchedulerJobRunner(job=Job())
    with create_session() as session:
        session.get(DagModel, "music_cover").is_paused = False
    told = {name: _decided(runner, pool, name, state) for name, state in STATES.items()}
    print(json.dumps(told), file=sys.__stdout__, flush=True)


def _decided(runner: Any, pool: str, name: str, state: tuple[int, bool] | None) -> dict[str, Any]:
    """Return what the scheduler notes of the pool when a run starts, and which of its tasks it would queue."""
    from airflow.models.pool import Pool
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import delete, select

    with create_session() as session:
        session.execute(delete(Pool).where(Pool.pool == pool))
        if state is not None:
            session.add(Pool(pool=pool, slots=state[0], include_deferred=state[1]))
        dag = SerializedDagModel.get_dag("music_cover", session=session)
        run = dag.create_dagrun(
            run_id=f"manual__{name.replace(' ', '_')}",
            run_type=DagRunType.MANUAL,
            state=DagRunState.QUEUED,
            run_after=datetime.now(UTC) - timedelta(minutes=1),
            triggered_by=DagRunTriggeredByType.TEST,
            session=session,
        )
        run_id = run.run_id
    with create_session() as session:
        runner._start_queued_dagruns(session)
    with create_session() as session:
        for task in session.scalars(select(TaskInstance).where(TaskInstance.run_id == run_id)):
            task.state = TaskInstanceState.SCHEDULED
    with create_session() as session:
        queued = runner._executable_task_instances_to_queued(max_tis=64, session=session)
        names = sorted(task.task_id for task in queued if task.run_id == run_id)
        note = session.scalars(select(Variable).where(Variable.key == "kie_create_pool")).one().get_val()
        for task in session.scalars(select(TaskInstance).where(TaskInstance.run_id == run_id)):
            task.state = TaskInstanceState.SUCCESS
    return {"noted": json.loads(note), "started": names}


if __name__ == "__main__":
    main(*sys.argv[1:])
