"""What the receiver reads from Airflow connections: the keys that check callbacks, and the account that asks KIE.

Both are cached for a minute, so that nobody from outside can make us read them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_kie import settings
from airflow_kie.client.callbacks.auth import CallbackKeys, keys_in
from airflow_kie.client.errors import KieConnectionInvalid, KieError
from airflow_kie.client.task_lookup import Claim, ask_kie
from airflow_kie.hooks.connected import extra_of
from airflow_kie.hooks.kie import KieHook, account_of
from airflow_kie.web.cache import cached_for_a_minute

if TYPE_CHECKING:
    from airflow_kie.client.account import KieAccount

log = logging.getLogger(__name__)

REQUEST_SECONDS = 3.0
"""Seconds for one request to KIE; there are three at most."""
UNREADABLE_SECONDS = 5.0
"""Seconds for which a connection that could not be read is not read again."""


class ConnectionUnreadable(Exception):
    """A configured connection cannot be read now. Airflow says the same of one that does not exist."""


class Connections:
    """The connections of Airflow: from the environment, a secrets backend or the database.

    :param clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unreadable_until: dict[str, float] = {}
        self._keys = cached_for_a_minute(_read_keys, clock)
        self._accounts = cached_for_a_minute(_read_account, clock)

    def keys_of(self, kie_conn_id: str) -> CallbackKeys:
        """Return what checks a connection's callbacks; empty for one that `[kie] kie_conn_ids` does not list.

        :raises ConnectionUnreadable: when it cannot be read now: nobody can say whether a callback is KIE's.
        """
        if kie_conn_id not in settings.allowed_connections():
            return CallbackKeys()
        if self._clock() < self._unreadable_until.get(kie_conn_id, float("-inf")):
            raise ConnectionUnreadable(kie_conn_id)
        try:
            return self._keys(kie_conn_id)
        except ConnectionUnreadable:
            self._unreadable_until[kie_conn_id] = self._clock() + UNREADABLE_SECONDS
            raise

    def ask_kie(self, kie_conn_id: str, task_id: str) -> Claim:
        """Return what KIE says of an id that a callback calls a song; `NOT_ASKED` where it cannot be asked.

        :param kie_conn_id: a connection whose secret has proven the callback.
        :param task_id: the id.
        """
        from airflow_kie.client.api import Kie
        from airflow_kie.client.http.transport import shared_transport

        try:
            return ask_kie(Kie(shared_transport(self._accounts(kie_conn_id))), task_id)
        except KieError as error:
            message = f"{error.what}: {error.facts.message}"
            log.warning("KIE could not be asked whether task %s is a song. %s.", task_id, message)
        except Exception:
            log.exception("KIE could not be asked whether task %s is a song.", task_id)
        return Claim.NOT_ASKED


def _read_keys(kie_conn_id: str) -> CallbackKeys:
    keys = CallbackKeys()
    try:
        connection = KieHook.get_connection(kie_conn_id)
    except Exception as error:
        why = "does not exist, or cannot be read now; until it can, its callbacks are answered with 503"
        log.error("Connection %s %s (%s).", kie_conn_id, why, type(error).__name__)
        raise ConnectionUnreadable(kie_conn_id) from error
    try:
        if connection.conn_type != KieHook.conn_type:
            raise ValueError(f"Connection {kie_conn_id} is of type {connection.conn_type!r}, not 'kie'")
        keys = keys_in(extra_of(connection), kie_conn_id)
        if keys == CallbackKeys():
            log.warning("Connection %s has no webhook secret: all its callbacks are refused.", kie_conn_id)
    except (ValueError, KieConnectionInvalid) as error:
        log.error("%s. Until this is fixed, all its callbacks are refused.", error)
    except Exception:
        log.exception("Connection %s cannot be understood: all its callbacks are refused.", kie_conn_id)
    return keys


def _read_account(kie_conn_id: str) -> KieAccount:
    return replace(account_of(KieHook.get_connection(kie_conn_id)), timeout=REQUEST_SECONDS)
