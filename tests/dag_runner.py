"""A process of Airflow that runs the project's DAGs against a simulated KIE and an S3 server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from airflow_connections import aws_connection, kie_connection
from kie_simulator.server import SimulatorServer
from s3_servers import S3Server

PROJECT = Path(__file__).parents[1]


def dag_runner(home: Path, kie: SimulatorServer, s3: S3Server, **further: str) -> subprocess.Popen[str]:
    """Start a process of Airflow that runs music_cover; as a context manager it is waited for.

    :param further: environment variables.
    """
    (home / "lineage").mkdir(parents=True)
    transport = {"type": "file", "log_file_path": str(home / "lineage" / "event"), "append": False}
    folder = PROJECT / "dags"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(str(PROJECT / name) for name in ("plugins", "include")),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-this-test-that-is-long-enough-for-its-algorithm-0123456789",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "120",  # 10 s by default, after which a busy machine loses an event
        # Events of DAG runs are Airflow's own alone, and need a pool of processes that would outlive this one.
        "AIRFLOW__OPENLINEAGE__EMISSION_POLICY": json.dumps([{"scope": {}, "controls": {"emit_dag_events": False}}]),
        "AIRFLOW__KIE__BUCKET": "songs",
        "AIRFLOW__KIE__NOTIFIER": "posted_notifier.Printed",
        "AIRFLOW__KIE__NOTIFY_OF": "incidents",
        "AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS": "0",
        "AIRFLOW__KIE__RELEASE_DEFAULTS": '{"artist": "The Examples"}',
        "AIRFLOW__KIE__ALLOW_LOOPBACK_FILES": "True",
        "AIRFLOW_CONN_KIE_DEFAULT": kie_connection(kie, extra={"upload_host": kie.url}),
        "AIRFLOW_CONN_AWS_DEFAULT": aws_connection(s3),
        **further,
    }
    return subprocess.Popen(
        [
            sys.executable,
            str(PROJECT / "tests" / "airflow_dag_test.py"),
            str(folder / "music_cover.py"),
            "music_cover",
            str(folder / "kie_ops.py"),
            str(folder / "deliver_songs.py"),
            str(folder / "song_extras.py"),
        ],
        cwd=home,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_dag(runner: subprocess.Popen[str], **conf: Any) -> dict[str, Any]:
    """Run a DAG once in such a process, and return its run's id, state and tasks, and everything that was logged.

    :param conf: the run's; ``_dag`` names another DAG than music_cover.
    """
    assert runner.stdin is not None and runner.stdout is not None
    print(json.dumps(conf), file=runner.stdin, flush=True)
    log = []
    for line in runner.stdout:
        log.append(line)
        if line.startswith('{"state":'):
            return {**json.loads(line), "log": "".join(log)}
    raise AssertionError("".join(log)[-8000:])
