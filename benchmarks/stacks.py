"""The stack that a benchmark measures: Airflow's processes, the simulator, S3, and metadata in PostgreSQL."""

from __future__ import annotations

import shutil
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
    from local_stack.running import running_stack

    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as dags:
        for file in dag_files:
            shutil.copy(file, dags)
        with running_stack(Path(home), dags=Path(dags), airflow=airflow) as running:
            yield running, running.database_url("airflow")
