"""How long do reconciliation and `kie_ops` take where many songs are pending? Prints one JSON line.

    .venv/bin/python benchmarks/pending_songs.py [songs, default 10000]

The S3 server is the local stack's (SeaweedFS), in processes of its own. Half of the songs were never tried and half
have failed and wait. Seconds of each: the listings alone, reconciliation (`cover_inbox`), the backlog that `kie_ops`
reads, and what a run that an event has started does with all that was never tried (each song's record is read).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
for folder in ("tests", "include"):
    sys.path.insert(0, str(PROJECT / folder))

BUCKET = "kie-covers"


@contextmanager
def s3(home: Path) -> Iterator[str]:
    """Give the URL of an S3 server whose bucket is empty; its keys are in the environment."""
    from local_stack.bucket import s3_client
    from local_stack.environment import base_environment
    from local_stack.ports import ReservedPort
    from local_stack.processes import start
    from local_stack.s3 import PORTS, remove_sockets, s3_part
    from local_stack.secret_keys import keep_secrets
    from local_stack.settings import StackSettings

    settings, ports = StackSettings(home), [ReservedPort() for _ in range(PORTS)]
    secrets = keep_secrets(home)
    part = s3_part(settings, base_environment("bench", os.environ), secrets, [port.number for port in ports])
    process = start(part.command(None), cwd=home, log=home / "s3.log", environment=part.environment)
    try:
        assert part.address
        while not (url := part.address("")):
            assert process.poll() is None, (home / "s3.log").read_text()
            time.sleep(0.05)
        s3_client(url, secrets).create_bucket(Bucket=BUCKET)
        extra = {"endpoint_url": url, "region_name": "us-east-1"}
        connection = {
            "conn_type": "aws",
            "login": secrets.s3_access_key,
            "password": secrets.s3_secret_key,
            "extra": extra,
        }
        kie = {"conn_type": "kie", "host": "http://127.0.0.1:9", "password": "unused"}
        os.environ |= {
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
            "AIRFLOW_CONN_KIE_DEFAULT": json.dumps(kie),
            "AIRFLOW__KIE__BUCKET": BUCKET,
            "AIRFLOW__KIE__RECONCILE_AFTER_MINUTES": "0",  # what was never tried counts as lost at once
        }
        yield url
    finally:
        process.kill()
        process.wait()
        remove_sockets(settings)
        for port in ports:
            port.release()


def seconds(step: Callable[[], Any]) -> float:
    """Return how long a step takes."""
    began = time.perf_counter()
    step()
    return round(time.perf_counter() - began, 2)


def measure(count: int) -> dict[str, float]:
    """Record songs, and return the seconds of each."""
    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.archive.pending import list_held, list_pending
    from airflow_kie.hooks.archive import open_bucket, open_song
    from airflow_kie.monitoring.backlog import backlog_in
    from new_songs import Airflow

    bucket, keys, airflow = open_bucket("aws_default", BUCKET), ArchiveKeys("songs"), Airflow()

    def record(number: int) -> None:
        song = open_song("aws_default", BUCKET, "songs", f"{number:032x}")
        if number % 2:
            song.update_pending(received_from="inbox")
        else:
            song.record_failure("timeout", "KIE took too long.")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(record, range(count)))
    return {
        "songs": count,
        "listings": seconds(lambda: (list(list_pending(bucket, keys)), list_held(bucket, keys))),
        "reconcile": seconds(lambda: _skipped(airflow.reconcile)),
        "kie_ops": seconds(lambda: backlog_in(bucket, keys)),
        "woken_run": seconds(lambda: airflow.woken().execute()),
    }


def _skipped(step: Callable[[], Any]) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with suppress(AirflowSkipException):
        step()


if __name__ == "__main__":
    songs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"AIRFLOW_HOME": folder, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        with s3(Path(folder) / "s3home"):
            print(json.dumps(measure(songs)))
