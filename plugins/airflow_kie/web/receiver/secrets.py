"""The secrets that check callbacks, kept for a minute, so that nobody from outside can make us look them up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from airflow_kie import settings
from airflow_kie.client.callbacks.auth import CallbackKeys, keys_in
from airflow_kie.hooks.kie import KieHook
from airflow_kie.web.kept import Kept

log = logging.getLogger(__name__)


class ConnectionKeys:
    """Looks a connection's keys up in Airflow: environment, secrets backend or database.

    :param clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept = Kept(_read_again, clock)

    def of(self, kie_conn_id: str) -> CallbackKeys:
        """Return a connection's keys; looked up once a minute, and only for configured connections."""
        return self._kept.of(kie_conn_id) if kie_conn_id in settings.allowed_connections() else CallbackKeys()


def _read_again(kie_conn_id: str) -> CallbackKeys:
    try:
        connection = KieHook.get_connection(kie_conn_id)
        if connection.conn_type != KieHook.conn_type:
            raise ValueError(f"Connection {kie_conn_id} is of type {connection.conn_type!r}, not 'kie'")
        keys = keys_in(connection.extra_dejson or {}, kie_conn_id)
    except ValueError as error:
        log.error("%s. Until then all its callbacks are refused.", error)
        return CallbackKeys()
    except Exception:
        log.exception("Connection %s could not be looked up; its callbacks are refused.", kie_conn_id)
        return CallbackKeys()
    if keys == CallbackKeys():
        log.warning("Connection %s has no webhook secret: all its callbacks are refused.", kie_conn_id)
    return keys
