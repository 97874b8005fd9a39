"""How far a run of many songs is, from what Airflow's database knows of its batches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_database import make_tables
from airflow_kie.archive.inbox.song_request import SongRequest
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.run_songs import write_batches
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.triggers.event import ENDED_KEY
from airflow_kie.web.pages import progress, queries
from airflow_kie.web.pages.progress import STEPS, progress_of
from song_pages_server import in_columns, owner, table_of_xcoms

DAG, RUN = "music_cover", "manual__many"
Stored = Mapping[str, Any]


@pytest.fixture(autouse=True)
def no_run() -> Iterator[None]:
    yield
    from airflow import settings
    from airflow.models.dagrun import DagRun
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import delete

    xcoms = table_of_xcoms()
    with settings.get_engine().begin() as connection:
        connection.execute(delete(xcoms))
        for table in (TaskStateStoreModel, TaskInstance, DagRun):
            connection.execute(delete(table).where(table.run_id == RUN))


def store(
    batches: Sequence[Any],
    steps: Sequence[tuple[int, str, str | None, Stored]],
    minutes: float,
    reported: Mapping[tuple[int, str], Sequence[str]] | None = None,
) -> None:
    """Store a run: what its list has returned, state and store of its mapped tasks, and what triggers have reported."""
    make_tables()
    from airflow import settings
    from airflow.models.dagrun import DagRun
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import insert
    from uuid6 import uuid7

    now, names = datetime.now(UTC), {"dag_id": DAG, "run_id": RUN}
    tasks = [(-1, "KieSongListOperator", "success", {}), *steps]
    instances, states, xcoms = TaskInstance.__table__, TaskStateStoreModel.__table__, table_of_xcoms()
    with settings.get_engine().begin() as connection:
        began = {"run_after": now, "start_date": now - timedelta(minutes=minutes)}
        connection.execute(insert(DagRun).values(id=77, **names, state="running", run_type="manual", **began))
        for index, operator, state, stored in tasks:
            which, mine = {**names, "task_id": operator, "map_index": index}, uuid7()
            task = {"id": mine, "operator": operator, "pool": "p", "pool_slots": 1, "try_number": 1, "state": state}
            connection.execute(insert(instances).values(**in_columns(instances, which), **task))
            if stored:
                value = {"key": "songs", "value": json.dumps(stored), "dag_run_id": 77, "updated_at": now}
                connection.execute(insert(states).values(**in_columns(states, which), **value))
            if songs := (reported or {}).get((index, operator)):
                run = {"dag_run_id": 77} if "dag_run_id" in xcoms.c else {}
                row = {**owner(xcoms, mine, which), **run, "timestamp": now, "key": ENDED_KEY, "value": list(songs)}
                connection.execute(insert(xcoms).values(**row))
            if index < 0:
                run = {"dag_run_id": 77} if "dag_run_id" in xcoms.c else {}
                listed = {**owner(xcoms, mine, which), **run, "timestamp": now}
                connection.execute(insert(xcoms).values(**listed, key="return_value", value=list(batches)))
                connection.execute(insert(xcoms).values(**listed, key="archived_already", value=[]))


def ended(songs: Sequence[str], failed: Sequence[str] = ()) -> Stored:
    return {"rows": {song: {"music_task_id": song} for song in songs}, "failures": {song: {} for song in failed}}


def test_each_song_is_at_the_step_of_its_batch_and_what_has_left_it_has_failed(bucket: str) -> None:
    one = [{"music_task_id": f"{n:032x}", "bucket": bucket, "prefix": "songs"} for n in range(5)]
    music, cover, details, archive = STEPS
    store(
        one,
        [
            *((0, operator, "success", {}) for operator in STEPS),
            (1, music, "success", {}),
            (1, cover, "deferred", {}),
            (2, music, "failed", {}),
            *((2, operator, "upstream_failed", {}) for operator in (cover, details, archive)),
            (3, music, None, {}),
            *((4, operator, "success", {}) for operator in (music, cover, details)),
            (4, archive, "running", {}),
        ],
        minutes=2,
    )
    found = progress_of(DAG, RUN)
    assert found is not None
    assert list(found.states.values()) == [
        "Archived", "Cover in progress", "Failed", "Not begun", "Being archived"
    ]  # fmt: skip
    assert found.counts == [
        (name, 1) for name in ("Failed", "Not begun", "Cover in progress", "Being archived", "Archived")
    ]
    assert found.at("Failed") == [f"{2:032x}"]
    assert found.rate == pytest.approx(0.5, rel=0.1)
    assert found.ends_at is not None


def test_a_song_that_is_ready_while_its_batch_waits_is_counted_apart(bucket: str) -> None:
    ids = [f"{n:032x}" for n in range(4)]
    songs = [SongRequest(music_task_id=song, kie_conn_id="kie_default") for song in ids]
    batches = write_batches(open_bucket("aws_default", bucket), ArchiveKeys("songs"), "run", songs, 9, 2)
    music, cover, *_ = STEPS
    store(
        batches,
        [
            (0, music, "success", ended(ids[:2])),
            (0, cover, "deferred", {}),
            (1, music, "deferred", {}),
        ],
        minutes=2,
        reported={(0, music): ids[:2], (0, cover): ids[:1], (1, music): ids[3:]},
    )
    queries._batches.clear()
    found = progress_of(DAG, RUN)
    assert found is not None
    assert list(found.states.values()) == [progress.READY, "Cover in progress", "Waiting for the song", progress.READY]


def test_ten_thousand_songs_are_counted_from_their_batches(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    songs = [SongRequest(music_task_id=f"{n:032x}", kie_conn_id="kie_default") for n in range(10_000)]
    ids = [song.music_task_id for song in songs]
    batches = write_batches(open_bucket("aws_default", bucket), ArchiveKeys("songs"), "run", songs, 1024, None)
    music, cover, *_ = STEPS
    steps: list[tuple[int, str, str | None, Stored]] = []
    for index, batch in enumerate(batches):
        mine = ids[batch["first"] - 1 : batch["first"] - 1 + batch["songs"]]
        if index < len(batches) // 2:
            steps += [(index, operator, "success", ended(mine[1:], mine[:1])) for operator in STEPS]
        else:
            steps += [(index, music, "success", ended(mine)), (index, cover, "deferred", {})]
    store(batches, steps, minutes=60)
    queries._batches.clear()
    began = time.perf_counter()
    found = progress_of(DAG, RUN)
    first = time.perf_counter() - began
    assert found is not None
    began = time.perf_counter()
    again = progress_of(DAG, RUN)
    then = time.perf_counter() - began
    with capsys.disabled():
        print(f"\n10,000 songs in {len(batches)} batches: {first:.2f} s at first, {then:.2f} s then.")
    assert again is not None
    assert again.counts == found.counts
    counts = dict(found.counts)
    assert sum(counts.values()) == 10_000
    assert counts["Failed"] == len(batches) // 2
    assert {*counts} == {"Failed", "Cover in progress", "Archived"}
    assert found.states[ids[0]] == progress.FAILED
