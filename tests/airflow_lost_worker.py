"""Lets Airflow's scheduler find a task whose worker is gone, with its own code, and prints the state it gives it.

    python airflow_lost_worker.py <folder of DAG files>

`AIRFLOW_HOME` names a home of its own, whose tables this process makes. Nothing is executed: a try of generate_cover is
put there as its worker has left it, running and without a sign of life for ten minutes.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


def main(folder: str) -> None:
    sys.argv = ["airflow", "scheduler"]  # plugins look whether they are in one
    from airflow.callbacks.database_callback_sink import DatabaseCallbackSink
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.listeners.listener import get_listener_manager
    from airflow.utils.db import synchronize_log_template
    from airflow.utils.session import create_session

    from airflow_database import make_tables

    make_tables()
    synchronize_log_template()
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    bag = DagBag(str(Path(folder) / "music_cover.py"), bundle_path=Path(folder), bundle_name="dags-folder")
    assert bag.import_errors == {}, bag.import_errors
    sync_bag_to_db(bag, "dags-folder", None)
    with create_session() as session:
        job = Job(job_type="SchedulerJob")
        session.add(job)
    runner = SchedulerJobRunner(job=job)
    runner.executor.callback_sink = DatabaseCallbackSink()
    run_id = _left_running(job.id)
    runner._find_and_purge_task_instances_without_heartbeats()
    with create_session() as session:
        runner._process_executor_events(runner.executor, session)
    get_listener_manager().hook.before_stopping(component=runner)  # which waits for what is still to be sent
    print(_state(run_id), file=sys.__stdout__, flush=True)


def _left_running(job_id: int) -> str:
    """Start a run of which a try runs in a worker that is gone, and return its id."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    long_ago = datetime.now(UTC) - timedelta(minutes=10)
    with create_session() as session:
        dag = SerializedDagModel.get_dag("music_cover", session=session)
        assert dag is not None
        run = dag.create_dagrun(
            run_id="manual__lost_worker",
            run_type=DagRunType.MANUAL,
            state=DagRunState.RUNNING,
            run_after=long_ago,
            triggered_by=DagRunTriggeredByType.TEST,
            session=session,
        )
        task: Any = run.get_task_instance("generate_cover", session=session)
        task.map_index = 0
        task.state = TaskInstanceState.RUNNING
        task.try_number = 1
        task.max_tries = 30
        task.start_date = task.last_heartbeat_at = long_ago
        task.queued_by_job_id = job_id
        return str(run.run_id)


def _state(run_id: str) -> str:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    wanted = (TaskInstance.run_id == run_id, TaskInstance.task_id == "generate_cover")
    with create_session() as session:
        return str(session.scalars(select(TaskInstance).where(*wanted)).one().state)


if __name__ == "__main__":
    main(*sys.argv[1:])
