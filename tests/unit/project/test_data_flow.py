"""docs/data-flow.md names everything that is sent and stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_kie.archive.index.entry import IndexEntry
from airflow_kie.archive.manifest import Manifest
from airflow_kie.archive.pending import Pending
from airflow_kie.archive.record_base import Record
from airflow_kie.assets import HEALTH
from airflow_kie.client.account import NO_CALLBACK_URL
from airflow_kie.client.operations.suno import COVER, MUSIC
from airflow_kie.client.requests import create_request
from airflow_kie.monitoring.callback_health import poll_variable_of, variable_of
from airflow_kie.operators.health_check import STATE_KEY
from airflow_kie.operators.suno import KieGenerateMusicOperator

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "data-flow.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("record", "name"),
    [(Manifest, "manifest.json"), (Pending, "_pending/<id>.json"), (IndexEntry, "_index/…")],
)
def test_every_field_that_is_written_into_the_bucket_is_named(record: type[Record], name: str) -> None:
    paragraph = next(part for part in PAGE.split("\n\n") if part.startswith(f"`{name}`: "))
    assert [field for field in record.model_fields if f"`{field}`" not in paragraph] == []


def test_every_field_that_kie_is_sent_for_a_song_is_named() -> None:
    song = KieGenerateMusicOperator(
        task_id="song", prompt="p", style="s", title="t", negative_tags="n", vocal_gender="f", custom_mode=True
    )
    sent = create_request(MUSIC, song.request_body(), NO_CALLBACK_URL).json or {}
    row = next(line for line in PAGE.splitlines() if line.startswith("| KIE, for a song |"))
    assert [field for field in sent if f"`{field}`" not in row and field != MUSIC.callback_field] == []


def test_for_a_cover_kie_is_sent_an_id_and_a_callback_url_alone() -> None:
    sent = create_request(COVER, {"taskId": "a"}, NO_CALLBACK_URL).json or {}
    assert set(sent) == {"taskId", COVER.callback_field}


def test_every_variable_that_is_written_is_named() -> None:
    names = (variable_of(""), poll_variable_of(""))
    assert [name for name in names if f"Variable `{name}" not in PAGE] == []


def test_what_health_checks_remember_is_named() -> None:
    assert f"asset state store of `{HEALTH.uri}` | `{STATE_KEY}`" in PAGE
