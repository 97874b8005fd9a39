"""A song of each prompt, each in a mapped task of its own; then their covers and audio are archived in S3."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_kie.operators.suno import KieGenerateMusicOperator
from airflow_kie.task_groups.music_cover import archive_covers

with DAG("example_kie_songs", schedule=None):
    place = {"bucket": "my-bucket", "prefix": "songs"}
    songs = KieGenerateMusicOperator.partial(task_id="song", deferrable=True, **place).expand(
        prompt=["Rain on a tin roof, slow and warm", "A brass band at sunrise"]
    )
    archive_covers(music_task_ids=songs.output, archive_audio=True, **place)
