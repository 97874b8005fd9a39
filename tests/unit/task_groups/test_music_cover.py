"""`archive_covers` in other people's DAGs: alone, and several times, each in a task group of its own."""

from __future__ import annotations

from typing import cast

from airflow.sdk import DAG, TaskGroup

from airflow_kie.operators.report import KieSongReportOperator
from airflow_kie.task_groups.music_cover import archive_covers

STEPS = ["music_complete", "generate_cover", "cover_details", "archive_to_s3"]


def pulled(dag: DAG, report: str) -> list[str]:
    """Return the tasks whose XComs a report reads."""
    task = cast("KieSongReportOperator", dag.get_task(report))
    return [task.list_task_id, *task.chain_task_ids]


def test_alone_the_tasks_have_their_fixed_names() -> None:
    with DAG("alone") as dag:
        archive_covers(music_task_ids=["a"])
    assert set(dag.task_ids) == {"song_list", *STEPS, "report"}
    assert pulled(dag, "report") == ["song_list", *STEPS]


def test_two_chains_stand_in_one_dag_and_each_report_reads_its_own() -> None:
    with DAG("two") as dag:
        for name in ("first", "second"):
            with TaskGroup(name):
                archive_covers(music_task_ids=["a"])
    assert len(dag.task_ids) == 12
    for name in ("first", "second"):
        read = pulled(dag, f"{name}.report")
        assert read == [
            f"{name}.song_list", *(f"{name}.song.{step}" for step in STEPS),
        ]  # fmt: skip
        assert set(read) <= set(dag.task_ids)


def test_a_pool_that_is_named_holds_the_tasks_that_create_covers_and_no_others() -> None:
    with DAG("pooled") as dag:
        archive_covers(music_task_ids=["a"], pool="kie_creates")
    assert [task.task_id for task in dag.tasks if task.pool != "default_pool"] == ["generate_cover"]
