"""A Veo clip, from its prompt to S3."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator

with DAG("example_kie_clip", schedule=None, params={"prompt": Param("A red fox in the snow", type="string")}):
    clip = KieTaskOperator(
        task_id="clip",
        operation="veo.generate",
        request={"prompt": "{{ params.prompt }}", "model": "veo3_fast", "aspect_ratio": "16:9"},
        deferrable=True,
    )
    KieResultsToS3Operator(
        task_id="archive", operation="veo.generate", kie_task_id=clip.output, bucket="my-bucket", prefix="media"
    )
