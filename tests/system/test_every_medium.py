"""Every medium through Airflow's processes: a table whose worker is killed twice, awkward operations, song extras."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from song_stack import SongStack
from system.conftest import Begun

KEY = "sim-media"
"""The key of connection ``kie_media``: its rate limit and its ledger are apart from those of the other tests."""
ROWS = 60


@dataclass(frozen=True)
class Media:
    """Two runs that were begun side by side.

    :param every: of DAG every_medium.
    :param extras: of DAG extras_killed.
    :param song: whose extras are made; its covers are archived.
    """

    every: str
    extras: str
    song: str


@pytest.fixture(scope="module")
def media(songs: SongStack, begun: Begun) -> Iterator[Media]:
    airflow, simulator = songs.airflow, songs.running.simulator
    simulator.set(rate_limit=1000)
    simulator.add_fault("task", "takes", account=KEY, seconds=2, times=-1)
    [first] = songs.songs("Foghorn", form="unified", account=KEY)
    text = io.StringIO()
    csv.writer(text).writerows([("id", "input.prompt"), *((n, f"picture no. {n}") for n in range(ROWS))])
    (songs.bucket / "in" / "pictures.csv").write_text(text.getvalue())
    for dag_id in ("every_medium", "extras_killed"):
        airflow.wait_for_dag(dag_id)
    table = f"s3://{songs.running.settings.bucket}/in/pictures.csv"
    every = songs.trigger("every_medium", {"song": first, "table": table})
    archived = begun.with_events[-1]
    songs.wait_archived([archived])
    yield Media(every, songs.trigger("extras_killed", {"song": archived}), archived)
    simulator.set(rate_limit=20)


def paid(songs: SongStack, kind: str) -> list[dict[str, Any]]:
    """Return what KIE has charged the account of these tests for."""
    return [charge for charge in songs.running.simulator.ledger(kind) if charge["account"] == KEY]


def manifests(songs: SongStack, operation: str) -> list[dict[str, Any]]:
    found = [path for path in songs.bucket.objects() if path.key.startswith(f"media/_tasks/{operation}/")]
    return [json.loads(path.read_text()) for path in found if path.name == "manifest.json"]


def test_each_medium_is_archived_and_each_task_paid_once(songs: SongStack, media: Media) -> None:
    assert songs.ended("every_medium", media.every) == "success"
    kinds = {
        operation: [Counter(file["kind"] for file in one["files"]) for one in manifests(songs, operation)]
        for operation in ("veo.generate", "veo.4k", "suno.lyrics", "suno.stems")
    }
    assert kinds["veo.generate"] == kinds["veo.4k"] == [{"video": 1}]
    assert [set(counts) for counts in kinds["suno.lyrics"]] == [{"lyrics"}]
    (stems,) = kinds["suno.stems"]
    assert stems == {"stem": 12}  # this form names links alone, without saying what each is
    files = [file for name in kinds for one in manifests(songs, name) for file in one["files"]]
    types = {file["content_type"].partition("/")[0] for file in files}
    assert types == {"video", "text", "audio"}
    assert songs.airflow.xcom("every_medium", media.every, "persona")["persona_id"]
    assert songs.airflow.xcom("every_medium", media.every, "timed_lyrics")["alignedWords"]
    assert [len(paid(songs, kind)) for kind in ("veo", "veo_4k", "vocal_removal", "lyrics", "persona")] == [1] * 5


def test_a_table_whose_worker_is_killed_twice_is_complete_and_each_image_is_paid_once(
    songs: SongStack, media: Media
) -> None:
    assert songs.ended("every_medium", media.every) == "success"
    killed = [path.name for path in songs.running.settings.airflow_home.glob("killed-*ing-*")]
    assert sorted(name.split("-")[1] for name in killed) == ["archiving", "creating"]
    value = songs.airflow.xcom("every_medium", media.every, "table")
    assert {name: n for name, n in value["counts"].items() if n} == {"archived": ROWS}
    key = value["results"].partition(f"{songs.running.settings.bucket}/")[2]
    rows = [json.loads(line) for line in (songs.bucket / key).read_text().splitlines()]
    assert [(row["index"], row["key"], row["status"]) for row in rows] == [(n, str(n), "archived") for n in range(ROWS)]
    images = paid(songs, "jobs")
    assert Counter(charge["request"]["input"]["prompt"] for charge in images) == {
        f"picture no. {n}": 1 for n in range(ROWS)
    }
    assert {row["task_id"] for row in rows} == {charge["task_id"] for charge in images}
    there = {path.key for path in songs.bucket.objects()}
    assert {file["key"] for row in rows for file in row["files"]} <= there
    unarchived = f"{songs.running.settings.prefix}/_unarchived/market/"
    assert not [key for key in there if key.startswith(unarchived)]


def test_extras_whose_worker_dies_in_the_create_are_paid_once_and_in_the_songs_folder(
    songs: SongStack, media: Media
) -> None:
    assert songs.ended("extras_killed", media.extras) == "success"
    assert len(list(songs.running.settings.airflow_home.glob("killed-wav-*"))) == 1
    files = {file["key"].rpartition("/")[2]: file for file in songs.manifest(media.song)["files"]}
    assert {"wav-1.wav", "timed_lyrics-1.json"} <= files.keys()
    ledger = songs.running.simulator.ledger("wav")
    (wav,) = [charge for charge in ledger if charge["source_id"].startswith(f"{media.song}/")]
    assert (wav["form"], files["wav-1.wav"]["task_id"]) == ("dedicated", wav["task_id"])  # in which the song is made
