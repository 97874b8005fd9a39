"""The operators of DAG `kie_ops`: one checks and fails when somebody has to act, one sends messages."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_kie import metrics, settings
from airflow_kie.assets import COVER, HEALTH
from airflow_kie.client.errors import all_reasons
from airflow_kie.durable.xcom import INCIDENT_CHANGES_KEY
from airflow_kie.monitoring.health import HealthCheck, HealthReport
from airflow_kie.monitoring.incidents import (
    CAUSES,
    Incident,
    IncidentChange,
    decide,
    from_json,
    merged,
    to_json,
)
from airflow_kie.notifications.kie import incident_messages, send

if TYPE_CHECKING:
    from airflow.sdk import Context

RETRIES = 3
STATE_KEY = "incidents"
"""Key in the asset state store of :data:`~airflow_kie.assets.HEALTH`: what was reported."""
LEDGERS_KEY = "ledgers"
"""The same: where each account's paid requests are recorded."""
SEND_RETRIES = 30
"""With pauses that double from a minute to an hour, a message is tried for about a day."""
_SENT_KEY = "sent"


class KieHealthCheckOperator(BaseOperator):
    """Checks balances, bucket and `_pending/`, sets the gauges, and fails when an incident begins or gets worse.

    It fails once for each incident, again when the incident gets worse, and again for each further 24 hours that it
    lasts. Otherwise it succeeds, and its log lists the open incidents. It pays nothing and does not list the archive.

    What it has reported is stored in the asset state store of its outlet, ``kie://api.kie.ai/health``. Only one
    instance runs at a time.

    :param aws_conn_id: Airflow connection for S3.
    """

    ui_color = "#eeeeee"

    def __init__(self, *, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        defaults = {"retries": RETRIES, "inlets": [COVER], "outlets": [HEALTH], "max_active_tis_per_dag": 1}
        super().__init__(**{**defaults, **kwargs})
        self.aws_conn_id = aws_conn_id

    def execute(self, context: Context) -> list[str]:
        """Check once; return the open incidents, a sentence for each.

        :raises AirflowFailException: when an incident begins, gets worse or has lasted another day; it names all of
            them.
        """
        now = time.time()
        store = context["asset_state_store"][HEALTH]
        known = store.get(LEDGERS_KEY)
        check = HealthCheck(now, _ledgers(known))
        report = check.run(self.aws_conn_id)
        if check.ledgers != known:
            store.set(LEDGERS_KEY, check.ledgers)
        self._check_quiet(context, report, now)
        incidents = merged(report.incidents)
        self._set_gauges(now, report, incidents)
        before = from_json(store.get(STATE_KEY))
        changes, states = decide(incidents, before, check=context["ti"].run_id, at=now, unknown=report.unknown)
        pushed = [{"change": one.change.value, "key": one.key, "text": one.sentence} for one in changes]
        context["ti"].xcom_push(key=INCIDENT_CHANGES_KEY, value=pushed)
        if states != before:
            store.set(STATE_KEY, to_json(states))
        lasting = [incident.sentence() for incident in incidents]
        self._log(report, changes, lasting)
        alarms = [f"{one.key.partition(':')[0]} {one.change.value}: {one.sentence}" for one in changes if one.alarms]
        if alarms:
            raise AirflowFailException(" ".join(alarms))
        return lasting

    def _check_quiet(self, context: Context, report: HealthReport, now: float) -> None:
        """Add an incident where this Airflow has archived no cover for so long; by default never."""
        hours = settings.number("quiet_alert_hours", 0)
        last = list(context["inlet_events"][COVER].ascending(False).limit(1)) if hours else []
        if last and now - last[0].timestamp.timestamp() > hours * 3600:
            since = last[0].timestamp.timestamp()
            report.incidents.append(Incident("quiet", "", "no song was archived", since))

    def _set_gauges(self, now: float, report: HealthReport, incidents: list[Incident]) -> None:
        for cause in CAUSES.keys() - report.unknown | {incident.cause for incident in incidents}:
            metrics.INCIDENT.set(float(any(one.cause == cause for one in incidents)), cause=cause)
        metrics.HEALTH_CHECK_TIME.set(now)
        begin_counters(settings.allowed_connections())

    def _log(self, report: HealthReport, changes: list[IncidentChange], lasting: list[str]) -> None:
        pending = "The pending songs could not be read" if report.backlog is None else f"{report.backlog.count} pending"
        self.log.info("Songs: %s. Incidents: %d.", pending, len(lasting))
        for sentence in lasting:
            self.log.warning("%s", sentence)
        for one in changes:
            if not one.alarms and one.sentence not in lasting:
                self.log.warning("%s", one.sentence)


class KieIncidentNotificationOperator(BaseOperator):
    """Sends one message for each change of an incident, through the notifier that `[kie] notifier` names.

    If the notifier cannot send a message, the task fails, and Airflow's retries send only what was not sent yet. If
    the health check did not finish, the message says so.

    :param check_task_id: the task with :class:`KieHealthCheckOperator`.
    """

    ui_color = "#eeeeee"

    def __init__(self, *, check_task_id: str, **kwargs: Any) -> None:
        defaults = {
            "retries": SEND_RETRIES,
            "retry_delay": timedelta(minutes=1),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(hours=1),
        }
        super().__init__(**{**defaults, **kwargs})
        self.check_task_id = check_task_id

    def execute(self, context: Context) -> None:
        """Send what was not sent yet.

        :raises Exception: what the notifier has raised first; the other messages were sent.
        """
        changes = context["ti"].xcom_pull(task_ids=self.check_task_id, key=INCIDENT_CHANGES_KEY)
        store = context["task_state_store"]
        sent: Any = store.get(_SENT_KEY, [])
        refusals = []
        for message in incident_messages(context, changes):
            name = f"{message.cause} {message.title}"
            if name in sent:
                continue
            try:
                send(message, context)
            except Exception as error:  # noqa: BLE001 - of whichever notifier somebody has named
                self.log.error("The message '%s' was not sent; a retry sends it again.", message.title)
                refusals.append(error)
            else:
                sent.append(name)
                store.set(_SENT_KEY, sent)
        if refusals:
            raise refusals[0]


def _ledgers(known: Any) -> dict[str, Any]:
    """Return where each account's ledger was seen, without what a person has changed into something else."""
    accounts = known.items() if isinstance(known, dict) else ()
    seen = ((account, one) for account, one in accounts if isinstance(one, dict))
    return {
        account: dict(one)
        for account, one in seen
        if isinstance(one.get("where"), str) and isinstance(one.get("changed_at", 0), int | float)
    }


def begin_counters(connections: Iterable[str]) -> None:
    """Send 0 of every counter that an alert rule reads, so that its first event counts too.

    What cannot be known beforehand has no 0: a reason that is the name of a Python exception.

    :param connections: connection ids that songs may name.
    """
    for outcome in ("refused", "rate_limited", "not_stored", "recorded"):
        metrics.CALLBACKS.begin(outcome=outcome)
    for reason in all_reasons():
        metrics.FAILED.begin(reason=reason)
    for connection in connections:
        metrics.ARCHIVED.begin(connection=connection)
        for kind in ("music", "cover"):
            metrics.CREATED.begin(kind=kind, connection=connection)
            for source in ("callback", "poll", "at_once", "batch"):
                metrics.DONE.begin(kind=kind, connection=connection, completion_source=source)
