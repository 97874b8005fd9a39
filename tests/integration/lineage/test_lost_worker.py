"""A worker that is gone reports nothing more: what Airflow's scheduler reports to OpenLineage in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from openlineage_events import read_events, run_of
from openlineage_graph import Try
from openlineage_schema import check

PROJECT = Path(__file__).parents[3]


def test_a_try_whose_worker_is_gone_is_reported_as_failed_without_datasets(tmp_path: Path) -> None:
    events = tmp_path / "lineage"
    events.mkdir()
    transport = {"type": "file", "log_file_path": str(events / "event"), "append": False}
    process = subprocess.run(
        [sys.executable, str(PROJECT / "tests" / "airflow_lost_worker.py"), str(PROJECT / "dags")],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "AIRFLOW_HOME": str(tmp_path / "home"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-this-test-that-is-long-enough-for-its-algorithm-0123456789",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
    assert process.stdout.splitlines()[-1] == "up_for_retry"
    (event,) = read_events(events)
    check(event)
    assert run_of(event) == ("music_cover", "manual__lost_worker")
    assert (event["eventType"], Try.of(event)) == ("FAIL", Try("generate_cover", 0, 1))
    assert (event["inputs"], event["outputs"], "kie" in event["run"]["facets"]) == ([], [], False)
