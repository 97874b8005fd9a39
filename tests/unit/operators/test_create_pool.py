"""The opt-in pool for creating tasks: who is in it, and that a pool which would hang them is told of first."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_kie import plugin
from airflow_kie.operators.create_pool import CreatePoolInvalid, KieCreatePoolOperator, check_create_pool
from airflow_kie.operators.create_pool_listener import CreatePoolListener
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_task import StoredFiles, TaskRun
from kie_simulator.server import SimulatorServer

DAGS = Path(__file__).parents[3] / "dags"
SONG = "a" * 32


def pools_of(file: str) -> dict[str, str]:
    """Return the pool of every task in a DAG file."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS / file), bundle_path=DAGS)
    assert bag.import_errors == {}
    return {task.task_id: task.pool for dag in bag.dags.values() for task in dag.tasks}


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure a pool."""
    monkeypatch.setenv("AIRFLOW__KIE__CREATE_POOL", "kie_creates")


def noted(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_KIE_CREATE_POOL", text)


# --- who is in it ---


@pytest.mark.parametrize("file", ["music_cover.py", "music_generate.py"])
def test_without_the_option_every_task_is_in_airflows_own_pool(file: str) -> None:
    assert set(pools_of(file).values()) == {"default_pool"}


@pytest.mark.usefixtures("configured")
def test_only_the_creating_task_of_music_cover_is_in_the_pool() -> None:
    pools = pools_of("music_cover.py")
    assert [task for task, pool in pools.items() if pool == "kie_creates"] == ["generate_cover"]


@pytest.mark.usefixtures("configured")
def test_a_song_is_made_in_the_pool_after_a_task_outside_of_it_has_checked_it() -> None:
    assert pools_of("music_generate.py") == {"generate_music": "kie_creates", "create_pool": "default_pool"}


# --- that it is checked ---


def test_without_the_option_nothing_is_checked() -> None:
    check_create_pool()


@pytest.mark.usefixtures("configured")
def test_a_pool_that_the_scheduler_found_in_order_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    noted(monkeypatch, '{"pool": "kie_creates", "problem": ""}')
    check_create_pool()


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("note", "said"),
    [
        ('{"pool": "kie_creates", "problem": "there is no such pool in Airflow"}', "there is no such pool"),
        ('{"pool": "another", "problem": ""}', "the scheduler has not looked at it"),
        ("{", "the scheduler has not looked at it"),
    ],
    ids=["a problem", "another pool", "no JSON"],
)
def test_any_other_note_stops_the_run_before_anything_is_noted_or_paid(
    note: str, said: str, monkeypatch: pytest.MonkeyPatch, kie: SimulatorServer, bucket: str, archive: StoredFiles
) -> None:
    noted(monkeypatch, note)
    with pytest.raises(CreatePoolInvalid, match=said) as refused:
        TaskRun(lambda: KieSongListOperator(task_id="song_list", music_task_ids=SONG)).execute()
    assert "kie_creates" in str(refused.value)
    assert archive.listed() == []
    with pytest.raises(CreatePoolInvalid, match=said):
        TaskRun(lambda: KieCreatePoolOperator(task_id="create_pool")).execute()


# --- what the scheduler notes ---


@pytest.fixture
def session() -> Iterator[Any]:
    """Give a session on a database that has Airflow's pools and variables."""
    from airflow.models.pool import Pool
    from airflow.models.variable import Variable
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    engine = create_engine("sqlite://")
    for model in (Pool, Variable):
        model.metadata.tables[model.__tablename__].create(engine)
    with Session(engine) as opened:
        yield opened
    engine.dispose()


def seen(session: Any, *pools: tuple[str, bool]) -> dict[str, str]:
    """Let a run start while these pools exist, and return what the scheduler noted."""
    from airflow.models.pool import Pool
    from airflow.models.variable import Variable
    from sqlalchemy import delete

    session.execute(delete(Pool))
    rows = [Pool(pool=name, slots=0, include_deferred=deferred) for name, deferred in [("any", True), *pools]]
    session.add_all(rows)
    session.flush()
    CreatePoolListener().on_dag_run_running(dag_run=rows[0], msg="started")  # any object of the scheduler's session
    session.expire_all()
    (note,) = session.query(Variable).filter_by(key="kie_create_pool").all()
    told: dict[str, str] = json.loads(note.get_val())
    return told


@pytest.mark.usefixtures("configured")
def test_the_scheduler_notes_each_time_what_it_sees(session: Any) -> None:
    assert "no such pool" in seen(session)["problem"]
    assert "deferred" in seen(session, ("kie_creates", False))["problem"]
    assert seen(session, ("kie_creates", True)) == {"pool": "kie_creates", "problem": ""}
    assert "no such pool" in seen(session)["problem"]


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(("part", "listens"), [("scheduler", True), ("standalone", True), ("triggerer", False)])
def test_only_the_scheduler_listens(part: str, listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["airflow", part])
    assert bool(plugin._listeners()) is listens


def test_without_the_option_the_scheduler_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["airflow", "scheduler"])
    assert importlib.import_module("airflow_kie.plugin")._listeners() == []
