"""kie_ops finds what needs a person: doubts, a turn that is held, a song that no run takes, another ledger, silence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_kie.archive.pending import Working
from airflow_kie.assets import COVER, HEALTH
from airflow_kie.client.rate_limiter.turns import CreateTurn
from airflow_kie.hooks.archive import open_song
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import open_ledger
from airflow_kie.lifecycle.claims import InDoubt, Intent, RequestId
from airflow_kie.monitoring import health
from airflow_kie.monitoring.health import HealthCheck
from airflow_kie.operators.health_check import KieHealthCheckOperator
from airflow_task import FakeTaskStateStore, StoredFiles, TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer

A, B = "a" * 32, "b" * 32


def found(cause: str, now: datetime | None = None, ledgers: dict[str, Any] | None = None) -> list[str]:
    """Return what a health check finds of a cause."""
    at = (now or datetime.now(UTC)).timestamp()
    report = HealthCheck(at, ledgers if ledgers is not None else {}).run("aws_default")
    assert cause not in report.unknown
    return [incident.sentence() for incident in report.incidents if incident.cause == cause]


def test_a_request_in_doubt_is_found_until_a_person_has_decided(kie: SimulatorServer, archive: StoredFiles) -> None:
    hook = KieHook()
    ledger = open_ledger(hook, hook.ledger_database()[0]).ledger
    request = RequestId(hook.account.spending_name, "suno.music", "d" * 32)
    ledger.claim(request, Intent.made_at(0.0))
    doubt = ledger.find(request)
    assert isinstance(doubt, InDoubt)
    ledger.record_doubt(request, doubt)
    (sentence,) = found("doubt")
    assert "1 requests may have been paid for, and `airflow kie doubts` lists" in sentence
    ledger.record(request, 1, "released")
    assert found("doubt") == []


def test_a_turn_that_one_batch_holds_for_too_long_is_found_with_its_holder(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn: CreateTurn = KieHook().limiter(bulk=True).turn("dag/run/generate_cover/3")
    assert turn.take(30.0) == 0.0
    assert turn.take(30.0) == 0.0, "it is kept, and counts from its beginning"
    assert found("turn") == []
    monkeypatch.setattr(health, "TURN_HELD", -1.0)
    (sentence,) = found("turn")
    assert "dag/run/generate_cover/3 sends its requests, and others wait" in sentence
    turn.give_back()
    assert found("turn") == []


def test_a_song_that_no_run_has_taken_for_an_hour_is_found(kie: SimulatorServer, archive: StoredFiles) -> None:
    old = datetime.now(UTC) - timedelta(hours=2)
    for song, known in ((A, {}), (B, {"working": Working(dag_id="music_cover", run_id="r")})):
        open_song("aws_default", archive.bucket, "songs", song).update_pending(
            received_from="event", first_seen_at=old, **known
        )
    (sentence,) = found("untried")
    assert sentence.startswith("1 song waits: no run has taken")
    assert found("untried", old + timedelta(minutes=30)) == []


def test_a_ledger_in_another_place_is_found_for_a_day(kie: SimulatorServer, archive: StoredFiles) -> None:
    ledgers: dict[str, Any] = {}
    now = datetime.now(UTC)
    assert found("ledger", ledgers=ledgers) == []
    (account,) = ledgers
    before = ledgers[account]["where"]
    ledgers[account]["where"] = "s3://another/_paid/"
    (sentence,) = found("ledger", ledgers=ledgers)
    assert f"paid requests are recorded in {before}: what is recorded in s3://another/_paid/ is not read" in sentence
    assert found("ledger", now + timedelta(hours=23), ledgers) != []
    assert found("ledger", now + timedelta(hours=25), ledgers) == []
    assert ledgers == {account: {"where": before}}


@pytest.mark.parametrize(("hours", "age", "fails"), [("", 900, False), ("24", 23, False), ("24", 25, True)])
def test_that_nothing_was_archived_for_long_is_found_where_it_is_wanted(
    kie: SimulatorServer, archive: StoredFiles, monkeypatch: pytest.MonkeyPatch, hours: str, age: int, fails: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__QUIET_ALERT_HOURS", hours)

    class Newest(list[Any]):
        def ascending(self, wanted: bool) -> Newest:
            assert not wanted
            return self

        def limit(self, most: int) -> Newest:
            return self

    events = Newest([SimpleNamespace(timestamp=datetime.now(UTC) - timedelta(hours=age))])
    context = {"asset_state_store": {HEALTH: FakeTaskStateStore()}, "inlet_events": {COVER: events}}
    run = TaskRun(lambda: KieHealthCheckOperator(task_id="check"), ti=TaskInstance(dag_id="kie_ops"), extra=context)
    if fails:
        with pytest.raises(AirflowFailException, match="quiet begins: no song was archived since"):
            run.execute()
    else:
        assert run.execute() == []
