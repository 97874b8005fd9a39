"""The operators of DAG `kie_ops`: one checks and fails when somebody has to act, one sends messages."""

from __future__ import annotations

import json
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

    It fails once for each incident, again when that gets worse and when it has lasted another 24 hours; in between and
    afterwards it succeeds, and its log says what lasts. Nothing is paid, and nothing of the archive is listed.

    What it has reported is kept in the asset state store of ``kie://api.kie.ai/health``, its outlet. Only one instance
    may run at a time.

    :param aws_conn_id: Airflow connection for S3.
    """

    ui_color = "#eeeeee"

    def __init__(self, *, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        defaults = {"retries": RETRIES, "inlets": [COVER], "outlets": [HEALTH], "max_active_tis_per_dag": 1}
        super().__init__(**{**defaults, **kwargs})
        self.aws_conn_id = aws_conn_id

    def execute(self, context: Context) -> list[str]:
        """Check once; return the incidents that last now, in sentences.

        :raises AirflowFailException: when one begins, gets worse or has lasted another day, naming all of them.
        """
        now = time.time()
        store = context["asset_state_store"][HEALTH]
        known: Any = store.get(LEDGERS_KEY) or {}
        check = HealthCheck(now, json.loads(json.dumps(known)))
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

    A message that the notifier cannot send fails the task, and Airflow's retries send it again; those that were sent
    are not. Where the check did not finish, the message says that.

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
                self.log.error("The message '%s' was not sent; it is tried again.", message.title)
                refusals.append(error)
            else:
                sent.append(name)
                store.set(_SENT_KEY, sent)
        if refusals:
            raise refusals[0]


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
