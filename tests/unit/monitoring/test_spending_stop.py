"""`kie_ops` reports a stop of new paid tasks, for information: it sets a gauge and alarms nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_kie.durable.xcom import INCIDENT_CHANGES_KEY
from airflow_kie.hooks.spending_switch import key_of
from airflow_task import FakeTaskStateStore, Variables, health_check
from kie_simulator.server import SimulatorServer
from spending_switches import resume, stop
from statsd_listener import StatsdListener, airflow_sends


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdListener]:
    with airflow_sends(monkeypatch) as listener:
        yield listener


def gauge(sent: StatsdListener) -> Any:
    sample = sent.of("kie.spending_stopped")[-1]
    return (sample.tags["connection"], sample.value)


def test_a_stop_is_reported_once_with_who_and_why_and_alarms_nobody(
    kie: SimulatorServer, bucket: str, health_store: FakeTaskStateStore, switch: Variables, sent: StatsdListener
) -> None:
    kie.control.set_credits(750)
    stop(switch, reason="a loop")
    first = health_check(health_store, "scheduled__1")
    (lasting,) = first.execute()
    assert "jane@bastion has stopped new paid tasks of account kie_default" in lasting
    assert '("a loop")' in lasting
    assert [(one["change"], one["key"]) for one in first.ti.pushed[INCIDENT_CHANGES_KEY]] == [
        ("begins", "spending:kie_default")
    ]
    assert gauge(sent) == ("kie_default", 1)
    second = health_check(health_store, "scheduled__2")
    assert second.execute() == [lasting]
    assert second.ti.pushed[INCIDENT_CHANGES_KEY] == []
    resume(switch)
    for number in (3, 4):
        last = health_check(health_store, f"scheduled__{number}")
        assert last.execute() == []
    assert [one["change"] for one in last.ti.pushed[INCIDENT_CHANGES_KEY]] == ["is over"]
    assert gauge(sent) == ("kie_default", 0)


def test_a_switch_that_cannot_be_understood_is_reported_as_a_stop(
    kie: SimulatorServer, bucket: str, health_store: FakeTaskStateStore, switch: Variables
) -> None:
    kie.control.set_credits(750)
    switch.set(key_of("kie_default"), "off")
    (lasting,) = health_check(health_store).execute()
    assert "cannot be understood" in lasting


def test_no_alert_fires_for_what_a_person_has_stopped() -> None:
    rules = yaml.safe_load((Path(__file__).parents[3] / "include/monitoring/prometheus_rules.yml").read_text())
    alerts = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert 'cause!~"expiry|spending|doubt|ledger|quiet"' in alerts["KieSongsBlocked"]
    assert not any("kie_spending_stopped" in expression for expression in alerts.values())
