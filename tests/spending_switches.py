"""The switch that stops new paid tasks, for tests that run tasks without Airflow's processes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_kie.hooks import spending_switch
from airflow_kie.hooks.spending_switch import Stop, key_of

if TYPE_CHECKING:
    import pytest

    from airflow_task import Variables


def read_from(variables: Variables, monkeypatch: pytest.MonkeyPatch) -> Variables:
    """Let tasks read the switch from these Variables, as they do from Airflow's task API; each read counts."""
    monkeypatch.setattr(spending_switch.process, "in_task", lambda: True)
    monkeypatch.setattr(spending_switch, "Variable", variables)
    return variables


def stop(
    variables: Variables, account: str = "kie_default", *, minutes_ago: float = 0.0, reason: str = "a loop"
) -> None:
    """Stop an account's new paid tasks, as `airflow kie spending stop` does."""
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    variables.set(key_of(account), Stop(account, "jane@bastion", at, reason).to_text())


def resume(variables: Variables, account: str = "kie_default") -> None:
    """Let an account's new paid tasks be made again."""
    variables.delete(key_of(account))
