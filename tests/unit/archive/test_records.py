"""Manifest and pending record: published schemas, stable text, nothing lost on a rewrite."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import airflow_kie.archive
from airflow_kie.archive.choice import Choice
from airflow_kie.archive.manifest import FileRecord, Manifest, SongRecord
from airflow_kie.archive.pending import Failure, Options, Pending, WaitingFor, Working, new_pending
from airflow_kie.archive.record_base import Label, label_map
from airflow_kie.archive.s3.errors import ArchiveUnreadable

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
PUBLISHED = Path(airflow_kie.archive.__file__).parent


def manifest() -> Manifest:
    return Manifest(
        music_task_id="abc",
        song=SongRecord(title="Été", created_at=NOON),
        files=(
            FileRecord(
                key="music/abc/cover-1.png",
                kind="cover",
                position=1,
                size=10,
                sha256="0" * 64,
                content_type="image/png",
                archived_at=NOON,
            ),
        ),
        labels=(Label(name="isrc", value="X1"),),
        created_at=NOON,
        updated_at=NOON,
    )


@pytest.mark.parametrize(
    ("name", "made"),
    [(record.__name__.lower(), record.published_schema()) for record in (Manifest, Pending, Choice)],
)
def test_the_published_schema_is_the_one_that_the_records_follow(name: str, made: dict[str, Any]) -> None:
    assert json.loads((PUBLISHED / f"{name}.schema.json").read_text()) == made
    jsonschema.Draft202012Validator.check_schema(made)


def test_a_manifest_follows_its_schema() -> None:
    jsonschema.validate(manifest().to_json(), Manifest.published_schema())


def test_a_manifest_names_generated_media_as_such() -> None:
    assert manifest().to_json()["digital_source_type"] == "trainedAlgorithmicMedia"


def test_times_are_written_in_utc_with_z_whatever_zone_they_came_in() -> None:
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    assert manifest().changed(updated_at=tokyo).to_json()["updated_at"] == "2026-11-22T12:00:00.000Z"


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="timezone"):
        manifest().changed(updated_at=datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_manifest_equals_itself_after_writing_and_reading() -> None:
    odd = manifest().changed(updated_at=NOON + timedelta(microseconds=123_456))
    assert Manifest.from_json(json.loads(json.dumps(odd.to_json())), "s3://b/k") == odd


def test_fields_of_a_newer_version_survive_a_rewrite_at_every_level() -> None:
    stored = manifest().to_json()
    stored["schema_version"] = 7
    stored["mood"] = {"valence": 0.5}
    stored["song"]["key"] = "C minor"
    stored["files"][0]["palette"] = ["#ff0000"]
    rewritten = Manifest.from_json(stored, "s3://b/k").changed(updated_at=LATER).to_json()
    assert rewritten == {**stored, "updated_at": "2026-11-22T13:00:00.000Z"}


def test_labels_are_a_list_of_pairs_not_varying_keys() -> None:
    assert manifest().to_json()["labels"] == [{"name": "isrc", "value": "X1", "by": None, "at": None}]


def test_unknown_values_are_written_as_null_so_that_every_manifest_has_the_same_columns() -> None:
    written = manifest().to_json()
    assert set(Manifest.published_schema()["properties"]) == set(written)
    assert written["account"] is None
    assert written["files"][0]["duration_seconds"] is None


def test_a_damaged_record_is_named_with_its_wrong_fields_and_without_their_values() -> None:
    stored = manifest().to_json()
    stored["files"][0]["sha256"] = "secret?token"
    with pytest.raises(ArchiveUnreadable, match=r"s3://b/k: files\.0\.sha256") as caught:
        Manifest.from_json(stored, "s3://b/k")
    assert "token" not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], "x", 3, {}])
def test_a_value_that_is_no_record_at_all_is_told_so(value: object) -> None:
    with pytest.raises(ArchiveUnreadable):
        Manifest.from_json(value, "s3://b/k")


def pending(**more: Any) -> Pending:
    return new_pending("abc", received_from="inbox", now=NOON).changed(**more)


def test_a_pending_record_follows_its_schema() -> None:
    full = pending(
        working=Working(dag_id="d", run_id="r"),
        last_failure=Failure(reason="out_of_credits", message="…", at=NOON),
        waiting_for=WaitingFor(reason="out_of_credits", since=NOON),
        options=Options(audio=True),
        labels=[{"name": "a", "value": "b"}],
    )
    jsonschema.validate(full.to_json(), Pending.published_schema())


def test_the_first_hearing_stays_whoever_writes_later() -> None:
    late = new_pending("abc", received_from="callback", now=LATER)
    for merged in (pending().merged_with(late), late.merged_with(pending())):
        assert (merged.first_seen_at, merged.received_from, merged.updated_at) == (NOON, "inbox", LATER)


def test_what_was_asked_for_once_stays_owed() -> None:
    merged = pending(options={"audio": True}).merged_with(pending(options={"lyrics": True}))
    assert merged.options == Options(audio=True, lyrics=True)


def test_a_merge_keeps_what_the_newer_word_is_silent_about() -> None:
    before = pending(title="Été", kie_conn_id="kie_a", working=Working(dag_id="d", run_id="r1"), expires_at=LATER)
    merged = before.merged_with(pending(working=Working(dag_id="d", run_id="r2")))
    assert (merged.title, merged.kie_conn_id, merged.expires_at) == ("Été", "kie_a", LATER)
    assert merged.working == Working(dag_id="d", run_id="r2")


def test_labels_are_merged_by_name_and_the_newer_value_counts() -> None:
    merged = pending(labels=[Label(name="a", value="1"), Label(name="b", value="1")]).merged_with(
        pending(labels=[Label(name="b", value="2")])
    )
    assert [(label.name, label.value) for label in merged.labels] == [("a", "1"), ("b", "2")]


def test_unknown_fields_of_a_pending_record_survive_a_merge() -> None:
    newer = Pending.from_json({**pending().to_json(), "schema_version": 3, "budget": 5}, "s3://b/k")
    merged = newer.merged_with(pending(title="x")).to_json()
    assert (merged["budget"], merged["schema_version"], merged["title"]) == (5, 3, "x")


def test_a_label_that_a_person_has_set_or_removed_holds_against_a_later_run() -> None:
    given = (Label(name="album", value="A"), Label(name="isrc", value="X1"))
    before = manifest().changed(labels=given)
    set_ = before.labelled("album", "B", by="ada", at=NOON).labelled("isrc", "", by="ada", at=NOON)
    again = set_.merged_with(before.changed(updated_at=NOON + timedelta(days=1)))
    assert label_map(again.labels) == {"album": "B"}
    assert label_map(again.labelled("isrc", "X2", by="bo", at=NOON).labels) == {"album": "B", "isrc": "X2"}
    assert [label.by for label in again.labels] == ["ada", "ada"]
