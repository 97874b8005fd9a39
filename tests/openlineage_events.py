"""Events of OpenLineage: made of a task that was run by hand, read from a file, and checked.

OpenLineage's JSON schema is in none of its packages; the classes of its Python client are generated from it, facet by
facet, and take no field that it does not name. So an event is checked by building it again of these classes.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import openlineage.client.generated as generated
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import DatasetFacet, JobFacet, RunFacet
from openlineage.client.serde import Serde

import airflow_kie

Event = dict[str, Any]
PUBLISHED = json.loads((Path(airflow_kie.__file__).parent / "openlineage.schema.json").read_text(encoding="utf-8"))
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
    told: Event = json.loads(Serde.to_json(event))
    return told


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
            found.update((_name(each), event["job"]["name"].rpartition(".")[2], _name(output)) for each in inputs)
    return found


def doubled(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """Return the task instances that have told of their end more often than they were tried.

    Airflow can fail a task that goes on (its executor's report of an earlier leg comes late): then two tries end well.
    """
    ends: Counter[tuple[Any, ...]] = Counter()
    tries: dict[tuple[Any, ...], set[int]] = {}
    for event in events:
        instance = event["run"]["facets"]["airflow"]["taskInstance"]
        task = (run_of(event), event["job"]["name"], instance.get("map_index", -1))
        tries.setdefault(task, set()).add(instance["try_number"])
        ends[task] += event["eventType"] == "COMPLETE"
    return [task for task, ended in ends.items() if ended > len(tries[task])]


def _name(dataset: Mapping[str, str]) -> str:
    namespace = "" if dataset["namespace"] == KIE else f"{dataset['namespace']}/"
    return namespace + dataset["name"]


def check(event: Event) -> None:
    """Check an event against the classes of OpenLineage's client, and our facets against our published schema.

    :raises Exception: what is wrong with it.
    """
    rest = {
        name: value for name, value in event.items() if name not in ("run", "job", "inputs", "outputs", "schemaURL")
    }
    assert event["schemaURL"] == RunEvent._get_schema()
    RunEvent(
        **{**rest, "eventType": RunState(event["eventType"])},
        run=Run(runId=event["run"]["runId"], facets=_facets(event["run"]["facets"])),
        job=Job(namespace=event["job"]["namespace"], name=event["job"]["name"], facets=_facets(event["job"]["facets"])),
        inputs=[
            InputDataset(**{name: _facets(value) if isinstance(value, dict) else value for name, value in each.items()})
            for each in event["inputs"]
        ],
        outputs=[
            OutputDataset(
                **{name: _facets(value) if isinstance(value, dict) else value for name, value in each.items()}
            )
            for each in event["outputs"]
        ],
    )


def _facets(facets: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _facet(name, facet) for name, facet in facets.items()}


def _facet(name: str, facet: Mapping[str, Any]) -> Any:
    schema, _, pointer = facet["_schemaURL"].partition("#")
    assert facet["_producer"] and schema, name
    own = {field: value for field, value in facet.items() if field != "_schemaURL"}
    if schema == PUBLISHED["$id"]:
        described = {"$ref": f"#{pointer}", "$defs": PUBLISHED["$defs"]}
        jsonschema.Draft202012Validator(described, format_checker=jsonschema.FormatChecker()).validate(facet)
        assert set(facet) <= set(PUBLISHED["$defs"][pointer.rpartition("/")[2]]["properties"])
    elif facet["_schemaURL"] in _OFFICIAL:
        return _OFFICIAL[facet["_schemaURL"]](**{field.removeprefix("_"): value for field, value in own.items()})
    else:  # Airflow's own facets say that they are facets, and no more
        assert facet["_schemaURL"] in _OPEN, f"{name}: {facet['_schemaURL']} is none of OpenLineage's"
    return facet


def _official_facets() -> Iterator[tuple[str, type[Any]]]:
    for module in pkgutil.iter_modules(generated.__path__, "openlineage.client.generated."):
        for found in vars(importlib.import_module(module.name)).values():
            if isinstance(found, type) and attrs.has(found) and hasattr(found, "_get_schema"):
                yield found._get_schema(), found


_OPEN = {facet._get_schema() for facet in (DatasetFacet, JobFacet, RunFacet)}
_OFFICIAL = {schema: facet for schema, facet in _official_facets() if schema not in _OPEN}
