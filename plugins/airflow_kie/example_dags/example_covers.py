"""The covers of finished songs, archived in S3: the whole chain, from their ids to a report."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_kie.task_groups.music_cover import archive_covers

with DAG("example_kie_covers", schedule=None, params={"music_task_ids": Param([], type="array")}):
    archive_covers(music_task_ids="{{ params.music_task_ids | tojson }}", bucket="my-bucket", prefix="songs")
