"""Every DAG file parses, in the time that Airflow's own SDK takes, into the tasks that the design names."""

from __future__ import annotations

import functools
import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).parents[3] / "dags"
EXAMPLES = DAGS.parent / "docs" / "examples"
FILES = sorted(DAGS.glob("*.py"))
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def dags_in(file: Path) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(file), bundle_path=DAGS)
    assert bag.import_errors == {}
    return dict(bag.dags)


@functools.cache
@every_file
def test_a_dag_file_parses_and_serializes(file: Path) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dags = dags_in(file)
    assert set(dags) == {file.stem}
    for dag in dags.values():
        DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))


@every_file
def test_every_param_has_a_valid_default(file: Path) -> None:
    for dag in dags_in(file).values():
        dag.params.validate()
        for name in dag.params:
            dag.params.get_param(name).resolve()


@every_file
def test_every_field_of_the_form_reaches_a_task(file: Path) -> None:
    for dag in dags_in(file).values():
        assert [name for name in dag.params if f"params.{name}" not in file.read_text()] == []


@every_file
def test_a_dag_that_runs_by_the_clock_begins_as_airflows_own_setting_says_and_none_catches_up(file: Path) -> None:
    for dag in dags_in(file).values():
        by_the_clock = dag.dag_id in ("cover_inbox", "kie_ops")
        # The others do nothing by themselves, and Airflow drops the events of a paused one.
        assert dag.is_paused_upon_creation is (None if by_the_clock else False)
        assert (isinstance(dag.schedule, timedelta), dag.catchup) == (by_the_clock, False)


@every_file
def test_every_task_of_ours_has_retries_and_a_short_delay(file: Path) -> None:
    for dag in dags_in(file).values():
        ours = [task for task in dag.tasks if task.task_type.startswith("Kie")]
        assert ours
        for task in ours:
            assert task.retries >= 3, task.task_id
            assert task.retry_delay.total_seconds() <= 60, task.task_id


def test_the_form_for_extras_names_each_with_its_price_and_a_setting_makes_them_of_every_song(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_kie.archive.extras.table import EXTRAS
    from airflow_kie.assets import COVER

    file = DAGS / "song_extras.py"
    (dag,) = dags_in(file).values()
    offered = dag.params.get_param("extras").schema["values_display"]
    guide = (DAGS.parent / "docs" / "guides" / "songs.md").read_text()
    assert list(offered) == list(EXTRAS) and dag.schedule is None
    for name, extra in EXTRAS.items():
        assert f"{extra.credits:g} credits" in offered[name]
        row = next(line for line in dag.doc_md.splitlines() if line.startswith(f"| `{name}`"))
        assert row.rsplit("| ", 1)[1].startswith(f"{extra.credits:g}")
        assert f"| `{name}` | {extra.credits:g} |" in guide
    monkeypatch.setenv("AIRFLOW__KIE__SONG_EXTRAS", "wav, timed_lyrics")
    (dag,) = dags_in(file).values()
    assert dag.schedule.asset_condition == COVER
    assert dag.params["extras"] == ["wav", "timed_lyrics"]


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.stem)
def test_an_example_parses_and_serializes(file: Path) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dags = dags_in(file)
    assert set(dags) == {file.stem}
    for dag in dags.values():
        DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))


def test_covers_are_announced_by_the_task_that_archives_them_and_made_from_songs() -> None:
    from airflow_kie import assets

    task = dags_in(DAGS / "music_cover.py")["music_cover"].get_task("archive_to_s3")
    assert (task.inlets, task.outlets) == ([assets.MUSIC], [assets.COVER, assets.ARCHIVE])


def test_the_tasks_of_music_cover_are_those_of_the_design() -> None:
    dag = dags_in(DAGS / "music_cover.py")["music_cover"]
    chain = ["music_complete", "generate_cover", "cover_details", "archive_to_s3"]
    assert set(dag.task_ids) == {"song_list", *chain, "report"}
    for task_id, following in itertools.pairwise(chain):
        assert following in dag.get_task(task_id).downstream_task_ids
    assert dag.get_task("report").trigger_rule == "all_done"


def test_the_waiting_tasks_of_music_cover_are_deferrable() -> None:
    dag = dags_in(DAGS / "music_cover.py")["music_cover"]
    for task_id in ("music_complete", "generate_cover", "cover_details"):
        assert dag.get_task(task_id).deferrable is True


def test_music_cover_is_woken_by_what_is_pending_and_one_list_at_a_time_takes_songs() -> None:
    from airflow_kie import assets

    dag = dags_in(DAGS / "music_cover.py")["music_cover"]
    condition = dag.timetable.asset_condition
    woken_by = getattr(condition, "objects", [condition])  # of 3.4: one asset is the condition itself
    assert [asset.uri for asset in woken_by] == ["kie://api.kie.ai/suno/pending"]
    assert dag.max_active_runs == 16
    assert (dag.get_task("song_list").max_active_tis_per_dag, dag.get_task("song_list").inlets) == (1, [assets.PENDING])
    assert dags_in(DAGS / "music_generate.py")["music_generate"].get_task("generate_music").outlets == [
        assets.MUSIC,
        assets.PENDING,
    ]
    assert assets.MUSIC.uri == "kie://api.kie.ai/suno/music"
    assert assets.COVER.uri == "kie://api.kie.ai/suno/cover"


def test_the_forms_default_bucket_is_the_configured_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", "our-covers")
    dag = dags_in(DAGS / "music_cover.py")["music_cover"]
    assert dag.params["bucket"] == "our-covers"
