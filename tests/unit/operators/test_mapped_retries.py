"""A mapped task is retried as its operator says: of it Airflow's scheduler knows what `partial()` was given alone."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_kie.durable.defaults import RETRIES
from airflow_kie.durable.retry_policy import KieRetryPolicy
from airflow_kie.operators.call import KieCallOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.operators.upload import KieUploadOperator
from airflow_kie.sensors.suno import KieCoverSensor, KieMusicSensor
from airflow_kie.sensors.task import KieTaskSensor
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator

OPERATION, SONG = {"operation": "suno.wav"}, {"music_task_id": ["a", "b"]}
MAPPED: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
    (KieTaskOperator, OPERATION, {"request": [{}, {}]}),
    (KieTaskSensor, OPERATION, {"kie_task_id": ["a", "b"]}),
    (KieResultsToS3Operator, {**OPERATION, "bucket": "songs"}, {"kie_task_id": ["a", "b"]}),
    (KieCallOperator, {"operation": "credit"}, {"request": [{}, {}]}),
    (KieUploadOperator, {}, {"source": ["s3://a/b", "s3://a/c"]}),
    (KieGenerateMusicOperator, {}, {"prompt": ["a", "b"]}),
    (KieMusicSensor, {}, SONG),
    (KieGenerateCoverOperator, {}, SONG),
    (KieCoverSensor, {"cover_task_id": "c"}, SONG),
    (KieCoverToS3Operator, {"bucket": "songs", "cover_task_id": "c"}, SONG),
]


@pytest.mark.parametrize(("operator", "given", "mapped"), MAPPED, ids=lambda value: getattr(value, "__name__", ""))
def test_it_has_the_retries_and_the_policy_of_the_operator(
    operator: Any, given: dict[str, Any], mapped: dict[str, Any]
) -> None:
    with DAG("mapped"):
        many = operator.partial(task_id="many", **given).expand(**mapped)
        few = operator.partial(task_id="few", retries=1, **given).expand(**mapped)
    assert (many.retries, type(many.retry_policy)) == (RETRIES, KieRetryPolicy)
    assert few.retries == 1


def test_a_mapped_function_has_them_too() -> None:
    @task.kie(operation="suno.wav")
    def request(song: str) -> dict[str, str]:
        return {"taskId": song}

    with DAG("mapped"):
        many = request.expand(song=["a", "b"]).operator
    assert (many.retries, type(many.retry_policy)) == (RETRIES, KieRetryPolicy)
