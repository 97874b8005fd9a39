"""Do callbacks arrive? When KIE last called back, and when a poll found an end that no callback had announced.

Each is one Airflow Variable per connection, written at most once a minute, for people and for `airflow kie doctor`.
Nothing else depends on them. Where polls find what callbacks should have announced, callbacks get lost on the way.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from airflow_kie._airflow_private import variables

WRITE_EVERY = 60.0
"""Seconds between two writes for a connection, however many callbacks come."""
EARLIER = 20
"""Callbacks before the last one of which it is known when they came."""
DESCRIPTION = "When KIE last called back; written by the callback receiver."
_POLL_DESCRIPTION = "When a poll last found an end that no callback had announced; written by tasks."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastCallback:
    """The last callback of a connection that was verified; others are not recorded.

    :param proof: ``signature`` or, of an account that does not sign, ``token``.
    :param at: when it came, to a minute.
    :param earlier: when those before it came, the newest first: one a minute at most, and 20.
    """

    proof: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    earlier: tuple[datetime, ...] = ()

    def text(self) -> str:
        """Return what the Variable holds."""
        at, *earlier = (one.isoformat(timespec="seconds") for one in (self.at, *self.earlier))
        return json.dumps({"proof": self.proof, "at": at, "earlier": earlier})

    def after(self, before: LastCallback | None) -> LastCallback:
        """Return this callback with those before it.

        :param before: the last one, as it is recorded.
        """
        earlier = (before.at, *before.earlier) if before else ()
        return replace(self, earlier=earlier[:EARLIER])


def variable_of(kie_conn_id: str) -> str:
    """Return the name of the Variable that keeps a connection's last callback."""
    return f"kie_callback__{kie_conn_id}"


def parsed(text: str | None) -> LastCallback | None:
    """Return what a Variable's text says; None if it is not one that we wrote."""
    try:
        known: dict[str, Any] = json.loads(text or "")
        at, *earlier = (datetime.fromisoformat(one) for one in (known["at"], *known["earlier"]))
        return LastCallback(str(known["proof"]), at, tuple(earlier))
    except (ValueError, TypeError, KeyError):
        return None


def last_callback(kie_conn_id: str) -> LastCallback | None:
    """Return when KIE last called back for a connection; None: never, as far as is known here.

    Reads Airflow's database: for the api-server and for commands on its machine, not for tasks.

    :param kie_conn_id: the Airflow connection.
    """
    return parsed(variables.variable(variable_of(kie_conn_id)))


def poll_variable_of(kie_conn_id: str) -> str:
    """Return the name of the Variable that keeps a connection's last poll hit."""
    return f"kie_poll_hit__{kie_conn_id}"


def parsed_poll_hit(text: str | None) -> datetime | None:
    """Return the time in a Variable's text; None if it is not one that we wrote."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else None


def record_poll_hit(kie_conn_id: str) -> None:
    """Record that a poll found the end of a task; for tasks. Nothing depends on it, so nothing fails with it."""
    from airflow.sdk import Variable
    from airflow.sdk.exceptions import AirflowRuntimeError

    name, now = poll_variable_of(kie_conn_id), datetime.now(UTC)
    try:
        before = parsed_poll_hit(Variable.get(name, default=None))
        if before is None or (now - before).total_seconds() >= WRITE_EVERY:
            Variable.set(name, now.isoformat(timespec="seconds"), description=_POLL_DESCRIPTION)
    except AirflowRuntimeError as error:
        log.warning("The last poll hit could not be recorded (%s); only `airflow kie doctor` reads it.", error)


def last_poll_hit(kie_conn_id: str) -> datetime | None:
    """Return when a poll last found an end that no callback had announced; None: never, as far as is known here.

    Reads Airflow's database: for commands on the api-server's machine, not for tasks.

    :param kie_conn_id: the Airflow connection.
    """
    return parsed_poll_hit(variables.variable(poll_variable_of(kie_conn_id)))
