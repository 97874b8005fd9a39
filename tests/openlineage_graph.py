"""What the events of a DAG run tell, to be compared: the graph with one that is written down, the starts and ends with
those in Airflow's own log of events."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from openlineage_events import Event, name_of


@dataclass(frozen=True)
class Step:
    """What a task has read and made.

    :param job: the task, without its DAG.
    :param inputs: the datasets that it has read.
    :param outputs: each dataset that it has made, with the one input that this comes from; None: all of them.
    """

    job: str
    inputs: frozenset[str]
    outputs: frozenset[tuple[str, str | None]]


GENERATED = (("generate_music", ("suno/prompt/{prompt}",), {"suno/music/{song}": "suno/prompt/{prompt}"}),)
"""The graph of music_generate: task, inputs, and each output with its origin."""
AROUND: tuple[Any, ...] = (("song_list", ("suno/pending",), {}), ("report", (), {}))
"""The tasks of music_cover that are there once for all songs."""
CHAIN = (
    ("music_complete", ("suno/prompt/{prompt}",), {"suno/music/{song}": "suno/prompt/{prompt}"}),
    ("generate_cover", ("suno/music/{song}",), {"suno/cover/{cover}": "suno/music/{song}"}),
    ("cover_details", ("suno/music/{song}",), {"suno/cover/{cover}": "suno/music/{song}"}),
    (
        "archive_to_s3",
        ("suno/music/{song}", "suno/cover/{cover}"),
        {
            "{folder}/cover-1.png": "suno/cover/{cover}",
            "{folder}/cover-2.png": "suno/cover/{cover}",
            "{folder}/manifest.json": None,
        },
    ),
)
"""The graph of a song in music_cover."""


def expected(rows: Iterable[tuple[str, Iterable[str], Mapping[str, str | None]]], **names: str) -> set[Step]:
    """Return a graph that is written down above, with its names filled in."""
    return {
        Step(
            job,
            frozenset(each.format(**names) for each in inputs),
            frozenset((made.format(**names), source and source.format(**names)) for made, source in outputs.items()),
        )
        for job, inputs, outputs in rows
    }


def graph(events: Iterable[Event]) -> set[Step]:
    """Return what the tasks have made of what, by the events of those that have succeeded."""
    return {_step(event) for event in events if event["eventType"] == "COMPLETE"}


def _step(event: Event) -> Step:
    sources = {name_of(each): each.get("outputFacets", {}).get("kie", {}).get("made_from") for each in event["outputs"]}
    return Step(
        event["job"]["name"].rpartition(".")[2],
        frozenset(name_of(each) for each in event["inputs"]),
        frozenset((made, source and name_of(source)) for made, source in sources.items()),
    )


@dataclass(frozen=True, order=True)
class Try:
    """A try of a task: what is a run in OpenLineage."""

    job: str
    map_index: int
    number: int

    @classmethod
    def of(cls, event: Event) -> Try:
        """Return the try that an event is of."""
        instance = event["run"]["facets"]["airflow"]["taskInstance"]
        return cls(event["job"]["name"].partition(".")[2], instance.get("map_index", -1), instance["try_number"])


_SAYS = {"running": "START", "success": "COMPLETE", "skipped": "COMPLETE", "failed": "FAIL", "up_for_retry": "FAIL"}
"""Word in Airflow's log of events → event of OpenLineage. A task that is resumed is logged as running once more."""
_ENDS = ("COMPLETE", "FAIL")
DISOWNED = "state mismatch"
"""Airflow's word for a try that its scheduler has failed because the executor says that its process is gone."""


@dataclass(frozen=True)
class Logged:
    """What Airflow's own log of events says of a run's tries.

    :param says: try → the events that OpenLineage should have received.
    :param disowned: the tries that the scheduler has failed in the place of their process.
    """

    says: Mapping[Try, Counter[str]]
    disowned: frozenset[Try]

    @classmethod
    def read(cls, rows: Iterable[Mapping[str, Any]]) -> Logged:
        """Read the rows of a run, with the names of Airflow's REST API."""
        says: dict[Try, Counter[str]] = defaultdict(Counter)
        disowned = set()
        for row in rows:
            each = Try(
                str(row["task_id"]), -1 if row["map_index"] is None else row["map_index"], row["try_number"] or 0
            )
            if row["event"] in _SAYS:
                says[each][_SAYS[row["event"]]] += 1
            elif row["event"] == DISOWNED:
                disowned.add(each)
        return cls(says, frozenset(disowned))

    @property
    def abandoned(self) -> frozenset[Try]:
        """The tries of whose end nobody was left to tell."""
        return frozenset(each for each, events in self.says.items() if not any(events[end] for end in _ENDS))


def lost_or_doubled(events: Iterable[Event], logged: Logged) -> list[str]:
    """Return in sentences where events of a run are missing, too many or mixed up, by Airflow's own log.

    Four kinds of tries are allowed to differ. One that was abandoned or disowned: its process may have died before it
    could tell of its last start. One that was disowned or abandoned while its process went on: its end is reported
    too. One that was disowned before it ran: it ends without a start. And the next one: a workload that was still
    queued when its try was disowned begins as the next try, and reports under the number that it was queued with.
    """
    received: dict[Try, list[Event]] = defaultdict(list)
    for event in events:
        received[Try.of(event)].append(event)
    sent = {each: Counter(event["eventType"] for event in its) for each, its in received.items()}
    for each in sorted(logged.disowned & sent.keys()):
        following = replace(each, number=each.number + 1)
        surplus = sent[each] - logged.says.get(each, Counter())
        late = surplus & (logged.says.get(following, Counter()) - sent.get(following, Counter()))
        if late["START"]:
            sent[each] -= late
            sent[following] = sent.get(following, Counter()) + late
    found = [f"{each} was never reported" for each in sorted(logged.says.keys() - sent.keys())]
    for each, its in sorted(sent.items()):
        found += [f"{each}: {flaw}" for flaw in (*_order(received[each]), *_counts(each, its, logged))]
    ids = Counter(run_id for its in received.values() for run_id in {event["run"]["runId"] for event in its})
    return found + [f"run {run_id} is that of {number} tries" for run_id, number in ids.items() if number > 1]


def _order(events: list[Event]) -> Iterator[str]:
    if len({event["run"]["runId"] for event in events}) > 1:
        yield "has several run ids"
    started = [event["eventTime"] for event in events if event["eventType"] == "START"]
    ended = [event["eventTime"] for event in events if event["eventType"] in _ENDS]
    if started and ended and min(ended) < min(started):
        yield "ends before it starts"
    early = [output for event in events if event["eventType"] != "COMPLETE" for output in event["outputs"]]
    if any("kie" in output.get("outputFacets", {}) for output in early):  # Airflow reports a task's outlets at once
        yield "reports something as made before it has succeeded"


def _counts(each: Try, sent: Counter[str], logged: Logged) -> Iterator[str]:
    says = logged.says.get(each, Counter())
    missing, surplus = says - sent, sent - says
    if each in logged.abandoned | logged.disowned:
        missing -= Counter(START=1)
    if each in logged.abandoned | logged.disowned and sum(surplus[end] for end in _ENDS) == 1:
        surplus = Counter({word: number for word, number in surplus.items() if word not in _ENDS})
    for word, number in missing.items():
        yield f"{word} is missing {number} times"
    for word, number in surplus.items():
        yield f"{word} comes {number} times too often"
    never_ran = each in logged.disowned and not says["START"]  # nobody could begin it: its api-server was not there
    if not sent["START"] and not never_ran:
        yield "never starts"
