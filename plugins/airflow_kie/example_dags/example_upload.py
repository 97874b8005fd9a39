"""A recording in S3 becomes a song that KIE extends; no XCom holds the recording's address."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.operators.upload import KieUploadOperator
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator

with DAG("example_kie_upload", schedule=None):
    recording = KieUploadOperator(task_id="recording", source="s3://my-bucket/in/hum.mp3")
    extended = KieTaskOperator(
        task_id="extended",
        operation="suno.upload_extend",
        request={"uploadUrl": recording.output, "defaultParamFlag": False, "instrumental": True, "model": "V6"},
        deferrable=True,
    )
    KieResultsToS3Operator(
        task_id="archive",
        operation="suno.upload_extend",
        kie_task_id=extended.output,
        bucket="my-bucket",
        prefix="media",
    )
