"""Whether a person has stopped the new paid tasks of an account, as `kie_ops` reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_kie import metrics
from airflow_kie.client.errors import KieConnectionInvalid
from airflow_kie.hooks.spending_switch import read_anywhere
from airflow_kie.monitoring.incidents import Incident

if TYPE_CHECKING:
    from airflow_kie.hooks.kie import KieHook
    from airflow_kie.monitoring.health import HealthReport


def check_spending(report: HealthReport, hook: KieHook, now: float) -> None:
    """Read an account's switch, set its gauge, and report an incident where new paid tasks are stopped.

    :param report: what the health check has found.
    :param hook: the account.
    :param now: epoch seconds.
    """
    try:
        account = hook.account.spending_name
    except KieConnectionInvalid:
        report.unknown.add("spending")
        return
    stop = read_anywhere(account)
    metrics.SPENDING_STOPPED.set(float(stop is not None), connection=hook.kie_conn_id)
    if stop is not None:
        since = stop.at.timestamp() if stop.at else now
        summary = stop.sentence().rstrip(".")
        report.incidents.append(Incident("spending", account, summary, since, dated=False))
