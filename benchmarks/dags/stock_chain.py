"""What one would write without this provider: Airflow's own operators, mapped over songs, one cover of each song."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.amazon.aws.transfers.http_to_s3 import HttpToS3Operator
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, Param, PokeReturnValue, task

CONN = "kie_http"


def finished(response: Any) -> PokeReturnValue:
    """Return the path of the first cover once there is one."""
    data = response.json()["data"]
    images = (data.get("response") or {}).get("images")
    return PokeReturnValue(bool(images), urlsplit(images[0]).path if images else None)


with DAG(
    "stock_chain", schedule=None, is_paused_upon_creation=False, max_active_tasks=64,
    params={"songs": Param([], type="array"), "bucket": "kie-covers", "run": ""},
    # Airflow fails some task that was rescheduled before the scheduler had read the end of its last leg.
    default_args={"retries": 3, "retry_delay": timedelta(seconds=1)},
):  # fmt: skip

    @task
    def bodies(params: dict[str, Any] | None = None) -> list[str]:
        """Return the body of each create."""
        assert params
        return [json.dumps({"taskId": song, "callBackUrl": "http://127.0.0.1:9/none"}) for song in params["songs"]]

    @task
    def questions(ids: list[str]) -> list[dict[str, str]]:
        """Return the question after each cover."""
        return [{"taskId": task_id} for task_id in ids]

    @task
    def files(paths: list[str], params: dict[str, Any] | None = None) -> list[dict[str, str]]:
        """Return where each cover goes."""
        assert params
        return [
            {"endpoint": path, "s3_key": f"stock/{params['run']}/{number}.png"} for number, path in enumerate(paths)
        ]

    made = HttpOperator.partial(
        task_id="create",
        http_conn_id=CONN,
        endpoint="/api/v1/suno/cover/generate",
        headers={"Content-Type": "application/json"},
        deferrable=False,  # a second leg for a request of milliseconds
        response_filter=lambda response: response.json()["data"]["taskId"],
    ).expand(data=bodies())
    waited = HttpSensor.partial(
        task_id="details",
        http_conn_id=CONN,
        endpoint="/api/v1/suno/cover/record-info",
        response_check=finished,
        deferrable=False,
        mode="reschedule",
        poke_interval=5,
        timeout=3600,
    ).expand(request_params=questions(made.output))
    HttpToS3Operator.partial(
        task_id="to_s3",
        http_conn_id="kie_files",
        headers={"User-Agent": "Mozilla/5.0"},
        s3_bucket="{{ params.bucket }}",
        replace=True,
    ).expand_kwargs(files(waited.output))
