"""Records: KIE's times in every spelling, expiry, and what is stored between attempts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_kie.client.answers.details import Result, TaskDetails, Track, parse_time
from airflow_kie.client.operations.operation import Medium, State
from airflow_kie.lifecycle.record import TaskRecord

MOMENT = datetime(2025, 1, 15, 10, 35, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        1736937327000,
        1736937327000.0,
        "1736937327000",
        1736937327,
        "2025-01-15T10:35:27.000Z",
        "2025-01-15T10:35:27Z",
        "2025-01-15 10:35:27",
        "2025-01-15T12:35:27+02:00",
    ],
)
def test_every_spelling_of_a_time_is_the_same_utc_moment(value: Any) -> None:
    parsed = parse_time(value)
    assert parsed == MOMENT
    assert parsed is not None
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        True,
        "soon",
        "²",
        0,
        -1,
        10**18,
        10**400,
        float("inf"),
        float("-inf"),
        float("nan"),
        "9" * 400,
        {},
        [],
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_what_is_no_time_is_none(value: Any) -> None:
    assert parse_time(value) is None


def test_files_expire_14_days_after_the_end_or_else_after_the_beginning() -> None:
    later = datetime(2025, 1, 16, tzinfo=UTC)
    details = TaskDetails("suno.cover", "c", State.SUCCEEDED, "1", created_at=MOMENT, completed_at=later)
    assert details.expires_at == datetime(2025, 1, 30, tzinfo=UTC)
    running = TaskDetails("suno.cover", "c", State.RUNNING, "0", created_at=MOMENT)
    assert running.expires_at == datetime(2025, 1, 29, 10, 35, 27, tzinfo=UTC)
    assert TaskDetails("suno.cover", "c", State.RUNNING, "0").expires_at is None


def test_a_song_is_complete_when_every_track_has_its_audio() -> None:
    def details(*audio: str | None) -> TaskDetails:
        tracks = tuple(Track(n, audio_url=url) for n, url in enumerate(audio, 1))
        return TaskDetails("suno.music", "m", State.SUCCEEDED, "SUCCESS", tracks=tracks)

    assert details("https://a/1.mp3").complete
    assert details("https://a/1.mp3", "https://a/2.mp3", "https://a/3.mp3").complete
    assert not details("https://a/1.mp3", None).complete
    assert not details().complete


def test_the_title_is_that_of_the_track_or_else_the_one_asked_for() -> None:
    def details(title: str | None, param: dict[str, Any]) -> TaskDetails:
        return TaskDetails("suno.music", "m", State.RUNNING, "PENDING", tracks=(Track(1, title=title),), param=param)

    assert details("Rain", {"title": "asked"}).title == "Rain"
    assert details(None, {"title": "asked"}).title == "asked"
    assert details(None, {"title": 7}).title is None


def test_no_url_shows_in_the_representation_of_details() -> None:
    track = Track(1, audio_url="https://h/a.mp3?token=s3cret", image_url="https://h/i.png?token=s3cret")
    result = Result("track", 1, Medium.AUDIO, "https://h/a?token=s3cret", "s3cret")
    details = TaskDetails(
        "suno.music", "m", State.FAILED, "x", results=(result,), tracks=(track,),
        error_message="cannot fetch https://h/a?token=s3cret", param={"uploadUrl": "https://h/u?token=s3cret"},
    )  # fmt: skip
    assert "s3cret" not in repr(details)


FULL = TaskRecord(
    kind="suno.cover",
    source={"taskId": "m1"},
    connection="kie_default",
    digest="9c1185a5c5e9fc54612808977ee8f548",
    number=2,
    task_id="c2",
    unrecorded=True,
    adopted=True,
    known_at=1776862567.25,
    failed_ids=("c1",),
    doubt="generation_failed:500:3",
    doubt_at=1776862600.5,
    last_state="3",
)


@pytest.mark.parametrize(
    "record",
    [FULL, TaskRecord("suno.music"), TaskRecord("suno.cover", {"taskId": "m1"}, "kie", "9c11", 1)],
)
def test_a_record_survives_being_stored_as_json(record: TaskRecord) -> None:
    assert TaskRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_record_of_a_newer_version_is_read_without_what_is_unknown() -> None:
    stored = FULL.to_json() | {"colour": "blue", "nested": {"a": [1]}}
    assert TaskRecord.from_json(stored) == FULL


def test_what_was_made_here_is_what_kie_named_in_its_answer_to_an_own_attempt() -> None:
    made = TaskRecord("suno.cover", {"taskId": "m1"}, number=1, task_id="c1")
    assert made.created_here
    for other in (replace(made, number=0), replace(made, adopted=True), replace(made, task_id=None)):
        assert not other.created_here


def test_nothing_unset_is_stored() -> None:
    assert TaskRecord("suno.cover", {"taskId": "m1"}).to_json() == {
        "kind": "suno.cover",
        "source": {"taskId": "m1"},
    }
