"""Makes covers for the songs dropped into `<bucket>/inbox/`, and restarts pending songs whose events were lost.

Drop a small object: `{"music_task_id": "…", "labels": {"our_id": "A-17"}}`, a list of these, JSON Lines, or CSV with a
column `music_task_id`. It is moved to `inbox/done/`, or to `inbox/rejected/` with a `.reason.txt` beside it.
"""

from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, TriggerRule

from airflow_kie import settings
from airflow_kie.operators.inbox import (
    SINGLE_SONGS_KEY,
    TAKEN_KEY,
    KieDispatchSongsOperator,
    KieInboxCleanupOperator,
    KieInboxOperator,
)
from airflow_kie.operators.reconcile import KieReconcileOperator

AWS = settings.text("aws_conn_id", "aws_default")

with DAG(
    dag_id="cover_inbox",
    description="Starts the songs in the bucket's inbox, and pending songs that no run works on.",
    doc_md=__doc__,
    schedule=timedelta(minutes=settings.number("inbox_every_minutes", 5)),
    catchup=False,
    max_active_runs=1,
    tags=["kie", "suno", "cover"],
    default_args={"retries": 5, "retry_delay": timedelta(seconds=10)},
):
    read = KieInboxOperator(task_id="read_inbox", aws_conn_id=AWS)
    alone = KieDispatchSongsOperator(task_id="dispatch_songs", music_task_ids=read.output[SINGLE_SONGS_KEY])
    # Its maps are templates for Airflow: they hold digests alone, `song_list` reads the songs behind each one.
    many = TriggerDagRunOperator.partial(
        task_id="start_runs", trigger_dag_id="music_cover", skip_when_already_exists=True
    ).expand_kwargs(read.output)
    # Start first, move after: what crashes in between is started twice, which costs and changes nothing.
    done = KieInboxCleanupOperator(
        task_id="move_to_done",
        digests=read.output[TAKEN_KEY],
        events_sent=alone.output,
        aws_conn_id=AWS,
        # An object that could not be started stays, it alone. A rule that wants a success would skip this task as soon
        # as one of the two before it is skipped: `start_runs` is, whenever only single songs have come.
        trigger_rule=TriggerRule.ALL_DONE,
    )
    [alone, many] >> done
    KieReconcileOperator(task_id="reconcile", aws_conn_id=AWS)
