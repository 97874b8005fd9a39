"""More about a finished song than its covers: its WAV, and the balance that is left."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_kie.operators.call import KieCallOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator

with DAG(
    "example_kie_song_files",
    schedule=None,
    params={"music_task_id": Param("", type="string"), "audio_id": Param("", type="string")},
):
    wav = KieTaskOperator(
        task_id="wav",
        operation="suno.wav",
        request={"taskId": "{{ params.music_task_id }}", "audioId": "{{ params.audio_id }}"},
        deferrable=True,
    )
    archived = KieResultsToS3Operator(
        task_id="archive", operation="suno.wav", kie_task_id=wav.output, bucket="my-bucket", prefix="media"
    )
    archived >> KieCallOperator(task_id="credits_left", operation="credit")
