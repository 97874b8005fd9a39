"""An inbox that is not read is seen: by the age of the oldest object that waits there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from airflow_kie.archive.inbox.bucket import InboxBucket
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.monitoring.checks.findings import Level
from airflow_kie.monitoring.checks.installation import inbox_findings
from airflow_kie.monitoring.health import HealthCheck
from airflow_task import StoredFiles
from inbox_dag import InboxDag
from kie_simulator.server import SimulatorServer

SONG = json.dumps("a" * 32).encode()


def later() -> datetime:
    """Return a time from now on, not from the import on: that may be long ago.

    An object is late by then, and a song that is recorded now is not.
    """
    return datetime.now(UTC) + timedelta(minutes=50)


def causes(at: datetime) -> list[str]:
    return [incident.cause for incident in HealthCheck(at.timestamp()).run("aws_default").incidents]


class _Later(datetime):
    """A clock that is ahead."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return later()


def doctor(monkeypatch: pytest.MonkeyPatch) -> list[Level]:
    monkeypatch.setattr("airflow_kie.monitoring.checks.installation.datetime", _Later)
    return [found.level for found in inbox_findings()]


def test_kie_ops_and_doctor_see_an_object_that_nobody_has_taken_for_an_hour(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.put("inbox/a folder/a.json", SONG)
    assert causes(datetime.now(UTC)) == []
    assert causes(later()) == ["inbox"]
    assert doctor(monkeypatch) == [Level.FAIL]


def test_what_is_done_or_rejected_is_not_late(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.put("inbox/a.json", SONG)
    archive.put("inbox/b.json", b"{")
    InboxDag().run()
    assert causes(later()) == []
    assert doctor(monkeypatch) == [Level.OK]


def test_what_waits_for_the_next_day_is_late_only_once_nobody_reads_the_inbox_any_more(
    archive: StoredFiles, kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__INBOX_SONGS_PER_DAY", "1")
    for number in range(2):
        archive.put(f"inbox/{number}.json", json.dumps(f"{number:032x}").encode())
    InboxDag().run()
    inbox = InboxBucket(Bucket(archive.client, archive.bucket), ArchiveKeys("songs"))
    count = archive.json("songs/_inbox.json")
    assert inbox.late(later(), timedelta(minutes=5)) is not None
    count["full_at"] = (later() - timedelta(minutes=5)).isoformat()
    archive.put("songs/_inbox.json", json.dumps(count).encode())
    assert inbox.late(later(), timedelta(minutes=5)) is None
