"""The chain with pods for what records, pays and stores; the first pods of two steps die at their worst moments.

The other steps only read, which the same client does for these: a pod costs as much as ten tasks without one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.lifecycle import crash_points
from airflow_kie.task_groups.music_cover import archive_covers


def kill() -> None:
    """End the pod: its supervisor, and so all of it."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def after_a_file() -> None:
    """Let the pod die when the first file is in S3, which no manifest names yet."""
    put_file = Bucket.put_file

    def dying(self: Bucket, *args: Any, **kwargs: Any) -> Any:
        put_file(self, *args, **kwargs)
        kill()

    Bucket.put_file = dying  # type: ignore[method-assign]


MOMENTS: Mapping[str, Callable[[], None]] = {
    "generate_cover": lambda: crash_points.at("after task", kill),  # paid, and the ledger names it
    "archive_to_s3": after_a_file,
}
"""Task → how its first pod dies."""


def arm(context: Any) -> None:
    """Let the first pod of a task die."""
    ti = context["ti"]
    moment = MOMENTS.get(ti.task_id)
    if ti.try_number == 1 and moment:
        moment()


with DAG(
    dag_id="in_pods",
    schedule=None,
    is_paused_upon_creation=False,
    default_args={"pre_execute": arm},
    params={"songs": Param([], type="array")},
) as dag:
    archive_covers("{{ params.songs | tojson }}", archive_audio=True)

for task in dag.tasks:
    task.retry_delay = timedelta(seconds=1)
    if task.task_id in ("song_list", *MOMENTS):
        task.executor = "pods"
