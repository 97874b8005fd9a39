"""Events of OpenLineage and of Airflow's assets, from real processes: also of killed ones, complete and not doubled."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_kie.cli import lineage
from airflow_kie.cli.terminal import ours_alone
from openlineage_events import check, doubled, edges, of_run, read_events
from song_stack import SongStack, eventually
from system.conftest import Begun, Crashed

PROMPT = "A slow waltz for two tired robots"
COVER = "kie://api.kie.ai/suno/cover"
Edge = tuple[str, str, str]


@dataclass(frozen=True)
class Lineage:
    """The events of a stack."""

    songs: SongStack

    @property
    def folder(self) -> Any:
        return self.songs.running.settings.home / "lineage"

    def events(self) -> list[dict[str, Any]]:
        return read_events(self.folder)

    def of(self, run_id: str, expected: set[Edge], dag_id: str = "music_cover") -> list[dict[str, Any]]:
        """Return the events of a run that has ended, once the edges are there: a task's last event comes after it."""

        def told() -> list[dict[str, Any]] | None:
            found = of_run(self.events(), dag_id, run_id)
            return found if expected <= set(edges(found)) else None

        return eventually(told, f"the events of {run_id} tell {expected}", seconds=60)

    def expected(self, song: str, prompt: str) -> set[Edge]:
        """Return from what each thing of an archived song was made, and by which task of music_cover.

        Its covers alone: audio may have been added since, by another run.
        """
        cover = self.songs.cover_task_of(song)
        here = f"s3://{self.songs.running.settings.bucket}/"
        covers = [file for file in self.songs.manifest(song)["files"] if file["kind"] == "cover"]
        return {
            (f"suno/prompt/{hashlib.sha256(prompt.encode()).hexdigest()}", "music_complete", f"suno/music/{song}"),
            (f"suno/music/{song}", "generate_cover", f"suno/cover/{cover}"),
            (f"suno/music/{song}", "cover_details", f"suno/cover/{cover}"),
            *((f"suno/cover/{cover}", "archive_to_s3", here + file["key"]) for file in covers),
            *((f"suno/{each}", "archive_to_s3", f"{here}songs/{song}/manifest.json")
              for each in (f"music/{song}", f"cover/{cover}")),
        }  # fmt: skip


@pytest.fixture(scope="module")
def told(songs: SongStack) -> Lineage:
    return Lineage(songs)


@pytest.fixture(scope="module")
def generated(songs: SongStack, begun: Begun) -> str:
    """Give the song that a prompt has led to, archived."""
    assert songs.ended("music_generate", begun.generate_run) == "success"
    song = str(songs.airflow.xcom("music_generate", begun.generate_run, "generate_music"))
    songs.wait_archived([song])
    return song


def complete(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (event for event in events if event["eventType"] == "COMPLETE")


def test_a_prompt_is_connected_to_every_file_that_came_of_it_by_one_edge_each(
    songs: SongStack, told: Lineage, begun: Begun, generated: str
) -> None:
    prompt = f"suno/prompt/{hashlib.sha256(PROMPT.encode()).hexdigest()}"
    first = {(prompt, "generate_music", f"suno/music/{generated}")}
    chain = told.expected(generated, PROMPT)
    (run_id,) = songs.event_runs(generated)
    assert songs.ended("music_cover", run_id) == "success"
    events = [*told.of(begun.generate_run, first, "music_generate"), *told.of(run_id, chain)]
    assert set(edges(events)) == first | chain
    assert doubled(events) == []


def test_a_run_with_a_song_that_failed_tells_the_others_whole_and_of_that_one_no_output(
    songs: SongStack, told: Lineage, begun: Begun
) -> None:
    assert songs.ended("music_cover", begun.form) == "failed"
    expected = set().union(*(told.expected(song, songs.manifest(song)["song"]["prompt"]) for song in begun.good))
    events = told.of(begun.form, expected)
    assert set(edges(events)) == expected
    assert doubled(events) == []
    failed = [event for event in events if event["eventType"] == "FAIL" and event["outputs"]]
    assert failed == []
    assert any(event["eventType"] == "FAIL" for event in events)


def test_songs_under_killed_processes_are_told_whole_and_none_twice(
    songs: SongStack, told: Lineage, crashed: Crashed
) -> None:
    assert songs.ended("music_cover", crashed.run_id) == "success"
    struck = list(crashed.songs.values())
    expected = set().union(*(told.expected(song, songs.manifest(song)["song"]["prompt"]) for song in struck))
    events = told.of(crashed.run_id, expected)
    assert set(edges(events)) == expected
    assert doubled(events) == []
    ended = Counter(event["run"]["runId"] for event in complete(events))
    assert set(ended.values()) == {1}
    begun = {event["run"]["runId"] for event in events if event["eventType"] == "START"}
    assert set(ended) <= begun
    lost = struck.index(next(iter(crashed.killed)))
    tries = [
        (event["run"]["facets"]["airflow"]["taskInstance"]["try_number"], event["eventType"])
        for event in events
        if event["job"]["name"].endswith(".generate_cover")
        and event["run"]["facets"]["airflow"]["taskInstance"].get("map_index", -1) == lost
    ]
    first = {word for number, word in tries if number == 1}
    assert first in ({"START"}, {"START", "FAIL"})  # the killed process sends no end; the scheduler may
    assert "COMPLETE" in {word for number, word in tries if number > 1}
    told_sizes = {
        output["name"]: output["outputFacets"]["outputStatistics"]["size"]
        for event in complete(events)
        for output in event["outputs"]
        if output["namespace"].startswith("s3://") and "cover-" in output["name"]
    }
    archived = [file for song in struck for file in songs.manifest(song)["files"]]
    assert told_sizes == {file["key"]: file["size"] for file in archived}


def test_every_event_fits_openlineages_classes_and_our_schema_and_tells_no_prompt_in_our_facets(
    told: Lineage, begun: Begun, generated: str
) -> None:
    events = told.events()
    for event in events:
        check(event)
    ours = [event["run"]["facets"]["kie"] for event in events if "kie" in event["run"].get("facets", {})]
    assert len(ours) > 20
    assert {facet["heard"] for facet in ours if "heard" in facet} <= {"callback", "poll", "at_once"}
    assert not any("text" in facet.get("prompt", {}) for facet in ours)
    assert not any(PROMPT in str(facet) for facet in ours)


def test_the_command_leads_from_a_file_back_to_its_prompt(
    told: Lineage, generated: str, songs: SongStack, begun: Begun, capsys: pytest.CaptureFixture[str]
) -> None:
    told.of(songs.event_runs(generated)[0], told.expected(generated, PROMPT))
    key = songs.manifest(generated)["files"][0]["key"]
    with ours_alone(), pytest.raises(SystemExit) as ended:
        lineage.command(lineage_of(key, str(told.folder)))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert ended.value.code == 0
    assert lines[0].startswith(f"s3://{songs.running.settings.bucket}/{key} (")
    assert f"run {begun.generate_run}" in lines[-2]
    assert lines[-1] == f"prompt, SHA-256 {hashlib.sha256(PROMPT.encode()).hexdigest()}"


def lineage_of(what: str, events: str) -> Any:
    from argparse import Namespace

    return Namespace(what=what, events=events)


def test_each_archived_song_has_sent_one_event_with_its_manifests_key(
    songs: SongStack, begun: Begun, crashed: Crashed, generated: str
) -> None:
    mine = [*begun.good, *crashed.songs.values(), generated]
    songs.wait_archived(mine)
    assert songs.ended("music_cover", crashed.run_id) == "success"
    events = [event for event in songs.airflow.asset_events() if event["uri"] == COVER]
    assert None not in {event["partition_key"] for event in events}
    keys = Counter((event["partition_key"], event["extra"]["manifest_key"]) for event in events)
    for song in mine:
        assert keys[song, f"{songs.running.settings.prefix}/{song}/manifest.json"] == 1
    assert begun.refused not in {event["partition_key"] for event in events}


def test_the_example_of_somebody_elses_dag_runs_once_for_a_new_song_and_gets_its_manifest(songs: SongStack) -> None:
    example = "each_archived_song"
    songs.airflow.unpause(example)
    (song,) = songs.songs("For Somebody Else")
    assert songs.ended("music_cover", songs.trigger("music_cover", {"music_task_ids": [song]})) == "success"
    runs = eventually(
        lambda: [run for run in songs.airflow.runs(example) if run["partition_key"] == song], "the example runs"
    )
    assert [songs.ended(example, run["dag_run_id"]) for run in runs] == ["success"]
    given = songs.airflow.xcom(example, runs[0]["dag_run_id"], "use_song")
    settings = songs.running.settings
    assert given["manifest"] == f"s3://{settings.bucket}/{settings.prefix}/{song}/manifest.json"
    assert len([run for run in songs.airflow.runs(example) if run["partition_key"] == song]) == 1
    songs.airflow.pause(example)
