"""Whether a person has stopped the new paid tasks of an account, as `kie_ops` reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_kie import metrics
from airflow_kie.client.errors import KieConnectionInvalid
from airflow_kie.hooks.spending_switch import read_anywhere
from airflow_kie.monitoring.incidents import Incident

if TYPE_CHECKING:
    from airflow_kie.hooks.kie import KieHook


def spending_incidents(hook: KieHook, now: float) -> list[Incident] | None:
    """Read an account's switch, set its gauge, and return an incident where new paid tasks are stopped.

    :param hook: the account.
    :param now: epoch seconds.
    :return: None where the account is not known.
    """
    try:
        account = hook.account.spending_name
    except KieConnectionInvalid:
        return None
    stop = read_anywhere(account)
    metrics.SPENDING_STOPPED.set(float(stop is not None), connection=hook.kie_conn_id)
    if stop is None:
        return []
    since = stop.at.timestamp() if stop.at else now
    return [Incident("spending", account, stop.sentence().rstrip("."), since, dated=False)]
