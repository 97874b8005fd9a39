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


def pool(name: str, *, include_deferred: bool = True) -> Any:
    """Return a pool."""
    from airflow.models.pool import Pool

    return Pool(pool=name, slots=4, include_deferred=include_deferred)
