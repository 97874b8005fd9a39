"""Every row of a table becomes a picture in S3; the next night pays only for rows with a new id.

The table: ``id,input.prompt`` and a row for each picture. Caps on what it may cost are fields of the connection.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_kie.operators.task import KieTaskOperator

with DAG("example_kie_table", schedule="@daily", catchup=False):
    KieTaskOperator(
        task_id="pictures",
        operation="market",
        request={"model": "z-image", "input": {"aspect_ratio": "1:1"}},  # what every row has
        requests="s3://my-bucket/in/pictures.csv",
        key_field="id",
        to="s3://my-bucket/media",
        fail_on=0.1,  # of the rows
        deferrable=True,
    )
