"""A release whose processes are killed: each task's first one at its worst moment, the last task's second one too."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param

from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.lifecycle import crash_points
from airflow_kie.operators.delivery import KieReleasePlanOperator
from airflow_kie.task_groups.deliver_songs import deliver_songs

SOON = timedelta(seconds=1)


def kill() -> None:
    """End this process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def after(owner: type, method: str, ending: str = "", number: int = 1) -> Callable[[], None]:
    """Return what lets this process die once a method has returned.

    :param ending: how the key ends that it is called with.
    :param number: how often it has returned by then.
    """

    def arm() -> None:
        real, calls = getattr(owner, method), []

        def dying(self: Any, *args: Any, **kwargs: Any) -> Any:
            done = real(self, *args, **kwargs)
            if not ending or any(str(each).endswith(ending) for each in args[1:2]):
                calls.append(1)
            if len(calls) == number:
                kill()
            return done

        setattr(owner, method, dying)

    return arm


MOMENTS: Mapping[tuple[str, int], Callable[[], None]] = {
    ("plan", 1): after(KieReleasePlanOperator, "_plan"),  # its XCom is there, its success is not
    ("wav", 1): lambda: crash_points.at("after task", kill),  # paid, and the ledger names it
    ("cover", 1): lambda: crash_points.at("after task", kill),
    ("archive_wav", 1): after(Bucket, "put_file"),  # no manifest names the file
    ("archive_cover", 1): after(Bucket, "put_file"),
    ("release", 1): after(Bucket, "put_file", number=3),  # half a release
    ("release", 2): after(Bucket, "put_json_if_unchanged", "/manifest.json"),  # whole, and nobody knows it
}
"""Task and try → how its process dies."""


def arm(context: Any) -> None:
    """Let this process die, if it is its turn; the release's second one waits until a test has looked."""
    ti = context["ti"]
    if (ti.task_id, ti.try_number) == ("release", 2):
        run = hashlib.sha256(context["run_id"].encode()).hexdigest()[:16]
        looked = Path(os.environ["AIRFLOW_HOME"], f"looked-{run}")
        for _ in range(12000):
            if looked.exists():
                break
            time.sleep(0.1)
    if moment := MOMENTS.get((ti.task_id, ti.try_number)):
        moment()


with DAG(
    dag_id="deliver_killed",
    schedule=None,
    is_paused_upon_creation=False,
    default_args={"pre_execute": arm},
    params={"release": Param("", type="string"), "songs": Param([], type="array")},
) as dag:
    deliver_songs(release="{{ params.release }}", songs="{{ params.songs | tojson }}", upscale=True)

for task in dag.tasks:
    task.retry_delay = SOON
