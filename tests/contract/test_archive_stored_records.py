"""What is stored in people's buckets only grows: these files are frozen, every later version has to read them.

Add samples for a new version beside them; never change one that was released.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import airflow_kie.archive
from airflow_kie.archive.choice import Choice
from airflow_kie.archive.manifest import Manifest
from airflow_kie.archive.pending import Pending
from airflow_kie.archive.record_base import Record

SAMPLES = Path(__file__).parent / "archive"
PUBLISHED = Path(airflow_kie.archive.__file__).parent
RECORDS: dict[str, type[Record]] = {"choice": Choice, "manifest": Manifest, "pending": Pending}


def sample(name: str) -> Any:
    return json.loads((SAMPLES / name).read_text())


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_a_stored_record_is_read_follows_the_schema_and_loses_nothing_on_a_rewrite(path: Path) -> None:
    kind = path.stem.partition("-")[0]
    stored = json.loads(path.read_text())
    schema = json.loads((PUBLISHED / f"{kind}.schema.json").read_text())
    jsonschema.validate(stored, schema, format_checker=jsonschema.FormatChecker())
    record = RECORDS[kind].from_json(stored, path.name)
    rewritten = record.to_json()
    jsonschema.validate(rewritten, schema, format_checker=jsonschema.FormatChecker())
    assert RECORDS[kind].from_json(rewritten, path.name) == record


@pytest.mark.parametrize("name", ["choice-v1.json", "manifest-v1.json", "pending-v1.json"])
def test_a_full_record_is_written_exactly_as_it_was_in_version_1(name: str) -> None:
    stored = sample(name)
    rewritten = RECORDS[name.partition("-")[0]].from_json(stored, name).to_json()
    assert {key: rewritten[key] for key in stored} == stored
    assert list(rewritten)[: len(stored)] == list(stored)


def test_the_schemas_require_no_more_than_version_1_wrote() -> None:
    required = {kind: set(json.loads((PUBLISHED / f"{kind}.schema.json").read_text())["required"]) for kind in RECORDS}
    assert required["manifest"] <= set(sample("manifest-v1-least.json"))
    assert required["choice"] <= set(sample("choice-v1.json"))
    assert required["pending"] <= set(sample("pending-v1.json"))
