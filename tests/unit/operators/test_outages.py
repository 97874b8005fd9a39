"""Tasks in an outage, against the simulated KIE: none fails, none pays, and each goes on by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred

from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3AccessDenied
from airflow_kie.client.errors import KieContentRejected, KieUnauthorized
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.hooks.archive import open_song
from airflow_kie.operators.suno import KieGenerateCoverOperator, KieGenerateMusicOperator
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.sensors.suno import KieMusicSensor
from airflow_task import StoredFiles, TaskRun
from kie_simulator.server import SimulatorServer

UNATTENDED = {"dag_run": SimpleNamespace(run_type="asset_triggered")}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__OUTAGE_PROBE_SECONDS", "0.01")


def unattended(make: Callable[[], Any]) -> TaskRun:
    return replace(TaskRun(make), extra=UNATTENDED)


def pending(bucket: str, music_task_id: str) -> None:
    open_song("aws_default", bucket, "songs", music_task_id).update_pending(received_from="event")


def waits_for(archive: StoredFiles, music_task_id: str) -> str | None:
    found = archive.json(f"songs/_pending/{music_task_id}.json")["waiting_for"]
    return found and str(found["reason"])


def rescheduled(run: TaskRun) -> None:
    with pytest.raises(AirflowRescheduleException):
        run.execute()


def creates(kie: SimulatorServer) -> int:
    return sum(count for name, count in kie.control.state()["requests"].items() if "generate" in name)


def test_covers_wait_without_credits_none_is_asked_for_again_before_there_are_some_and_each_is_paid_once(
    kie: SimulatorServer, bucket: str, archive: StoredFiles
) -> None:
    songs = [kie.control.make_music(title)[0].task_id for title in ("Velvet Harbour", "Paper Boats", "Northern Lines")]

    def cover(song: str) -> TaskRun:
        facts: dict[str, Any] = {"music_task_id": song, "bucket": bucket, "prefix": "songs", "poll_interval": 0.05}
        return unattended(lambda: KieGenerateCoverOperator(task_id="generate_cover", deferrable=False, **facts))

    runs = {song: cover(song) for song in songs}
    kie.control.set_credits(0)
    for song, run in runs.items():
        pending(bucket, song)
        for _ in range(4):
            rescheduled(run)
        assert waits_for(archive, song) == "out_of_credits"
    assert (creates(kie), kie.control.ledger("cover")) == (len(songs), [])
    kie.control.set_credits(1000)
    assert len({run.execute() for run in runs.values()}) == len(songs)
    assert len(kie.control.ledger("cover")) == len(songs)
    assert [waits_for(archive, song) for song in songs] == [None] * len(songs)


def test_a_sensor_that_is_rescheduled_as_usual_after_an_outage_says_no_longer_that_its_song_waits(
    kie: SimulatorServer, bucket: str, archive: StoredFiles
) -> None:
    kie.control.set(music_seconds=3600)
    song = kie.control.make_music("Velvet Harbour", state="PENDING")[0].task_id
    pending(bucket, song)
    settings: dict[str, Any] = {"deferrable": False, "mode": "reschedule", "poll_interval": 0.05}
    run = unattended(lambda: KieMusicSensor(task_id="music_complete", music_task_id=song, **settings))
    kie.control.add_fault("details", "code", code=401, msg="You do not have access permissions", times=2)
    rescheduled(run)
    rescheduled(run)
    assert waits_for(archive, song) == "unauthorized"
    rescheduled(run)
    assert waits_for(archive, song) is None


def test_a_song_is_not_made_while_the_bucket_refuses_its_record_and_does_not_fail(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(bucket: Bucket, key: str) -> None:
        raise S3AccessDenied(f"PutObject on bucket {bucket.name}, key {key}: AccessDenied")

    facts: dict[str, Any] = {"prompt": "rain on a roof", "bucket": bucket, "prefix": "songs", "deferrable": True}
    run = unattended(lambda: KieGenerateMusicOperator(task_id="generate_music", **facts))
    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "probe", refuse)
        rescheduled(run)
        rescheduled(run)
    assert kie.control.ledger("music") == []
    kie.control.set(music_seconds=3600)
    with pytest.raises(TaskDeferred):
        run.execute()
    assert len(kie.control.ledger("music")) == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_persons_run_fails_for_a_key_that_is_refused_while_it_waits_and_a_clear_uses_what_is_paid(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    request = {"prompt": "rain on a roof", "customMode": False, "instrumental": False, "model": "V5"}
    facts: dict[str, Any] = {"request": request, "poll_interval": 0.05, "deferrable": deferrable}
    run = TaskRun(lambda: KieTaskOperator(task_id="make", operation="suno.music", **facts))
    run.extra |= {"dag_run": SimpleNamespace(run_type="manual")}
    refused = kie.control.add_fault("details", "code", code=401, msg="You do not have access permissions", times=-1)
    with pytest.raises(KieUnauthorized, match="Then clear the task"):
        run.attempt()
    kie.control.clear_faults(refused)
    assert [run.cleared().attempt()] == [charge["task_id"] for charge in kie.control.ledger("music")]


def test_what_a_list_has_paid_for_is_archived_after_an_outage_also_while_the_balance_is_used_up(
    kie: SimulatorServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise S3AccessDenied("PutObject")

    bodies = [{"prompt": text, "customMode": False, "instrumental": False, "model": "V5"} for text in ("rain", "snow")]
    facts: dict[str, Any] = {"to": f"s3://{bucket}/made", "poll_interval": 0.05, "deferrable": True}
    run = unattended(lambda: KieTaskOperator(task_id="make", operation="suno.music", requests=bodies, **facts))
    with pytest.raises(TaskDeferred) as deferred:
        run.execute()
    kie.control.set_credits(0)
    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "put_file", refuse)
        with pytest.raises(AirflowRescheduleException):
            run.resume(deferred.value)
    assert run.attempt()["counts"]["archived"] == 2
    bodies.append({**bodies[0], "prompt": "hail"})  # of what is not paid for nothing is asked
    cleared, before = run.cleared(), creates(kie)
    for _ in range(3):
        rescheduled(cleared)
    assert creates(kie) == before + 1


@pytest.mark.parametrize(
    ("given", "said"),
    [(None, False), ("None", False), (datetime(2026, 12, 1, tzinfo=UTC), True), ("2026-12-01T00:00:00Z", True)],
)
def test_when_kie_deletes_the_files_is_said_where_a_template_has_rendered_to_a_time(given: Any, said: bool) -> None:
    def attempt() -> None:
        raise KieContentRejected("a word")

    with pytest.raises(KieContentRejected) as failed:
        run_with_outage_backoff({}, attempt, expires_at=given)  # type: ignore[typeddict-item]
    assert ("KIE deletes its files on 2026-12-01." in str(failed.value)) is said
    assert "None" not in str(failed.value)
