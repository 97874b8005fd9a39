"""`airflow kie lineage <s3 key or music task id> --events FILE`: from what a file was made. Reads the events only."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_kie.cli.terminal import complain, ours_alone, say
from airflow_kie.lineage.facts import KIE

Key = tuple[str, str]
"""Namespace and name of a dataset."""


def command(args: Namespace) -> None:
    """Run the command.

    :param args: `what`, `events`.
    :raises SystemExit: 0 if the lineage was found, 1 if the events know nothing of it, 2 if they could not be read.
    """
    with ours_alone():
        sys.exit(_run(args))


def _run(args: Namespace) -> int:
    try:
        told = Told.of(_lines(args.events))
    except (OSError, ValueError) as error:
        complain(f"The events could not be read: {error}. OpenLineage's events are expected, one in each line.")
        return 2
    if told.unread:
        complain(f"Lines that are no events were left aside: {len(told.unread)}, the first is line {told.unread[0]}.")
    files = told.files(args.what)
    if not files:
        complain(
            f"None of the {told.count} events tells of {args.what}. Files are named by their key or s3:// address, "
            "songs by their music task id; events are sent once a task has succeeded."
        )
        return 1
    for number, file in enumerate(files):
        if number:
            say()
        for line in told.story(file):
            say(line)
    return 0


def _lines(events: str) -> Iterator[str]:
    """Return the lines of a file, of all files in a folder, or of the standard input.

    OpenLineage's file transport writes either one file or, by default, one for each event.
    """
    if events == "-":
        yield from sys.stdin
        return
    path = Path(events)
    for file in sorted(path.iterdir()) if path.is_dir() else (path,):
        with file.open(encoding="utf-8", errors="replace") as lines:
            yield from lines


@dataclass(frozen=True)
class Origin:
    """The run of a task that has made something.

    :param job: DAG and task.
    :param inputs: what it was made from.
    :param run: the run's facet of ours.
    :param made: the output's facet of ours.
    :param at: ISO time of the event.
    :param airflow: of the run's facet of Airflow's, what names the run: the whole would fill the memory.
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
    :param unread: numbers of the lines that are no events: one that is being written, or is damaged.
    """

    count: int = 0
    origins: dict[Key, list[Origin]] = field(default_factory=dict)
    unread: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, lines: Iterable[str]) -> Told:
        """Read events.

        :param lines: one event in each line, as JSON.
        :raises ValueError: when no line is one.
        """
        told = cls()
        runs: dict[str, list[tuple[Key, Origin]]] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                event = json.loads(line)
                if event.get("eventType") == "COMPLETE":
                    runs[event["run"]["runId"]] = list(_origins(event))
                elif not event.keys() & {"run", "job", "dataset"}:  # of runs, jobs and datasets there are events
                    raise ValueError("it tells of nothing")
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                told.unread.append(number)
            else:
                told.count += 1
        if told.unread and not told.count:
            raise ValueError(f"line {told.unread[0]} is no event")
        made = (each for outputs in runs.values() for each in outputs)
        for key, origin in sorted(made, key=lambda each: each[1].at):
            told.origins.setdefault(key, []).append(origin)
        return told

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


def _origins(event: Mapping[str, Any]) -> Iterator[tuple[Key, Origin]]:
    """Return what a run has made; producers write null where they have nothing to say."""
    facets = event["run"].get("facets") or {}
    airflow = facets.get("airflow") or {}
    run, instance = airflow.get("dagRun") or {}, airflow.get("taskInstance") or {}
    inputs = tuple((each["namespace"], each["name"]) for each in event.get("inputs") or ())
    for output in event.get("outputs") or ():
        origin = Origin(
            job=event["job"]["name"],
            inputs=inputs,
            run=facets.get("kie") or {},
            made=(output.get("outputFacets") or {}).get("kie") or {},
            at=str(event.get("eventTime")),
            airflow={
                "dagRun": {name: run[name] for name in ("run_id",) if name in run},
                "taskInstance": {name: instance[name] for name in ("map_index", "try_number") if name in instance},
            },
        )
        yield (output["namespace"], output["name"]), origin


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
