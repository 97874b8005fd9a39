"""What is written by hand of the unified form, through the client: the same requests, and every answer as it is meant.

``tests/data/unified`` says of each member where it comes from; nothing of it is recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_kie.client.answers.decode import Created, Invisible, Read, decode_create, decode_details, failure_of
from airflow_kie.client.errors import KieGenerationFailed
from airflow_kie.client.operations.operation import Form, State, TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS, task_kind
from airflow_kie.client.requests import create_request, details_request
from kie_answers import answer
from live_recordings import unread

FOLDER = Path(__file__).parents[1] / "data" / "unified"
CALLBACK = "https://example.com/callback"
UNIFIED = {
    row.unified.model: row.unified for row in OPERATIONS.values() if isinstance(row, TaskOperation) and row.unified
}
ROLES = {
    "cover": ["cover", "cover"],
    "generate": ["track", "track"],
    "extend": ["track", "track"],
    "lyrics": ["lyrics", "lyrics"],
    "wav": ["wav"],
    "stems": ["stem", "stem"],
    "music-video": ["video"],
    "sounds": ["track", "track"],
    "failed-and-refunded": [],
}
"""File, without its variant → roles of the results of a finished task."""


@dataclass(frozen=True)
class Exchange:
    """One request as it is written, and its answer."""

    file: str
    about: str
    row: TaskOperation
    url: str
    sent: dict[str, Any] | None
    answered: dict[str, Any]


def exchanges() -> Iterator[Exchange]:
    for file in sorted(FOLDER.glob("*.json")):
        entries = json.loads(file.read_text())
        row = UNIFIED.get((entries[0]["request"]["body"] or {}).get("model"))
        if row is None or file.stem == "refusals":
            continue
        for entry in entries:
            sent = entry["request"]
            yield Exchange(file.stem, entry["about"], row, sent["url"], sent["body"], entry["response"]["body"])


ALL = list(exchanges())


def named(some: list[Exchange]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("exchange", some, ids=[f"{one.file}: {one.about}" for one in some])


def test_the_operations_of_both_forms_are_written_down_but_for_these() -> None:
    assert {one.file.partition("--")[0] for one in ALL} == set(ROLES)
    unwritten = set(UNIFIED) - {one.row.model for one in ALL}
    assert unwritten == {
        f"ai-music-api/{name}"
        for name in (
            *("upload-and-cover-audio", "upload-and-extend-audio", "add-instrumental", "add-vocals"),
            *("replace-section", "mashup", "generate-midi-from-audio"),
        )
    }


@named([one for one in ALL if one.sent])
def test_a_create_is_sent_as_its_page_says_from_either_spelling_of_its_fields(exchange: Exchange) -> None:
    assert exchange.sent is not None
    body = exchange.row.named(exchange.sent["input"])
    assert not any("_" in name for name in body)
    for fields in (body, exchange.sent["input"]):
        request = create_request(exchange.row, fields, CALLBACK)
        assert request.json == exchange.sent
        assert exchange.url.endswith(request.path)
    made = decode_create(exchange.row, exchange.row.source_in(body), answer(exchange.answered["data"]))
    assert made == Created(exchange.answered["data"]["taskId"])


@named([one for one in ALL if not one.sent])
def test_a_record_is_read_as_its_page_says(exchange: Exchange) -> None:
    data = exchange.answered["data"]
    request = details_request(exchange.row, data["taskId"])
    assert exchange.url.endswith(f"{request.path}?taskId={data['taskId']}")
    read = decode_details(exchange.row, data["taskId"], answer(data))
    assert isinstance(read, Read)
    details = read.details
    states = {"waiting": State.RUNNING, "success": State.SUCCEEDED, "fail": State.FAILED}
    assert (details.form, details.state, details.known_word) == (Form.UNIFIED, states[data["state"]], True)
    assert (details.credits_consumed, details.complete) == (data["creditsConsumed"], data["state"] == "success")
    assert details.param == exchange.row.named(json.loads(json.loads(data["param"])["input"]))
    roles = ROLES[exchange.file.partition("--")[0]] if data["state"] == "success" else []
    assert [result.role for result in details.results] == roles
    assert [track.audio_url for track in details.tracks] == [url for url in details.urls if roles[0] == "track"]
    if exchange.row.parent_path:
        assert details.parent_id in json.loads(data["param"])["input"]


def test_the_client_finds_the_results_in_every_recording_of_the_live_check() -> None:
    for recording in sorted((FOLDER / "recorded").glob("*.json")):
        assert unread(json.loads(recording.read_text())) == [], recording.name


@named([one for one in ALL if one.file == "failed-and-refunded" and not one.sent])
def test_a_failure_with_code_400_says_nothing_of_the_request_and_a_new_task_may_follow(exchange: Exchange) -> None:
    """Measured in October 2026: the text asks to try again, and the credits are given back."""
    read = decode_details(exchange.row, exchange.answered["data"]["taskId"], answer(exchange.answered["data"]))
    assert isinstance(read, Read)
    error = failure_of(exchange.row, read.details)
    assert (type(error), error.facts.code) == (KieGenerationFailed, 400)


@named([one for one in ALL if one.file in ("cover", "generate") and one.about == "it is done"])
def test_a_record_of_another_operation_is_not_read_as_this_one(exchange: Exchange) -> None:
    """One endpoint reads the tasks of all operations."""
    data = exchange.answered["data"]
    for name in ("suno.cover", "suno.music", "suno.lyrics"):
        row = task_kind(name, Form.UNIFIED)
        read = decode_details(row, data["taskId"], answer(data))
        assert isinstance(read, Read if row.model == exchange.row.model else Invisible)
