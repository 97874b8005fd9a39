"""The stack that a benchmark measures: Airflow's processes, the simulator, a local S3, metadata in a real Postgres.

On SQLite a writing request blocks the api-server while it waits for the lock; on a busy machine that is what
would be measured.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
for folder in ("tests", "include"):
    sys.path.insert(0, str(PROJECT / folder))


@contextmanager
def postgres_stack(dag_files: Sequence[Path], airflow: dict[str, str]) -> Iterator[tuple[Any, str]]:
    """Give a stack that is up, and the URL of its metadata database.

    :param dag_files: its DAGs.
    :param airflow: further settings of Airflow, as environment variables.
    """
    from integration.databases import postgres_server
    from local_stack.running import running_stack

    with postgres_server() as url, tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as dags:
        for file in dag_files:
            shutil.copy(file, dags)
        database = url.replace("postgresql://", "postgresql+psycopg://")
        connections = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": database,
        }
        migrate = [str(Path(sys.executable).parent / "airflow"), "db", "migrate"]  # a local stack prepares SQLite only
        subprocess.run(
            migrate, env={**os.environ, **connections, "AIRFLOW_HOME": home}, check=True, capture_output=True
        )
        with running_stack(Path(home), dags=Path(dags), airflow={**connections, **airflow}) as running:
            yield running, url
