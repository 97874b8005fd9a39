"""A finished song is archived, then gets a WAV, its vocals, MIDI and timestamped lyrics, all in one folder of S3."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_kie.task_groups.music_cover import archive_covers
from airflow_kie.task_groups.song_extras import song_extras

with DAG("example_kie_song_extras", schedule=None, params={"music_task_id": Param("", type="string")}):
    song = {"songs": "{{ params.music_task_id }}", "bucket": "my-bucket", "prefix": "songs"}
    archived = archive_covers("{{ params.music_task_id }}", bucket="my-bucket", prefix="songs", archive_audio=True)
    archived >> song_extras(**song, extras=["wav", "vocals", "midi", "timed_lyrics"])
