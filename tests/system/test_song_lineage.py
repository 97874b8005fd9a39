"""Events of OpenLineage and of Airflow's assets, from real processes: also of killed ones, complete and not doubled."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openlineage_events import Event, of_run, read_events, run_of
from openlineage_graph import AROUND, CHAIN, GENERATED, Logged, Step, Try, expected, graph, lost_or_doubled
from openlineage_schema import check
from song_crashes import CRASHES, Crashed
from song_stack import SongStack, eventually
from system.conftest import Begun

PROMPT = "A slow waltz for two tired robots"
COVER = "kie://api.kie.ai/suno/cover"


@dataclass(frozen=True)
class Lineage:
    """The events of a stack, beside what Airflow's own log of events says of its runs."""

    songs: SongStack

    @property
    def folder(self) -> Path:
        return self.songs.running.settings.home / "lineage"

    def events(self) -> list[Event]:
        return read_events(self.folder)

    def logged(self, run_id: str, dag_id: str = "music_cover") -> Logged:
        """Return what Airflow's own log says of a run's tasks."""
        return Logged.read(self.songs.airflow.pages("/eventLogs", "event_logs", dag_id=dag_id, run_id=run_id))

    def of(self, run_id: str, dag_id: str = "music_cover") -> list[Event]:
        """Return the events of a run that has ended, of which none is lost and none doubled."""

        def flaws() -> list[str]:
            return lost_or_doubled(of_run(self.events(), dag_id, run_id), self.logged(run_id, dag_id))

        with contextlib.suppress(AssertionError):  # a task's last event comes after its end
            eventually(lambda: flaws() == [], f"the events of {run_id} are complete", pause=2.0)
        assert flaws() == []
        return of_run(self.events(), dag_id, run_id)

    def graph_of(self, songs: Iterable[str]) -> set[Step]:
        """Return the graph that a run of music_cover which has archived these songs must have."""
        return set().union(expected(AROUND), *(expected(CHAIN, **self.names(song)) for song in songs))

    def names(self, song: str) -> dict[str, str]:
        """Return how the datasets of an archived song are called."""
        settings = self.songs.running.settings
        prompt = self.songs.manifest(song)["song"]["prompt"]
        return {
            "prompt": hashlib.sha256(prompt.encode()).hexdigest(),
            "song": song,
            "cover": self.songs.cover_task_of(song),
            "folder": f"s3://{settings.bucket}/{settings.prefix}/{song}",
        }


@pytest.fixture(scope="module")
def lineage(songs: SongStack) -> Lineage:
    return Lineage(songs)


@pytest.fixture(scope="module")
def generated(songs: SongStack, begun: Begun) -> str:
    """Give the song that a prompt has led to, archived."""
    assert songs.ended("music_generate", begun.generate_run) == "success"
    song = str(songs.airflow.xcom("music_generate", begun.generate_run, "generate_music"))
    songs.wait_archived([song])
    return song


def manifest_key(event: Mapping[str, Any]) -> str:
    """Return the key of the manifest that an event of a cover tells of: of a batch, by prefix and partition."""
    extra = event["extra"]
    return str(extra.get("manifest_key") or f"{extra['prefix']}/{event['partition_key']}/manifest.json")


def words(events: Iterable[Event], job: str, map_index: int = 0) -> dict[int, list[str]]:
    """Return the kinds of the events of each try of a task, in the order of their times."""
    found: dict[int, list[str]] = {}
    for event in sorted(events, key=lambda event: str(event["eventTime"])):
        each = Try.of(event)
        if (each.job, each.map_index) == (job, map_index):
            found.setdefault(each.number, []).append(event["eventType"])
    return found


def test_a_prompt_is_connected_to_every_file_that_came_of_it(
    songs: SongStack, lineage: Lineage, begun: Begun, generated: str
) -> None:
    (run_id,) = songs.event_runs(generated)
    assert songs.ended("music_cover", run_id) == "success"
    names = lineage.names(generated)
    assert names["prompt"] == hashlib.sha256(PROMPT.encode()).hexdigest()
    made = graph(lineage.of(begun.generate_run, "music_generate"))
    assert made == expected(GENERATED, **names)
    covers, taken = graph(lineage.of(run_id)), songs.taken_by(run_id)
    if len(taken) <= 2:  # of more songs that events have told of, a task works on some together
        assert covers == lineage.graph_of(taken)
    steps = made | covers
    source_of = {output: source for step in steps for output, source in step.outputs if source}
    for picture in ("cover-1.png", "cover-2.png"):
        found = [f"{names['folder']}/{picture}"]
        while found[-1] in source_of:
            found.append(source_of[found[-1]])
        way = ("{folder}/" + picture, "suno/cover/{cover}", "suno/music/{song}", "suno/prompt/{prompt}")
        assert found == [each.format(**names) for each in way]


def test_a_run_with_a_song_that_failed_reports_the_others_whole_and_of_that_one_no_output(
    songs: SongStack, lineage: Lineage, begun: Begun
) -> None:
    assert songs.ended("music_cover", begun.form) == "failed"
    events = lineage.of(begun.form)
    report = expected([("report", (), {})])  # which fails with the song
    assert graph(events) == lineage.graph_of(begun.good) - report
    failed = {event["job"]["name"] for event in events if event["eventType"] == "FAIL"}
    assert {"music_cover.music_complete", "music_cover.report"} <= failed
    assert not any(event["outputs"] for event in events if event["eventType"] == "FAIL")


def test_a_run_with_retries_reports_each_try_once_and_the_graph_as_if_there_had_been_none(
    songs: SongStack, lineage: Lineage, begun: Begun
) -> None:
    assert songs.ended("music_cover", begun.retried_run) == "success"
    events = lineage.of(begun.retried_run)
    assert graph(events) == lineage.graph_of([begun.retried])
    for job in ("generate_cover", "archive_to_s3"):
        tries = words(events, job)
        assert tries[1] == ["START", "FAIL"]
        assert tries[len(tries)][-1] == "COMPLETE"
        assert len(tries) >= 2
    failed = [event for event in events if event["eventType"] == "FAIL"]
    inputs = {Try.of(event).job: {each["name"] for each in event["inputs"]} for event in failed if event["inputs"]}
    names = lineage.names(begun.retried)
    assert inputs["generate_cover"] == {f"suno/music/{names['song']}"}
    assert inputs["archive_to_s3"] == {f"suno/music/{names['song']}", f"suno/cover/{names['cover']}"}


def test_songs_under_killed_processes_are_reported_whole_and_none_twice(
    songs: SongStack, lineage: Lineage, crashed: Crashed
) -> None:
    assert songs.ended("music_cover", crashed.run_id) == "success"
    struck = list(crashed.songs.values())
    events = lineage.of(crashed.run_id)
    assert graph(events) == lineage.graph_of(struck)
    reported_sizes = {
        output["name"]: output["outputFacets"]["outputStatistics"]["size"]
        for event in events
        for output in event["outputs"]
        if output["namespace"].startswith("s3://") and "cover-" in output["name"]
    }
    archived = [file for song in struck for file in songs.manifest(song)["files"]]
    assert reported_sizes == {file["key"]: file["size"] for file in archived}


def test_the_scheduler_ends_the_run_of_a_killed_process_unless_it_dies_too_and_the_next_try_reports_everything(
    songs: SongStack, lineage: Lineage, crashed: Crashed
) -> None:
    assert songs.ended("music_cover", crashed.run_id) == "success"
    events, logged = lineage.of(crashed.run_id), lineage.logged(crashed.run_id)
    order = list(crashed.songs.values())
    for alone in map(order.index, crashed.struck_by(CRASHES[0])):
        tries = words(events, "generate_cover", alone)
        assert tries[1] == ["START", "FAIL"]
        assert tries[len(tries)][-1] == "COMPLETE"
        first = Try("generate_cover", alone, 1)
        (failed,) = [event for event in events if Try.of(event) == first and event["eventType"] == "FAIL"]
        assert (failed["inputs"], failed["outputs"], "kie" in failed["run"]["facets"]) == ([], [], False)
        assert "finished with state" in failed["run"]["facets"]["errorMessage"]["message"]
    for with_its_scheduler in map(order.index, crashed.struck_by(CRASHES[1])):
        tries = words(events, "generate_cover", with_its_scheduler)
        # On a busy machine the first scheduler has failed the try as one whose process is gone before it was killed
        # itself.
        reported = "FAIL" in tries[1]
        assert set(tries[1]) <= {"START", "FAIL"}
        assert (Try("generate_cover", with_its_scheduler, 1) in logged.abandoned) is not reported
        assert tries[len(tries)][-1] == "COMPLETE"


def test_no_run_of_this_stack_that_has_ended_has_lost_or_doubled_an_event(
    songs: SongStack, lineage: Lineage, begun: Begun, crashed: Crashed
) -> None:
    for run_id in (begun.form, begun.retried_run, crashed.run_id):
        songs.ended("music_cover", run_id)
    known = {run for run in map(run_of, lineage.events()) if run}
    ended = {
        (dag_id, run["dag_run_id"])
        for dag_id in {dag_id for dag_id, _ in known}
        for run in songs.airflow.runs(dag_id)
        if run["state"] in ("success", "failed")
    }
    for dag_id, run_id in sorted(known & ended):
        lineage.of(run_id, dag_id)
    assert len(known & ended) > 10


def test_every_event_fits_openlineages_schema_and_ours_and_has_no_prompt_in_our_facets(
    lineage: Lineage, begun: Begun, generated: str
) -> None:
    events = lineage.events()
    for event in events:
        check(event)
    ours = [event["run"]["facets"]["kie"] for event in events if "kie" in event["run"].get("facets", {})]
    assert len(ours) > 20
    assert {facet["completion_source"] for facet in ours if "completion_source" in facet} <= {
        "callback",
        "poll",
        "at_once",
    }
    assert not any("text" in facet.get("prompt", {}) for facet in ours)
    assert not any(PROMPT in str(facet) for facet in ours)


def test_each_archived_song_has_sent_one_event_with_its_manifests_key(
    songs: SongStack, begun: Begun, crashed: Crashed, generated: str
) -> None:
    mine = [*begun.good, *crashed.songs.values(), generated]
    songs.wait_archived(mine)
    assert songs.ended("music_cover", crashed.run_id) == "success"
    events = [event for event in songs.airflow.asset_events() if event["uri"] == COVER]
    assert None not in {event["partition_key"] for event in events}
    keys = Counter((event["partition_key"], manifest_key(event)) for event in events)
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
