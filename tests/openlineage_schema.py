"""Holds events against OpenLineage's own JSON schemas, and our facets against the schema that we publish."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

import airflow_kie

FOLDER = Path(__file__).parent / "data" / "openlineage"
PUBLISHED: dict[str, Any] = json.loads(
    (Path(airflow_kie.__file__).parent / "lineage" / "openlineage.schema.json").read_text(encoding="utf-8")
)
_OFFICIAL: dict[str, dict[str, Any]] = {
    schema["$id"]: schema for schema in (json.loads(file.read_text("utf-8")) for file in FOLDER.rglob("*.json"))
}
CORE = next(name for name in _OFFICIAL if name.endswith("/OpenLineage.json"))
RUN_EVENT = f"{CORE}#/$defs/RunEvent"
_SCHEMAS = {**_OFFICIAL, PUBLISHED["$id"]: PUBLISHED}
_REGISTRY = Registry().with_resources((name, Resource.from_contents(schema)) for name, schema in _SCHEMAS.items())
_FORMATS = FormatChecker()


@_FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme)  # jsonschema leaves it to an optional package


_NAMED = {name for found in _OFFICIAL.values() for name in found.get("properties", {})}
"""Facets that OpenLineage describes."""
_AIRFLOWS_OWN = frozenset({"jobDependencies"})
"""Facets that Airflow adds, and whose schema is not at hand: this one to a run's start, if it can read by then which
events have started the run."""


def official() -> frozenset[str]:
    """Return the addresses of OpenLineage's schemas that are at hand."""
    return frozenset(_OFFICIAL)


def check(event: Mapping[str, Any]) -> None:
    """Check an event.

    :raises AssertionError: with everything that is wrong with it.
    """
    found = flaws(event)
    assert found == [], f"{event.get('eventType')} of {event.get('job', {}).get('name')}: {found}"


def flaws(event: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with an event, and with each of its facets by the schema that the facet names."""
    if event.get("schemaURL") != RUN_EVENT:
        return [f"schemaURL is {event.get('schemaURL')}, not {RUN_EVENT}"]
    found = [] if event.get("eventType") else ["eventType: is missing"]  # which the schema leaves open
    found += _against({"$ref": RUN_EVENT}, event)
    for place, name, facet in _facets(event):
        found += [f"{place}.{name}: {flaw}" for flaw in _of_facet(name, facet)]
    return found


def _against(schema: Mapping[str, Any], value: object) -> list[str]:
    errors = Draft202012Validator(schema, registry=_REGISTRY, format_checker=_FORMATS).iter_errors(value)
    return [f"{'.'.join(map(str, error.path)) or 'it'}: {error.message[:200]}" for error in errors]


def _facets(event: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Return place, name and facet of every facet."""
    places: list[tuple[str, Any, tuple[str, ...]]] = [
        (each, event.get(each, {}), ("facets",)) for each in ("run", "job")
    ]
    places += [("input", each, ("facets", "inputFacets")) for each in event.get("inputs", ())]
    places += [("output", each, ("facets", "outputFacets")) for each in event.get("outputs", ())]
    for place, holder, kinds in places:
        for kind in kinds:
            for name, facet in holder.get(kind, {}).items():
                if name not in _AIRFLOWS_OWN:
                    yield place, name, facet


def _of_facet(name: str, facet: Mapping[str, Any]) -> list[str]:
    address = str(facet.get("_schemaURL"))
    schema, _, pointer = address.partition("#")
    if schema not in _SCHEMAS:
        return [f"the schema {address} is not in {FOLDER.name}"]
    if schema == PUBLISHED["$id"]:  # it is open, for later versions; this one sends nothing that it does not name
        known = PUBLISHED["$defs"][pointer.rpartition("/")[2]]["properties"]
        return [*_against({"$ref": address}, facet), *(f"{each} is not published" for each in set(facet) - set(known))]
    if schema == CORE and name not in _NAMED:  # Airflow's own facets say that they are facets, and no more
        return _against({"$ref": address}, facet)
    if name not in _OFFICIAL[schema].get("properties", {}):
        return [f"{schema} describes no facet of this name"]
    return _against({"$ref": schema}, {name: facet})
