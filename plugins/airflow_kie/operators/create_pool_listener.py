"""What the scheduler tells us of: a DAG run starts."""

from __future__ import annotations

from typing import Any

from airflow.listeners import hookimpl

from airflow_kie import settings
from airflow_kie._airflow_private.metadata import note_create_pool
from airflow_kie.operators.create_pool import NOTE, OPTION, problem_of


class CreatePoolListener:
    """Looks at the configured pool whenever the scheduler starts a DAG run."""

    @hookimpl
    def on_dag_run_running(self, dag_run: Any, msg: str) -> None:
        """Note what is wrong with the pool, or that nothing is."""
        name = settings.text(OPTION)
        if name:
            note_create_pool(dag_run, name, NOTE, problem_of)
