"""Do callbacks arrive? KIE's last callbacks, and when a poll found a result that no callback had reported.

Each is one Airflow Variable per connection, written now and then, for people and for `airflow kie doctor`. Nothing else
depends on them. Where polls find what callbacks should have announced, callbacks get lost on the way.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_kie._airflow_private import variables
from airflow_kie.monitoring.deliveries import Delivery, newest

WRITE_EVERY = 60.0
"""Seconds between two writes of a poll that has found an end."""
DESCRIPTION = "What KIE has called back; written by the callback receiver."
_POLL_DESCRIPTION = "When a poll last found an end that no callback had announced; written by tasks."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastCallback:
    """The last callback of a connection that was verified; others are not recorded.

    :param proof: ``signature`` or, of an account that does not sign, ``token``.
    :param at: when it came.
    """

    proof: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class Callbacks:
    """What is known of a connection's callbacks.

    :param last: the last one that was verified, our own tests left out; None: none is known.
    :param deliveries: the last ones of all, the newest first.
    """

    last: LastCallback | None = None
    deliveries: tuple[Delivery, ...] = ()

    def text(self) -> str:
        """Return what the Variable holds."""
        last = {"proof": self.last.proof, "at": self.last.at.isoformat(timespec="seconds")} if self.last else None
        return json.dumps({"last": last, "deliveries": [one.to_json() for one in self.deliveries]})

    def joined(self, last: LastCallback | None, deliveries: Iterable[Delivery]) -> Callbacks:
        """Return this with what another process knows; in which order several of them say so does not matter.

        :param last: its last one that was verified.
        :param deliveries: its last ones of all.
        """
        lasts = [one for one in (self.last, last) if one]
        return Callbacks(max(lasts, key=lambda one: one.at, default=None), newest(self.deliveries, deliveries))


def variable_of(kie_conn_id: str) -> str:
    """Return the name of the Variable that keeps a connection's last callbacks."""
    return f"kie_callback__{kie_conn_id}"


def parsed(text: str | None) -> Callbacks:
    """Return what a Variable's text says; nothing is known if it is not one that we wrote."""
    try:
        known: dict[str, Any] = json.loads(text or "")
        last = known["last"]
        return Callbacks(
            LastCallback(str(last["proof"]), datetime.fromisoformat(last["at"])) if last else None,
            tuple(Delivery.from_json(one) for one in known["deliveries"]),
        )
    except (ValueError, TypeError, KeyError):
        return Callbacks()


def callbacks_of(kie_conn_id: str) -> Callbacks:
    """Return what is known of a connection's callbacks.

    Reads Airflow's database: for the api-server and for commands on its machine, not for tasks.

    :param kie_conn_id: the Airflow connection.
    """
    return parsed(variables.variable(variable_of(kie_conn_id)))


def last_callback(kie_conn_id: str) -> LastCallback | None:
    """Return when KIE last called back for a connection; None: never, as far as is known here."""
    return callbacks_of(kie_conn_id).last


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
        log.warning("The last poll hit could not be recorded (%s); only `airflow kie doctor` uses it.", error)


def last_poll_hit(kie_conn_id: str) -> datetime | None:
    """Return when a poll last found an end that no callback had announced; None: never, as far as is known here.

    Reads Airflow's database: for commands on the api-server's machine, not for tasks.

    :param kie_conn_id: the Airflow connection.
    """
    return parsed_poll_hit(variables.variable(poll_variable_of(kie_conn_id)))
