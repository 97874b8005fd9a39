"""Checks every ten minutes whether somebody has to act. It fails when an incident begins, gets worse, or has lasted a
day.

Your usual alerts on failed runs cover it: it fails once per incident, not once per song. It asks KIE for the balance,
which is free, reads `_pending/` in the bucket, and writes and deletes one small object there. It also compacts the
library's index.
"""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_kie import settings
from airflow_kie.notifications.kie import is_on
from airflow_kie.operators.health_check import KieHealthCheckOperator, KieIncidentNotificationOperator
from airflow_kie.operators.index import KieCompactIndexOperator

with DAG(
    dag_id="kie_ops",
    description="Credits, outages, songs that are not archived: fails when somebody has to act.",
    doc_md=__doc__,
    schedule=timedelta(minutes=settings.number("ops_every_minutes", 10)),
    catchup=False,
    tags=["kie"],
):
    check = KieHealthCheckOperator(
        task_id="check",
        aws_conn_id=settings.text("aws_conn_id", "aws_default"),
        retry_delay=timedelta(seconds=10),
        execution_timeout=timedelta(minutes=15),
    )
    KieCompactIndexOperator(
        task_id="compact_index",
        aws_conn_id=settings.text("aws_conn_id", "aws_default"),
        retries=3,
        retry_delay=timedelta(seconds=10),
    )
    if is_on("incidents"):
        # A teardown: it runs whether the check has failed or not, and does not decide how the run ends.
        check >> KieIncidentNotificationOperator(task_id="notify", check_task_id=check.task_id).as_teardown()
