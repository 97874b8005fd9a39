"""Every night, generates songs from a table of prompts, then archives them and their covers in S3.

Each night has its own table, ``s3://my-bucket/prompts/2026-11-29.jsonl``, with ``{"id": …, "prompt": …}`` per line. An
id is one song, over all nights: a prompt whose id an earlier table had gets that song, and is not paid for. A
backfill of a night that has run pays for nothing again; a night that never ran is paid for when it is backfilled. So
``catchup`` is off; turn it on if you want missed nights. The budget of a night is a field of the connection,
``max_credits_per_run``: prompts beyond it are refused, and nothing is paid for them.
"""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk import DAG, task

from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.task_groups.music_cover import archive_covers

with DAG("example_kie_nightly_songs", schedule="@daily", catchup=False):
    songs = KieTaskOperator(
        task_id="songs",
        operation="suno.music",
        request={"customMode": False, "instrumental": False, "model": "V6"},
        requests="s3://my-bucket/prompts/{{ dag_run.run_after | ds }}.jsonl",
        key_field="id",
        to="s3://my-bucket/media",
        fail_on="never",  # covers of those that are there
        deferrable=True,
    )

    @task
    def song_ids(summary: dict[str, Any]) -> list[str]:
        """Return the ids of the songs that are archived."""
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        rows = map(json.loads, S3Hook().read_key(summary["results"]).splitlines())
        return [row["task_id"] for row in rows if row["status"] == "archived"]

    archive_covers(music_task_ids=song_ids(songs.output), bucket="my-bucket", prefix="songs")
