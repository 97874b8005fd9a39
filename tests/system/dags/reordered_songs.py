"""A DAG whose list of songs comes back in another order when somebody reorders the variable `song_order`."""

from __future__ import annotations

from airflow.sdk import DAG, Variable, task

from airflow_kie.task_groups.music_cover import archive_covers

with DAG(dag_id="reordered_songs", schedule=None, is_paused_upon_creation=False):

    @task
    def ask_for_songs() -> list[str]:
        return [str(music_task_id) for music_task_id in Variable.get("song_order", deserialize_json=True)]

    archive_covers(music_task_ids=ask_for_songs())
