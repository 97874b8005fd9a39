"""When KIE last called back: a trace for people and for checks, in one Airflow Variable for each connection."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

WRITE_EVERY = 60.0
"""Seconds between two writes for a connection, however many callbacks come."""
DESCRIPTION = "When KIE last called back; written by the callback receiver."


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
    """Return what a Variable's text says; None if it says nothing of ours."""
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
    from airflow_kie._airflow_private import metadata

    with metadata.metadata_session() as session:
        return parsed(metadata.variable(session, variable_of(kie_conn_id)))


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
