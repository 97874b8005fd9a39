"""`airflow kie lineage <s3 key or music task id> --events FILE`: from what a file was made. Reads the events only."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_kie.cli.terminal import complain, say
from airflow_kie.lineage import KIE

Key = tuple[str, str]
"""Namespace and name of a dataset."""


def command(args: Namespace) -> None:
    """Run the command.

    :param args: `what`, `events`.
    :raises SystemExit: 0 if the lineage was found, 1 if the events know nothing of it, 2 if they could not be read.
    """
    try:
        told = Told.of(_lines(args.events))
    except (OSError, ValueError, LookupError, TypeError) as error:
        complain(f"The events could not be read: {error}. OpenLineage's events are expected, one in each line.")
        sys.exit(2)
    files = told.files(args.what)
    if not files:
        complain(
            f"None of the {told.count} events tells of {args.what}. Files are named by their key or s3:// address, "
            "songs by their music task id; events are sent once a task has succeeded."
        )
        sys.exit(1)
    for number, file in enumerate(files):
        if number:
            say()
        for line in told.story(file):
            say(line)
    sys.exit(0)


def _lines(events: str) -> Iterator[str]:
    """Return the lines of a file, of all files in a folder, or of the standard input.

    OpenLineage's file transport writes either one file or, by default, one for each event.
    """
    if events == "-":
        yield from sys.stdin
        return
    path = Path(events)
    for file in sorted(path.iterdir()) if path.is_dir() else (path,):
        with file.open(encoding="utf-8") as lines:
            yield from lines


@dataclass(frozen=True)
class Origin:
    """The run of a task that has made something.

    :param job: DAG and task.
    :param inputs: what it was made from.
    :param run: the run's facet of ours.
    :param made: the output's facet of ours.
    :param at: ISO time of the event.
    :param airflow: the run's facet of Airflow's.
    """

    job: str
    inputs: tuple[Key, ...]
    run: Mapping[str, Any]
    made: Mapping[str, Any]
    at: str
    airflow: Mapping[str, Any]


@dataclass
class Told:
    """What the events tell, each run once however many events it sent.

    :param count: how many events were read.
    :param origins: dataset → the runs that have made it, in the order of time.
    """

    count: int = 0
    origins: dict[Key, list[Origin]] = field(default_factory=dict)

    @classmethod
    def of(cls, lines: Iterable[str]) -> Told:
        """Read events.

        :param lines: one event in each line, as JSON.
        :raises ValueError: when a line is none.
        """
        told = cls()
        runs: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            event = json.loads(line)
            if not isinstance(event, dict) or not isinstance(event.get("run"), dict):
                raise ValueError(f"line {number} is no event")
            told.count += 1
            if event.get("eventType") == "COMPLETE":
                runs[event["run"]["runId"]] = event
        for event in sorted(runs.values(), key=lambda event: str(event.get("eventTime"))):
            told._add(event)
        return told

    def _add(self, event: Mapping[str, Any]) -> None:
        facets = event["run"].get("facets", {})
        inputs = tuple((each["namespace"], each["name"]) for each in event.get("inputs", ()))
        for output in event.get("outputs", ()):
            origin = Origin(
                job=event["job"]["name"],
                inputs=inputs,
                run=facets.get("kie", {}),
                made=output.get("outputFacets", {}).get("kie", {}),
                at=str(event.get("eventTime")),
                airflow=facets.get("airflow", {}),
            )
            self.origins.setdefault((output["namespace"], output["name"]), []).append(origin)

    def files(self, what: str) -> list[Key]:
        """Return the files that a person has named: one by its key, or all of a song by its id."""
        wanted = what.strip().rstrip("/")
        own = [key for key in self.origins if wanted in (key[1], f"{key[0]}/{key[1]}") and key[0] != KIE]
        if own:
            return own
        archived = [key for key in self.origins if f"/{wanted}/" in f"/{key[1]}" and key[0] != KIE]
        return archived or [key for key in self.origins if key == (KIE, f"suno/music/{wanted}")]

    def story(self, key: Key, depth: int = 0, seen: frozenset[Key] = frozenset()) -> Iterator[str]:
        """Return the lines that lead from something back to its prompt."""
        origins = self.origins.get(key, [])
        made = origins[-1].made if origins else {}
        yield f"{'  ' * depth}{_named(key)}{_facts(made)}"
        if not origins:
            return
        origin = origins[-1] if key[0] != KIE else origins[0]  # of a song: who made it, before who only waited for it
        yield f"{'  ' * depth}  {_by(origin)}"
        source = made.get("made_from")
        inputs = ((source["namespace"], source["name"]),) if source else origin.inputs
        for each in inputs:
            if each not in seen:
                yield from self.story(each, depth + 1, seen | {key})


def _named(key: Key) -> str:
    namespace, name = key
    if namespace != KIE:
        return f"{namespace}/{name}"
    noun, _, own = name.removeprefix("suno/").partition("/")
    nouns = {"music": "song, music task", "cover": "covers, cover task", "prompt": "prompt, SHA-256"}
    return f"{nouns.get(noun, noun)} {own}"


def _facts(made: Mapping[str, Any]) -> str:
    told = []
    if "size" in made:
        told.append(f"{made['size']:,} bytes")
    if "sha256" in made:
        told.append(f"SHA-256 {made['sha256']}")
    if "expires_at" in made:
        told.append(f"KIE's copy expires {made['expires_at']}")
    return f" ({', '.join(told)})" if told else ""


def _by(origin: Origin) -> str:
    run, airflow = origin.run, origin.airflow
    told = [f"by {origin.job} at {origin.at}"]
    if run_id := airflow.get("dagRun", {}).get("run_id"):
        told.append(f"run {run_id}")
    instance = airflow.get("taskInstance", {})
    if "map_index" in instance:
        told.append(f"map index {instance['map_index']}")
    if "try_number" in instance:
        told.append(f"try {instance['try_number']}")
    told += [f"{name} {run[name]}" for name in ("model", "credits") if name in run]
    if run.get("attempts", 1) > 1:
        told.append(f"{run['attempts']} tasks at KIE, failed: {', '.join(run.get('failed_task_ids', ()))}")
    if run.get("adopted") and "heard" in run:
        told.append("taken up, not made by this run")
    if "wait_seconds" in run:
        told.append(
            f"waited {run['wait_seconds']:g} s, heard of by {run.get('heard', '?').replace('at_once', 'looking')}"
        )
    if prompt := run.get("prompt"):
        told.append(f"prompt of {prompt['length']} characters" + (f": {prompt['text']}" if "text" in prompt else ""))
    return ", ".join(told)
