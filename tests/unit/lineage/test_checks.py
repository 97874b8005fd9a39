"""The checks that events of OpenLineage go through: what is wrong with one is found, whatever it is."""

from __future__ import annotations

import importlib
import json
import pkgutil
import uuid
from collections.abc import Callable
from typing import Any

import openlineage.client.generated as generated
import pytest
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
)
from openlineage.client.serde import Serde

from airflow_kie.lineage.openlineage import KieOutputDatasetFacet, KieRunFacet
from openlineage_events import KIE, Event
from openlineage_graph import AROUND, CHAIN, Logged, Try, expected, graph, lost_or_doubled
from openlineage_schema import RUN_EVENT, check, flaws, official

NAMES = {"prompt": "a" * 64, "song": "5" * 32, "cover": "c" * 32, "folder": "s3://covers/songs/one"}


def whole() -> Event:
    """Return an event with a facet of every kind."""
    facet = KieRunFacet(operation="suno.cover", kie_conn_id="kie_default", completion_source="poll", attempts=1)
    error = error_message_run.ErrorMessageRunFacet(message="KIE is down", programmingLanguage="python")
    kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="AIRFLOW", jobType="TASK")
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(size=12, fileCount=1)
    version = dataset_version_dataset.DatasetVersionDatasetFacet("1" * 64)
    file = OutputDataset(
        "s3://covers",
        "songs/one/cover-1.png",
        facets={"version": version},
        outputFacets={"kie": KieOutputDatasetFacet(kind="cover", size=12), "outputStatistics": statistics},
    )
    event = RunEvent(
        eventType=RunState.COMPLETE,
        eventTime="2026-11-22T10:00:00+00:00",
        run=Run(str(uuid.UUID(int=7)), facets={"kie": facet, "errorMessage": error}),
        job=Job("default", "music_cover.archive_to_s3", facets={"jobType": kind}),
        inputs=[InputDataset(KIE, "suno/music/5")],
        outputs=[file],
        producer="urn:tests",
    )
    decoded: Event = json.loads(Serde.to_json(event))
    return decoded


def put(path: str, value: object) -> Callable[[Event], None]:
    """Return what puts a value somewhere into an event; None takes away what is there."""

    def change(event: Event) -> None:
        *way, last = path.split("/")
        holder: Any = event
        for each in way:
            holder = holder[int(each)] if isinstance(holder, list) else holder[each]
        if value is None:
            del holder[last]
        else:
            holder[last] = value

    return change


OURS, THEIRS = "run/facets/kie", "run/facets/errorMessage"
BASE = {"_producer": "urn:tests", "_schemaURL": RUN_EVENT.replace("RunEvent", "RunFacet")}
WRONG: dict[str, tuple[Callable[[Event], None], str]] = {
    "no run id": (put("run/runId", None), "'runId' is a required property"),
    "a run id that is none": (put("run/runId", "manual__2026"), "is not a 'uuid'"),
    "no time": (put("eventTime", None), "'eventTime' is a required property"),
    "a time without a date": (put("eventTime", "10:00"), "is not a 'date-time'"),
    "no type": (put("eventType", None), "eventType: is missing"),
    "a type that there is not": (put("eventType", "ENDED"), "is not one of"),
    "a producer that is not an address": (put("producer", "airflow"), "is not a 'uri'"),
    "another version": (put("schemaURL", RUN_EVENT.replace("2-0-2", "3-0-0")), "schemaURL is "),
    "a job without a name": (put("job/name", None), "'name' is a required property"),
    "a dataset without a namespace": (put("inputs/0/namespace", None), "'namespace' is a required property"),
    "a facet that names nobody": (put(f"{THEIRS}/_producer", None), "'_producer' is a required property"),
    "a facet that says too little": (put(f"{THEIRS}/programmingLanguage", None), "is a required property"),
    "a facet with a text for a number": (put("outputs/0/outputFacets/outputStatistics/size", "12"), "is not of type"),
    "a job's facet that says too little": (put("job/facets/jobType/integration", None), "is a required property"),
    "a dataset's facet that says too little": (
        put("outputs/0/facets/version/datasetVersion", None),
        "is a required property",
    ),
    "a facet that nobody describes": (
        put(f"{THEIRS}/_schemaURL", "https://example.com/A.json"),
        "is not in openlineage",
    ),
    "a facet under another's name": (
        put("run/facets/nominalTime", whole()["run"]["facets"]["errorMessage"]),
        "no facet",
    ),
    "a facet that only says that it is one": (put(THEIRS, BASE), "describes no facet of this name"),
    "ours without what it must say": (put(f"{OURS}/operation", None), "'operation' is a required property"),
    "ours with a word that is not published": (put(f"{OURS}/completion_source", "rumour"), "is not one of"),
    "ours with a field that is not published": (put(f"{OURS}/mood", "good"), "mood is not published"),
    "ours of an output with a size below nothing": (
        put("outputs/0/outputFacets/kie/size", -1),
        "less than the minimum",
    ),
}


def test_an_event_with_a_facet_of_every_kind_fits() -> None:
    check(whole())


@pytest.mark.parametrize("wrong", WRONG)
def test_an_event_that_does_not_fit_is_found_and_what_is_wrong_is_named(wrong: str) -> None:
    change, expected = WRONG[wrong]
    event = whole()
    change(event)
    assert any(expected in flaw for flaw in flaws(event)), flaws(event)
    with pytest.raises(AssertionError):
        check(event)


def test_the_schemas_at_hand_are_those_of_the_installed_client() -> None:
    named = set()
    for module in pkgutil.iter_modules(generated.__path__, "openlineage.client.generated."):
        for found in vars(importlib.import_module(module.name)).values():
            if isinstance(found, type) and hasattr(found, "_get_schema"):
                named.add(found._get_schema().partition("#")[0])
    assert len(official()) == 12
    assert official() <= named


def event_of(word: str, job: str, number: int = 1, map_index: int = 0, at: int = 0, **datasets: Any) -> Event:
    """Return an event of a task's try as Airflow's listener would send it."""
    return {
        "eventType": word,
        "eventTime": f"2026-11-22T10:00:{at:02}+00:00",
        "run": {
            "runId": f"{job} {map_index} {number}",
            "facets": {"airflow": {"taskInstance": {"map_index": map_index, "try_number": number}}},
        },
        "job": {"name": f"music_cover.{job}"},
        "inputs": [],
        "outputs": [],
        **datasets,
    }


def row(event: str, job: str, number: int = 1, map_index: int = 0) -> dict[str, Any]:
    """Return a row of Airflow's log of events."""
    return {"event": event, "task_id": job, "map_index": map_index, "try_number": number}


def deferred_once() -> tuple[list[Event], list[dict[str, Any]]]:
    """Return events and log of a task that failed, and in its second try was deferred and succeeded."""
    job = "generate_cover"
    made = {"namespace": KIE, "name": "suno/cover/c", "outputFacets": {"kie": {"kind": "cover"}}}
    events = [
        event_of("START", job, at=1),
        event_of("FAIL", job, at=2),
        event_of("START", job, 2, at=3),
        event_of("START", job, 2, at=4),
        event_of("COMPLETE", job, 2, at=5, outputs=[made]),
    ]
    states = [("running", 1), ("failed", 1), ("running", 2), ("deferred", 2), ("running", 2), ("success", 2)]
    return events, [row(word, job, number) for word, number in states]


def test_events_that_airflows_log_bears_out_are_neither_lost_nor_doubled() -> None:
    events, rows = deferred_once()
    assert lost_or_doubled(events, Logged.read(rows)) == []


@pytest.mark.parametrize("number", range(5))
def test_every_event_that_is_lost_is_missed_and_every_one_that_comes_twice_is_noticed(number: int) -> None:
    events, rows = deferred_once()
    word = events[number]["eventType"]
    lost = lost_or_doubled(events[:number] + events[number + 1 :], Logged.read(rows))
    doubled = lost_or_doubled([*events, events[number]], Logged.read(rows))
    assert any(f"{word} is missing 1 times" in flaw for flaw in lost), lost
    assert any(f"{word} comes 1 times too often" in flaw for flaw in doubled), doubled


def test_a_try_that_was_never_reported_or_that_airflow_does_not_know_is_noticed() -> None:
    events, rows = deferred_once()
    never = lost_or_doubled(events[2:], Logged.read(rows))
    assert never == [f"{Try('generate_cover', 0, 1)} was never reported"]
    assert len(lost_or_doubled(events, Logged.read(rows[2:]))) == 2  # its start and its end


def test_tries_that_are_mixed_up_are_noticed() -> None:
    events, rows = deferred_once()
    events[1]["run"]["runId"] = events[2]["run"]["runId"]
    flaws_found = " ".join(lost_or_doubled(events, Logged.read(rows)))
    assert "has several run ids" in flaws_found
    assert "is that of 2 tries" in flaws_found


def test_an_end_before_the_start_and_a_thing_that_is_made_before_the_end_are_noticed() -> None:
    events, rows = deferred_once()
    events[1]["eventTime"] = events[0]["eventTime"].replace("10:00", "09:00")
    events[3]["outputs"] = events[4]["outputs"]
    flaws_found = " ".join(lost_or_doubled(events, Logged.read(rows)))
    assert "ends before it starts" in flaws_found
    assert "reports something as made before it has succeeded" in flaws_found


def test_a_try_that_the_scheduler_has_failed_may_end_once_more_by_itself_and_no_more() -> None:
    events, rows = deferred_once()
    goes_on = [*events, event_of("COMPLETE", "generate_cover", at=2)]
    assert lost_or_doubled(goes_on, Logged.read([*rows, row("state mismatch", "generate_cover")])) == []
    assert lost_or_doubled(goes_on, Logged.read(rows)) != []
    twice = [*goes_on, goes_on[-1]]
    assert lost_or_doubled(twice, Logged.read([*rows, row("state mismatch", "generate_cover")])) != []


def test_a_try_that_the_scheduler_has_failed_before_it_ran_ends_without_a_start() -> None:
    events, rows = deferred_once()
    never_ran = [row("state mismatch", "generate_cover"), *rows[1:]]
    assert lost_or_doubled(events[1:], Logged.read(never_ran)) == []
    assert lost_or_doubled(events[1:], Logged.read(rows[1:])) != []  # nobody says that it never ran
    assert lost_or_doubled(events[1:], Logged.read([rows[0], *never_ran])) != []  # it ran
    assert lost_or_doubled(events, Logged.read(never_ran)) != []


@pytest.mark.parametrize("ends", [{"FAIL": 2}, {"COMPLETE": 1}], ids=["disowned too", "by itself"])
def test_a_workload_that_was_queued_when_its_try_was_disowned_reports_the_next_try_under_its_own_number(
    ends: dict[str, int],
) -> None:
    ((end, number),) = ends.items()
    job = "generate_cover"
    events = [
        event_of("START", job, at=1),
        event_of("FAIL", job, at=2),
        event_of("START", job, at=3),
        event_of(end, job, number, at=4),
        event_of("START", job, 3, at=5),
        event_of("COMPLETE", job, 3, at=6),
    ]
    rows = [
        *[row(word, job) for word in ("running", "deferred", "state mismatch", "failed")],
        *[row(word, job, 2) for word in ("running", "state mismatch", "failed" if end == "FAIL" else "success")],
        *[row(word, job, 3) for word in ("running", "success")],
    ]
    assert lost_or_doubled(events, Logged.read(rows)) == []
    assert lost_or_doubled([*events[:2], *events[3:]], Logged.read(rows)) != []
    assert lost_or_doubled([*events[:3], events[2], *events[3:]], Logged.read(rows)) != []
    disowned = [each for each in rows if each["event"] != "state mismatch"]
    assert lost_or_doubled(events, Logged.read(disowned)) != []


def test_a_try_that_nobody_was_left_to_end_is_reported_by_its_start() -> None:
    events, rows = deferred_once()
    left = Logged.read([rows[0], *rows[2:]])
    assert left.abandoned == {Try("generate_cover", 0, 1)}
    assert lost_or_doubled([events[0], *events[2:]], left) == []
    assert lost_or_doubled(events[2:], left) != []
    assert "never starts" in " ".join(lost_or_doubled(events[1:], left))


def test_a_try_that_nobody_was_left_to_end_may_have_lost_its_last_start_and_no_other() -> None:
    events, rows = deferred_once()
    left = Logged.read([*rows[:1] * 2, *rows[2:]])
    assert lost_or_doubled([events[0], *events[2:]], left) == []
    more = Logged.read([*rows[:1] * 3, *rows[2:]])
    assert any("START is missing 1 times" in flaw for flaw in lost_or_doubled([events[0], *events[2:]], more))


def complete(names: dict[str, str]) -> list[Event]:
    """Return the events of the written-down graph, as tasks of music_cover would send them."""

    def dataset(name: str, **made: Any) -> dict[str, Any]:
        namespace, key = ("s3://covers", name.removeprefix("s3://covers/")) if name.startswith("s3") else (KIE, name)
        return {"namespace": namespace, "name": key, **made}

    events = []
    for step in expected((*AROUND, *CHAIN), **names):
        made = [
            dataset(name, outputFacets={"kie": {"made_from": dataset(source)} if source else {}})
            for name, source in step.outputs
        ]
        inputs = [dataset(name) for name in step.inputs]
        events.append(event_of("COMPLETE", step.job, inputs=inputs, outputs=made))
    return sorted(events, key=lambda event: str(event["job"]["name"]))


def without(job: str, side: str) -> Callable[[list[Event]], None]:
    """Return what takes a dataset from a task's event."""

    def change(events: list[Event]) -> None:
        (event,) = [event for event in events if event["job"]["name"] == f"music_cover.{job}"]
        event[side].pop()

    return change


CHANGES: dict[str, Callable[[list[Event]], object]] = {
    "an edge from the prompt is lost": without("music_complete", "inputs"),
    "an edge from the song is lost": without("generate_cover", "inputs"),
    "a file is lost": without("archive_to_s3", "outputs"),
    "a task is lost": lambda events: events.pop(),
    "a failed try reports it instead": lambda events: events[0].update(eventType="FAIL"),
    "a file comes of another thing": lambda events: events[0]["outputs"][0]["outputFacets"]["kie"].update(
        made_from={"namespace": KIE, "name": "suno/cover/another"}
    ),
    "a task of another song is among them": lambda events: events.extend(complete({**NAMES, "song": "6" * 32})),
}


def test_a_graph_that_is_reported_whole_is_the_one_that_is_written_down() -> None:
    assert graph(complete(NAMES)) == expected((*AROUND, *CHAIN), **NAMES)


@pytest.mark.parametrize("change", CHANGES)
def test_a_graph_that_differs_anywhere_is_another_one(change: str) -> None:
    events = complete(NAMES)
    CHANGES[change](events)
    assert graph(events) != expected((*AROUND, *CHAIN), **NAMES)
