"""Looks every ten minutes whether something holds songs up, and fails when it begins, gets worse or has lasted a day.

Whatever tells you of failed runs tells you of this one: one failure for each cause, none for each song. It asks KIE for
the balance, which is free, and reads `_pending/` in the bucket.
"""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_kie import settings
from airflow_kie.notifications.kie import tell_of_conditions
from airflow_kie.operators.health_check import KieOpsOperator

with DAG(
    dag_id="kie_ops",
    description="Credits, outages, songs that are not archived: fails when somebody should look.",
    doc_md=__doc__,
    schedule=timedelta(minutes=settings.number("ops_every_minutes", 10)),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=30),
    tags=["kie"],
):
    KieOpsOperator(
        task_id="look",
        aws_conn_id=settings.text("aws_conn_id", "aws_default"),
        retry_delay=timedelta(seconds=10),
        **tell_of_conditions(),
    )
