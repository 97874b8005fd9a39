"""Many sensors that wait for songs which never end: the load of waiting itself."""

from __future__ import annotations

from airflow.sdk import DAG, Param, task

from airflow_kie.sensors.suno import KieMusicSensor

with DAG(
    "waiting_songs",
    params={"music_task_ids": Param([], type="array")},
    is_paused_upon_creation=False,
    schedule=None,
    max_active_tasks=2000,
):

    @task
    def ids(params: dict[str, list[str]] | None = None) -> list[str]:
        """Return the songs of this run."""
        return list((params or {})["music_task_ids"])

    KieMusicSensor.partial(task_id="wait", deferrable=True).expand(music_task_id=ids())
