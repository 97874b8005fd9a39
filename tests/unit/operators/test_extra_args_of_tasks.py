"""What a DAG names as `extra_args` goes to S3 with what each of its tasks writes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException

from airflow_kie.operators.report import KieSongReportOperator
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_task import StoredFiles, TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer


def tagged(archive: StoredFiles, music_task_id: str) -> str:
    """Return the tag of a song's pending record, which says who wrote it last."""
    key = f"songs/_pending/{music_task_id}.json"
    (tag,) = archive.client.get_object_tagging(Bucket=archive.bucket, Key=key)["TagSet"]
    return str(tag["Value"])


def test_every_task_that_notes_a_song_passes_its_extra_arguments_on(kie: SimulatorServer, archive: StoredFiles) -> None:
    common: dict[str, Any] = {"bucket": archive.bucket, "prefix": "songs"}
    quick: dict[str, Any] = {"deferrable": False, "poll_interval": 0.05}
    song = TaskRun(
        lambda: KieGenerateMusicOperator(
            task_id="music", prompt="rain", extra_args={"Tagging": "by=music"}, **quick, **common
        )
    ).attempt()
    assert tagged(archive, song) == "music"
    (arguments,) = TaskRun(
        lambda: KieSongListOperator(
            task_id="song_list", music_task_ids=song, extra_args='{"Tagging": "by=list"}', **common
        )
    ).execute()
    assert tagged(archive, song) == "list"
    kie.control.add_fault("create", "code", kind="cover", code=455, times=3)  # the record says why the cover waits
    waiting = TaskRun(
        lambda: KieGenerateCoverOperator(
            task_id="cover", music_task_id=song, extra_args={"Tagging": "by=cover"}, **quick, **common
        ),
        extra={"dag_run": SimpleNamespace(run_type="asset_triggered")},
    )
    for _ in range(3):
        with pytest.raises(AirflowRescheduleException):
            waiting.execute()
    assert tagged(archive, song) == "cover"
    failure = {"music_task_id": song, "task_id": "cover", "reason": "generation_failed", "message": "failed"}
    report = TaskRun(
        lambda: KieSongReportOperator(
            task_id="report",
            songs=[arguments],
            list_task_id="song_list",
            chain_task_ids=("cover",),
            extra_args={"Tagging": "by=report"},
        ),
        ti=TaskInstance(pulls={("cover", "failure"): failure}),
    )
    with pytest.raises(AirflowFailException, match="1 failed"):
        report.execute()
    assert tagged(archive, song) == "report"


def test_archive_covers_gives_its_extra_arguments_to_every_task_that_writes() -> None:
    from airflow.sdk import DAG

    from airflow_kie.task_groups.music_cover import archive_covers

    mine = {"Tagging": "team=music"}
    with DAG(dag_id="ours", schedule=None) as dag:
        archive_covers(music_task_ids=["a" * 32], bucket="covers", extra_args=mine)
    given = {
        task.task_id: (task.partial_kwargs if task.is_mapped else vars(task)).get("extra_args")
        for task in map(dag.get_task, dag.task_ids)
    }
    writers = ("song_list", "generate_cover", "archive_to_s3", "report")
    assert {task_id: it for task_id, it in given.items() if it is not None} == dict.fromkeys(writers, mine)
