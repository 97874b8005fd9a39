"""DAGs that ask KIE for what costs credits. The tests clear them, run them twice and kill their workers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_kie.lifecycle import crash_points
from airflow_kie.operators.suno import KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator

PROMPTS = ["A tango for two robots", "A polka for three clocks"]
SOON = {"deferrable": True, "retry_delay": timedelta(seconds=1)}


def kill_this_process_once(context: Any) -> None:
    """Let this process be killed between KIE's answer and the ledger's entry for it, in the first try of a run."""
    run = hashlib.sha256(context["run_id"].encode()).hexdigest()[:16]
    killed = Path(os.environ["AIRFLOW_HOME"], f"killed-{run}")

    def kill() -> None:
        with contextlib.suppress(FileExistsError):
            killed.touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)

    crash_points.at("after post", kill)


CONNECTION = {"kie_conn_id": Param("kie_default", type="string")}
NAMED = "{{ params.kie_conn_id }}"

with DAG(dag_id="paid_list", schedule=None, is_paused_upon_creation=False, params=CONNECTION):

    @task
    def prompts(ti: Any = None, params: Any = None) -> list[str]:
        """Return the list, after a clear in another order."""
        listed = [f"{text} of {params['kie_conn_id']}" for text in PROMPTS]
        return listed if ti.try_number == 1 else listed[::-1]

    @task
    def pictures(asked_for: list[str]) -> list[dict[str, Any]]:
        """Return a request for a picture of each."""
        return [{"model": "z-image", "input": {"prompt": text, "aspect_ratio": "1:1"}} for text in asked_for]

    listed = prompts()
    KieGenerateMusicOperator.partial(task_id="song", kie_conn_id=NAMED, **SOON).expand(prompt=listed)
    KieTaskOperator(task_id="pictures_made", operation="market", requests=pictures(listed), kie_conn_id=NAMED, **SOON)

with DAG(dag_id="paid_for_all_runs", schedule=None, is_paused_upon_creation=False, params=CONNECTION):
    KieGenerateMusicOperator(
        task_id="song",
        prompt="The anthem of {{ params.kie_conn_id }}",
        idempotency_key="the anthem of {{ params.kie_conn_id }}",
        kie_conn_id=NAMED,
        **SOON,
    )

for dag_id, more in (
    ("paid_and_killed", {"pre_execute": kill_this_process_once}),
    ("paid_for_a_while", {"poll_interval": 2}),
):
    with DAG(
        dag_id=dag_id,
        schedule=None,
        is_paused_upon_creation=False,
        params={"prompt": Param("", type="string"), **CONNECTION},
    ):
        KieGenerateMusicOperator(
            task_id="song",
            prompt="{{ params.prompt }}",
            kie_conn_id=NAMED,
            **SOON,
            **more,
        )
