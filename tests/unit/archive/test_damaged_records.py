"""A damaged record in `_pending/`, or in what health checks remember, stops no other song and no health check."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.pending import pending_songs
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.health_check import LEDGERS_KEY, STATE_KEY
from airflow_task import FakeTaskStateStore, StoredFiles, health_check
from kie_simulator.server import SimulatorServer

KEYS = ArchiveKeys("songs")
SONG = "a" * 32
DAMAGED = "d" * 32
WHOLE: dict[str, Any] = {
    "music_task_id": DAMAGED,
    "first_seen_at": "2026-11-22T10:00:00Z",
    "received_from": "event",
    "updated_at": "2026-11-22T10:00:00Z",
}
RECORDS = {
    "is cut short": json.dumps(WHOLE)[:40],
    "has another type": "[]",
    "is nested without end": "[" * 200_000,
    "is no UTF-8": b"\xff\xfe{",
    "holds a wrong list": json.dumps(WHOLE | {"labels": "abc"}),
    "begins before time": json.dumps(WHOLE | {"first_seen_at": "0001-01-01T00:00:00+14:00"}),
    "holds half a character": json.dumps(WHOLE | {"title": "\ud800"}),
    "is nothing": "",
}
NAMES = ("a..b", "x" * 200, "with space", "quote'\"", "ümlaut", "a/b", "")


@pytest.fixture
def opened(bucket: str, s3_server: Any) -> Bucket:
    found = Bucket(s3_server.client(), bucket)
    SongArchive(found, KEYS.song(SONG)).update_pending(received_from="event")
    return found


def account_name() -> str:
    return KieHook().account.name


@pytest.mark.parametrize("how", RECORDS)
def test_a_record_that_is_damaged_is_named_and_leaves_the_other_songs_to_be_seen(
    kie: SimulatorServer, opened: Bucket, archive: StoredFiles, health_store: FakeTaskStateStore, how: str
) -> None:
    body = RECORDS[how]
    opened.put_bytes(body if isinstance(body, bytes) else body.encode(), KEYS.song(DAMAGED).pending, content_type="x")
    assert [pending.music_task_id for pending in pending_songs(opened, KEYS)] == [SONG]
    with pytest.raises(AirflowFailException, match=f"record begins: 1 song waits: .*{DAMAGED}.json cannot be read"):
        health_check(health_store).execute()


def test_a_record_of_the_end_of_time_is_a_record(
    kie: SimulatorServer, opened: Bucket, archive: StoredFiles, health_store: FakeTaskStateStore
) -> None:
    text = json.dumps(WHOLE | {"first_seen_at": "9999-12-31T23:00:00Z"})
    opened.put_bytes(text.encode(), KEYS.song(DAMAGED).pending, content_type="application/json")
    assert DAMAGED in [pending.music_task_id for pending in pending_songs(opened, KEYS)]
    assert health_check(health_store).execute() == []


def test_a_record_that_could_not_be_written_anew_is_not_handed_on(opened: Bucket) -> None:
    text = json.dumps(WHOLE | {"of_a_newer_version": ["half a character: \ud800"]})
    opened.put_bytes(text.encode(), KEYS.song(DAMAGED).pending, content_type="application/json")
    assert [pending.music_task_id for pending in pending_songs(opened, KEYS)] == [SONG]


def test_a_stray_object_among_the_records_is_passed_over_whatever_it_is_called(
    kie: SimulatorServer, opened: Bucket, health_store: FakeTaskStateStore
) -> None:
    for name in NAMES:
        opened.put_bytes(b"{}", f"{KEYS.pending}{name}.json", content_type="application/json")
    assert [pending.music_task_id for pending in pending_songs(opened, KEYS)] == [SONG]
    assert health_check(health_store).execute() == []


STATES: dict[str, Any] = {
    "a list": [1],
    "a number": 5,
    "texts for numbers": {"credits:ACCOUNT": dict.fromkeys(("summary", "since", "reported_at", "level", "check"), "x")},
    "nulls": {"credits:ACCOUNT": dict.fromkeys(("summary", "since", "reported_at", "level", "check", "missed"))},
}


@pytest.mark.parametrize("what", STATES)
def test_what_health_checks_remember_and_a_person_has_changed_stops_none(
    kie: SimulatorServer, opened: Bucket, health_store: FakeTaskStateStore, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    health_store.rows[STATE_KEY] = json.dumps(STATES[what]).replace("ACCOUNT", account_name())
    monkeypatch.setenv("AIRFLOW__KIE__CREDITS_ALERT", "5000")
    kie.control.set_credits(3000)
    with pytest.raises(AirflowFailException, match="credits begins"):
        health_check(health_store).execute()
    assert list(health_store.get(STATE_KEY)) == [f"credits:{account_name()}"]


def test_a_clock_that_was_ahead_when_an_incident_was_reported_silences_it_no_longer_than_a_day(
    kie: SimulatorServer, opened: Bucket, health_store: FakeTaskStateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__CREDITS_ALERT", "5000")
    kie.control.set_credits(3000)
    later = time.time() + 10 * 365 * 86400
    state = {"summary": "x", "since": later, "reported_at": later, "level": 1, "check": "before"}
    health_store.set(STATE_KEY, {f"credits:{account_name()}": state})
    with pytest.raises(AirflowFailException, match="credits lasts"):
        health_check(health_store).execute()


@pytest.mark.parametrize(
    "known", [[1], "x", 5, {"kie_default": "x"}, {"kie_default": {}}, {"kie_default": {"where": 5}}]
)
def test_where_health_checks_have_seen_the_ledger_and_a_person_has_changed_stops_none(
    kie: SimulatorServer, opened: Bucket, health_store: FakeTaskStateStore, known: Any
) -> None:
    health_store.rows[LEDGERS_KEY] = json.dumps(known)
    assert health_check(health_store).execute() == []
    assert health_store.get(LEDGERS_KEY)["kie_default"]["where"].startswith("s3://")
