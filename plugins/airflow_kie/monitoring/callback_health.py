"""Do callbacks arrive? When KIE last called back, and when a poll found an end that no callback had announced.

Each is one Airflow Variable per connection, written at most once a minute, for people and for `airflow kie doctor`.
Nothing else depends on them. Where polls find what callbacks should have announced, callbacks get lost on the way.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_kie._airflow_private import variables

WRITE_EVERY = 60.0
"""Seconds between two writes for a connection, however many callbacks come."""
DESCRIPTION = "When KIE last called back; written by the callback receiver."
_POLL_DESCRIPTION = "When a poll last found an end that no callback had announced; written by tasks."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastCallback:
    """The last callback of a connection that proved itself; unproven ones leave no trace.

    :param at: when it came, to a minute.
    :param count: how many there were, all in all; several api-servers count past each other now and then.
    :param proof: ``signature`` or, of an account that does not sign, ``token``.
    """

    at: datetime
    count: int
    proof: str

    def text(self) -> str:
        """Return what the Variable holds."""
        return json.dumps({**asdict(self), "at": self.at.isoformat(timespec="seconds")})


def variable_of(kie_conn_id: str) -> str:
    """Return the name of the Variable that keeps a connection's last callback."""
    return f"kie_callback__{kie_conn_id}"


def parsed(text: str | None) -> LastCallback | None:
    """Return what a Variable's text says; None if it is not one that we wrote."""
    try:
        known: dict[str, Any] = json.loads(text or "")
        return LastCallback(datetime.fromisoformat(known["at"]), int(known["count"]), str(known["proof"]))
    except (ValueError, TypeError, KeyError):
        return None


def last_callback(kie_conn_id: str) -> LastCallback | None:
    """Return when KIE last called back for a connection; None: never, as far as is known here.

    Reads Airflow's database: for the api-server and for commands on its machine, not for tasks.

    :param kie_conn_id: the Airflow connection.
    """
    return parsed(variables.variable(variable_of(kie_conn_id)))


@dataclass
class CallbackCounter:
    """Counts proven callbacks in this process and says when it is time to write them down.

    :param clock: seconds that only grow.
    """

    clock: Callable[[], float] = time.monotonic
    _since: dict[str, int] = field(default_factory=dict)
    _written: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kie_conn_id: str) -> int:
        """Count one callback; return how many are to be added to the Variable now, 0 while it is not yet time."""
        with self._lock:
            self._since[kie_conn_id] = self._since.get(kie_conn_id, 0) + 1
            now, before = self.clock(), self._written.get(kie_conn_id)
            if before is not None and now - before < WRITE_EVERY:
                return 0
            self._written[kie_conn_id] = now
            return self._since.pop(kie_conn_id)


def following(before: LastCallback | None, count: int, proof: str, now: datetime | None = None) -> LastCallback:
    """Return the trace after some more callbacks.

    :param before: the trace until now.
    :param count: how many came since.
    :param proof: how the last one proved itself.
    :param now: when it came; None: now.
    """
    return LastCallback(now or datetime.now(UTC), count + (before.count if before else 0), proof)


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
        log.warning("That a poll found the end could not be recorded (%s); only `airflow kie doctor` misses it.", error)


def last_poll_hit(kie_conn_id: str) -> datetime | None:
    """Return when a poll last found an end that no callback had announced; None: never, as far as is known here.

    Reads Airflow's database: for commands on the api-server's machine, not for tasks.

    :param kie_conn_id: the Airflow connection.
    """
    return parsed_poll_hit(variables.variable(poll_variable_of(kie_conn_id)))
