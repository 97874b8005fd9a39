"""The operator of DAG `kie_ops`: looks, sets the gauges, and fails when somebody should look."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Variable
from airflow.sdk.exceptions import AirflowFailException

from airflow_kie import metrics, settings
from airflow_kie.archive.inbox.song_request import in_words
from airflow_kie.client.errors import all_reasons
from airflow_kie.durable.xcom import NEWS_KEY
from airflow_kie.monitoring.health import Looker, Seen
from airflow_kie.monitoring.incidents import CAUSES, Look, News, Told, decide, from_json, joined, to_json

if TYPE_CHECKING:
    from airflow.sdk import Context

RETRIES = 3
TOLD = "kie_ops"
"""Airflow Variable: which causes were told of, so that each is told of once."""
DESCRIPTION = "Causes that hold songs up, as DAG kie_ops has told of them; deleting this makes it tell them anew."


class KieOpsOperator(BaseOperator):
    """Reads balances, noted outages and `_pending/`, sets the gauges, and fails when a cause begins or gets worse.

    It fails once for each cause, again when that gets worse and when it has lasted another 24 hours; in between and
    afterwards it succeeds, and its log says what lasts. Nothing is paid, and nothing of the archive is listed.

    :param aws_conn_id: Airflow connection for S3.
    """

    ui_color = "#eeeeee"

    def __init__(self, *, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        kwargs.setdefault("retries", RETRIES)
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id

    def execute(self, context: Context) -> list[str]:
        """Look once; return what holds songs up now, in sentences.

        :raises AirflowFailException: when a cause begins, gets worse or has lasted another day, naming all of them.
        """
        now = time.time()
        seen = Looker(now).look(self.aws_conn_id)
        conditions = joined(seen.conditions)
        for cause in CAUSES.keys() - seen.unseen | {condition.cause for condition in conditions}:
            metrics.CONDITION.set(float(any(one.cause == cause for one in conditions)), cause=cause)
        metrics.OPS_LAST_LOOK.set(now)
        begin_counters(settings.allowed_connections())
        before = self._told()
        look = Look(context["ti"].run_id, now, conditions, frozenset(seen.unseen))
        news, told = decide(look, before)
        if told != before:
            Variable.set(TOLD, json.dumps(to_json(told)), description=DESCRIPTION)
        context["ti"].xcom_push(
            key=NEWS_KEY, value=[{"what": one.what.value, "key": one.key, "text": one.sentence} for one in news]
        )
        self._log(seen, news, [condition.sentence() for condition in conditions])
        alarms = [f"{one.key.partition(':')[0]} {one.what.value}: {one.sentence}" for one in news if one.alarms]
        if alarms:
            raise AirflowFailException(" ".join(alarms))
        return [condition.sentence() for condition in conditions]

    def _told(self) -> dict[str, Told]:
        text = Variable.get(TOLD, default=None)
        try:
            return from_json(json.loads(text or "{}"))
        except ValueError:
            self.log.warning("Variable %s is no note of ours and is overwritten.", TOLD)
            return {}

    def _log(self, seen: Seen, news: list[News], lasting: list[str]) -> None:
        unknown = "The bucket did not say who is owed something"
        owed = unknown if seen.owed is None else f"{in_words(seen.owed.count).capitalize()} owed something"
        self.log.info("%s; %s found that hold songs up.", owed, in_words(len(lasting), "cause"))
        for sentence in lasting:
            self.log.warning("%s", sentence)
        for one in news:
            if not one.alarms:
                self.log.warning("%s", one.sentence)


def begin_counters(connections: Iterable[str]) -> None:
    """Send 0 of every counter that an alert rule reads, so that its first event counts too.

    What cannot be known beforehand has no 0: a reason that is the name of a Python exception.

    :param connections: connection ids that songs may name.
    """
    for outcome in ("refused", "turned_away", "not_kept"):
        metrics.CALLBACKS.begin(outcome=outcome)
    for reason in all_reasons():
        metrics.FAILED.begin(reason=reason)
    for connection in connections:
        metrics.ARCHIVED.begin(connection=connection)
        for kind in ("music", "cover"):
            metrics.CREATED.begin(kind=kind, connection=connection)
            for heard in ("callback", "poll", "at_once"):
                metrics.DONE.begin(kind=kind, connection=connection, heard=heard)
