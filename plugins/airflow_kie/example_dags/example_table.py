"""Makes a picture in S3 from every row of a table; the next night pays only for rows with a new id.

The table has the header ``id,input.prompt`` and a row per picture. Caps on its cost are fields of the connection.
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
