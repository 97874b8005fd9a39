"""`archive_covers` and the like in other people's DAGs: alone, several times, and behind an approval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from airflow.sdk import DAG, BaseOperator, TaskGroup

from airflow_kie.operators.report import KieSongReportOperator
from airflow_kie.task_groups.deliver_songs import deliver_songs
from airflow_kie.task_groups.music_cover import archive_covers
from airflow_kie.task_groups.song_extras import song_extras

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


def test_a_callback_of_default_args_is_called_by_the_report_alone_beside_the_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def page(context: Any) -> None:
        """Wake somebody."""

    monkeypatch.setenv("AIRFLOW__KIE__NOTIFIER", "posted_notifier.Posted")
    with DAG("paged", default_args={"on_failure_callback": page}) as dag:
        archive_covers(music_task_ids=["a"])
    paging = [one.task_id for one in dag.tasks if page in cast("BaseOperator", one).on_failure_callback]
    assert paging == ["report"]
    assert len(cast("BaseOperator", dag.get_task("report")).on_failure_callback) == 2


def test_a_pool_that_is_named_holds_the_tasks_that_create_covers_and_no_others() -> None:
    with DAG("pooled") as dag:
        archive_covers(music_task_ids=["a"], pool="kie_creates")
    assert [task.task_id for task in dag.tasks if task.pool != "default_pool"] == ["generate_cover"]


@pytest.mark.parametrize("call", [archive_covers, deliver_songs, song_extras], ids=lambda call: call.__name__)
def test_what_stands_before_a_task_group_around_a_call_holds_every_task_of_it_back(call: Callable[[], Any]) -> None:
    with DAG("approved") as dag:
        approve = BaseOperator(task_id="approve")
        with TaskGroup("group") as group:
            call()
        approve >> group
    held = {task.task_id for task in dag.get_task("approve").get_flat_relatives(upstream=False)}
    assert held == set(dag.task_ids) - {"approve"}
