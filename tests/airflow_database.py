"""Airflow's own tables in this process's Airflow home, and rows in them, for what reads Airflow's database."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any


@functools.cache
def make_tables() -> None:
    """Make all of Airflow's tables, once for a process: without migrations, which take many seconds."""
    from airflow import models, settings
    from airflow.models.base import Base
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    models.import_all_models()
    Base.metadata.create_all(settings.engine)
    with create_session() as session:
        session.merge(DagBundleModel(name="dags-folder"))  # a home may be that of an earlier run


@contextmanager
def stored(*rows: Any) -> Iterator[None]:
    """Keep rows in the database while the block runs."""
    from airflow.utils.session import create_session

    make_tables()
    with create_session() as session:
        session.add_all(rows)
        session.flush()
        session.expunge_all()
    try:
        yield
    finally:
        with create_session() as session:
            for row in rows:
                session.delete(session.merge(row))


def triggerer() -> Any:
    """Return a triggerer whose last sign of life is fresh for the whole test, also where the machine stands still."""
    from airflow.jobs.job import Job

    return Job(job_type="TriggererJob", state="running", latest_heartbeat=datetime.now(UTC) + timedelta(minutes=10))


def dag(dag_id: str, *, paused: bool = False) -> Any:
    """Return a DAG as Airflow knows it."""
    from airflow.models.dag import DagModel

    return DagModel(dag_id=dag_id, is_paused=paused, is_stale=False, bundle_name="dags-folder")


def pool(name: str) -> Any:
    """Return a pool."""
    from airflow.models.pool import Pool

    return Pool(pool=name, slots=4, include_deferred=True)


def run(dag_id: str = "music_cover", run_id: str = "manual__1") -> Any:
    """Return a run of a DAG."""
    from airflow.models.dagrun import DagRun

    return DagRun(dag_id=dag_id, run_id=run_id, state="running", run_type="manual", run_after=datetime.now(UTC))


def scheduled(pool_name: str, *, task_id: str = "generate_cover", run_id: str = "manual__1") -> Any:
    """Return a task of this package that Airflow has scheduled in a pool."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy.orm import class_mapper
    from uuid6 import uuid7

    instance: Any = class_mapper(TaskInstance).class_manager.new_instance()  # its __init__ asks for a whole DAG
    instance.id, instance.dag_id, instance.run_id, instance.task_id = uuid7(), "music_cover", run_id, task_id
    instance.operator, instance.pool, instance.pool_slots, instance.state = (
        "KieGenerateCoverOperator",
        pool_name,
        1,
        "scheduled",
    )
    return instance
