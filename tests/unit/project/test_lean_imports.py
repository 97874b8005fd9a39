"""What importing costs: a task process parses its DAG file and imports its operator before it does anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = (
    "PIL", "airflow.providers.amazon", "boto3", "botocore", "fastapi", "openlineage", "psycopg", "psycopg2", "requests",
    "tinytag",
)  # fmt: skip
"""What a leg that does not need it must not pay for; boto3 alone takes 0.2 processor-seconds."""
PROGRAM = """
import importlib.util, json, sys
import airflow.sdk.execution_time.task_runner
there = set(sys.modules)
for name in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("a_dag", name) if name.endswith(".py") else None
    spec.loader.exec_module(importlib.util.module_from_spec(spec)) if spec else importlib.import_module(name)
print(json.dumps(sorted(set(sys.modules) - there)), file=sys.__stdout__)
"""
FOLDERS = ("operators", "sensors", "transfers", "task_groups", "notifications")
PACKAGE = [
    f"airflow_kie.{name}.{file.stem}"
    for name in FOLDERS
    for file in sorted((ROOT / "plugins" / "airflow_kie" / name).glob("[!_]*.py"))
]
DAGS = [str(file) for file in sorted((ROOT / "dags").glob("*.py"))]


@pytest.mark.parametrize("names", [*([file] for file in DAGS), PACKAGE], ids=lambda names: Path(names[0]).stem)
def test_a_dag_file_and_the_modules_of_the_operators_import_nothing_heavy(names: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "plugins")},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = json.loads(done.stdout.splitlines()[-1])
    assert imported
    assert [name for name in imported if name.startswith(tuple(f"{heavy}." for heavy in HEAVY)) or name in HEAVY] == []
