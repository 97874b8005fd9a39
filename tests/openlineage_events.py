"""Events of OpenLineage: made of a task that was run by hand, read from a file, and read as a graph."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.serde import Serde

Event = dict[str, Any]
KIE = "kie://api.kie.ai"


def completed(task: Any, run_id: str | None = None, state: RunState = RunState.COMPLETE) -> Event:
    """Return the event that Airflow's listener would send of a task, without Airflow's own facets.

    :param task: the operator, as its last leg has left it.
    :param run_id: of OpenLineage; a new one by default.
    """
    method = {
        RunState.START: lambda: task.get_openlineage_facets_on_start(),
        RunState.COMPLETE: lambda: task.get_openlineage_facets_on_complete(None),
        RunState.FAIL: lambda: task.get_openlineage_facets_on_failure(None),
    }[state]
    lineage = method()
    event = RunEvent(
        eventType=state,
        eventTime=datetime.now(UTC).isoformat(),
        run=Run(runId=run_id or str(uuid.uuid4()), facets=lineage.run_facets),
        job=Job(namespace="default", name=f"a_dag.{task.task_id}", facets=lineage.job_facets),
        inputs=lineage.inputs,
        outputs=lineage.outputs,
        producer="urn:tests",
    )
    decoded: Event = json.loads(Serde.to_json(event))
    return decoded


def read_events(folder: Path) -> list[Event]:
    """Return the events that OpenLineage's file transport has left, a file for each; one in the midst of being written
    is left out."""
    texts = [file.read_text(encoding="utf-8") for file in sorted(folder.iterdir())]
    return [json.loads(text) for text in texts if text.endswith("\n")]


def of_run(events: Iterable[Event], dag_id: str, run_id: str) -> list[Event]:
    """Return the events of the tasks of a DAG run."""
    return [event for event in events if run_of(event) == (dag_id, run_id)]


def run_of(event: Event) -> tuple[str, str] | None:
    """Return DAG and run of a task's event; of a DAG's own events None."""
    facet = event["run"].get("facets", {}).get("airflow")
    return (facet["dag"]["dag_id"], facet["dagRun"]["run_id"]) if facet else None


def edges(events: Iterable[Event]) -> Counter[tuple[str, str, str]]:
    """Return what was made of what, by which job; counted once for each run that has completed."""
    ended = {event["run"]["runId"]: event for event in events if event["eventType"] == "COMPLETE"}
    found: Counter[tuple[str, str, str]] = Counter()
    for event in ended.values():
        for output in event["outputs"]:
            source = output.get("outputFacets", {}).get("kie", {}).get("made_from")
            inputs = [source] if source else event["inputs"]
            found.update((name_of(each), event["job"]["name"].rpartition(".")[2], name_of(output)) for each in inputs)
    return found


def name_of(dataset: Mapping[str, Any]) -> str:
    """Return the name of a dataset; of one in S3 with its bucket."""
    namespace = "" if dataset["namespace"] == KIE else f"{dataset['namespace']}/"
    return f"{namespace}{dataset['name']}"
