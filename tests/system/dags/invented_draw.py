"""A DAG of an operation that the package knows by one row: made, waited for, and archived."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_kie import settings
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.sensors.task import KieTaskSensor
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator

DRAW = "invented.draw"

with DAG(dag_id="invented_draw", schedule=None, is_paused_upon_creation=False):
    made = KieTaskOperator(task_id="made", operation=DRAW, request={"subject": "A fox"}, deferrable=True)
    ended = KieTaskSensor(task_id="ended", operation=DRAW, kie_task_id=made.output, deferrable=True)
    archived = KieResultsToS3Operator(
        task_id="archived",
        operation=DRAW,
        kie_task_id=made.output,
        bucket=settings.text("bucket"),
        prefix=settings.text("prefix"),
    )
    made >> ended >> archived
