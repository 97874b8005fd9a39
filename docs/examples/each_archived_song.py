"""Somebody else's DAG: one run for each song whose covers have been archived. Copy it to where your DAGs are."""

import logging

from airflow.sdk import DAG, PartitionedAssetTimetable, task

from airflow_kie.assets import COVER

log = logging.getLogger(__name__)

with DAG(
    dag_id="each_archived_song",
    description="A cover was archived → something of your own.",
    doc_md=__doc__,
    # One run for each music task id. A plain asset schedule would join events that come close together.
    schedule=PartitionedAssetTimetable(assets=COVER),
    is_paused_upon_creation=False,  # Airflow drops events for a paused DAG
    tags=["kie", "example"],
):

    @task(inlets=[COVER])
    def use_song(*, partition_key, triggering_asset_events):
        """Do what is yours with an archived song; the event says where its manifest is, which says the rest.

        Do it so that a second time does no harm: after a crash at the wrong moment an event may be sent again.
        """
        told = triggering_asset_events[COVER][-1].extra
        parts = (told["bucket"], told["prefix"], partition_key, "manifest.json")
        manifest = f"s3://{'/'.join(part for part in parts if part)}"
        log.info("Song %s: %s", partition_key, manifest)
        return {"music_task_id": partition_key, "manifest": manifest}

    use_song()
