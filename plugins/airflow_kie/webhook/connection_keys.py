"""The secrets that check callbacks, kept for a minute, so that nobody from outside can make us look them up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_kie import settings
from airflow_kie.hooks.kie import KieHook
from airflow_kie.webhook.proof import CallbackKeys, keys_in

log = logging.getLogger(__name__)

KEYS_CACHED_SECONDS = 60.0


@dataclass
class ConnectionKeys:
    """Looks a connection's keys up in Airflow: environment, secrets backend or database.

    :param clock: seconds that only grow.
    """

    clock: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, CallbackKeys]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, kie_conn_id: str) -> CallbackKeys:
        """Return a connection's keys; looked up once a minute, and only for configured connections."""
        if kie_conn_id not in settings.allowed_connections():
            return CallbackKeys()
        with self._lock:  # of many requests at once, one looks up
            known = self._known.get(kie_conn_id)
            if known is None or self.clock() - known[0] >= KEYS_CACHED_SECONDS:
                known = self._known[kie_conn_id] = (self.clock(), _looked_up(kie_conn_id))
            return known[1]


def _looked_up(kie_conn_id: str) -> CallbackKeys:
    try:
        keys = keys_in(KieHook.get_connection(kie_conn_id).extra_dejson or {}, kie_conn_id)
    except ValueError as error:
        log.error("%s. Until then all its callbacks are refused.", error)
        return CallbackKeys()
    except Exception:
        log.exception("Connection %s could not be looked up; its callbacks are refused.", kie_conn_id)
        return CallbackKeys()
    if keys == CallbackKeys():
        log.warning("Connection %s has no webhook secret: all its callbacks are refused.", kie_conn_id)
    return keys
