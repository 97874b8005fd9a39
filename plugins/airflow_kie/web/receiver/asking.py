"""What KIE says about an id that a callback calls a song, in time for the callback's answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from airflow_kie.client.errors import KieError
from airflow_kie.client.task_lookup import Claim, ask_kie
from airflow_kie.hooks.kie import KieHook, account_of
from airflow_kie.web.kept import Kept

if TYPE_CHECKING:
    from airflow_kie.client.account import KieAccount

log = logging.getLogger(__name__)

ASK_SECONDS = 8.0
"""Seconds for everything that is asked about an id; KIE gives a receiver 15 for the whole answer."""
REQUEST_SECONDS = 3.0
"""Seconds for one request to KIE; there are three at most."""
KEPT_SECONDS = 30.0
"""Seconds in which an id is asked about once, however often its callback is sent again."""
MOST_KEPT = 1000
THREADS = 8
"""Threads that may wait for KIE: the ones that make callbacks durable are others."""


@dataclass
class Claims:
    """Asks KIE about ids: each once in a while, a few at a time, and never for long.

    :param ask: asks about a connection's id; may block.
    """

    ask: Callable[[str, str], Claim]
    _asked: dict[tuple[str, str], tuple[float, asyncio.Task[Claim]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._threads = anyio.CapacityLimiter(THREADS)

    async def of(self, kie_conn_id: str, task_id: str) -> Claim:
        """Return what an id is, `NOT_ASKED` where KIE does not say so in time."""
        key, now = (kie_conn_id, task_id), time.monotonic()
        at, asking = self._asked.get(key, (now - KEPT_SECONDS, None))
        if asking is None or now - at >= KEPT_SECONDS:
            if len(self._asked) >= MOST_KEPT:
                self._asked = {key: kept for key, kept in self._asked.items() if now - kept[0] < KEPT_SECONDS}
            asking = asyncio.create_task(self._in_time(*key))
            self._asked[key] = (now, asking)
        return await asyncio.shield(asking)

    async def _in_time(self, kie_conn_id: str, task_id: str) -> Claim:
        with anyio.move_on_after(ASK_SECONDS):
            return await to_thread.run_sync(
                self.ask, kie_conn_id, task_id, abandon_on_cancel=True, limiter=self._threads
            )
        log.warning("KIE did not say in %g s whether task %s is a song.", ASK_SECONDS, task_id)
        return Claim.NOT_ASKED


class ConnectionClaims:
    """Asks KIE with the key of an Airflow connection, which is looked up once a minute."""

    def __init__(self) -> None:
        self._accounts: Kept[KieAccount] = Kept(_account)

    def ask(self, kie_conn_id: str, task_id: str) -> Claim:
        """Return what an id is for the account of a connection; `NOT_ASKED` for one without a usable key.

        :param kie_conn_id: a connection whose secret has proven the callback.
        :param task_id: the id.
        """
        from airflow_kie.client.api import Kie
        from airflow_kie.client.http.transport import shared_transport

        try:
            account = self._accounts.of(kie_conn_id)
            return ask_kie(Kie(shared_transport(account)), task_id)
        except KieError as error:
            log.warning(
                "KIE cannot be asked whether task %s is a song. %s: %s.", task_id, error.what, error.facts.message
            )
        except Exception:
            log.exception("KIE cannot be asked whether task %s is a song.", task_id)
        return Claim.NOT_ASKED


def _account(kie_conn_id: str) -> KieAccount:
    return replace(account_of(KieHook.get_connection(kie_conn_id)), timeout=REQUEST_SECONDS)
