"""KieCreateTurnTrigger: waits until a task that sends many requests may send them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_kie.hooks.kie import KieHook
from airflow_kie.threads import in_thread
from airflow_kie.triggers.event import Outcome

log = logging.getLogger(__name__)

START_SECONDS = 60.0
"""Seconds for which the turn is kept for the Airflow task, which has to be started first."""
EVERY = 2.0
"""Seconds between two questions whether the turn is free."""


class KieCreateTurnTrigger(BaseTrigger):
    """Takes the account's create turn for an Airflow task as soon as it is free; it always ends with one event.

    :param kie_conn_id: the Airflow connection.
    :param holder: who wants the turn.
    """

    def __init__(self, kie_conn_id: str, holder: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kie_conn_id = kie_conn_id
        self.holder = holder

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, which Airflow stores."""
        arguments = {"kie_conn_id": self.kie_conn_id, "holder": self.holder}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield the one event."""
        try:
            turn = await KieHook(self.kie_conn_id).create_turn(self.holder)
            while wait := await in_thread(turn.take, START_SECONDS):  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(min(wait, EVERY) * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, no secret
        except Exception:
            log.exception("The holder of the create turn could not be read; the Airflow task tries again.")
        yield TriggerEvent({"outcome": Outcome.YOUR_TURN.value})  # type: ignore[no-untyped-call]
