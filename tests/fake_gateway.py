"""Airflow as the callback receiver sees it, in memory: it records what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.client.callbacks.auth import CallbackKeys
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.client.task_lookup import Claim
from airflow_kie.monitoring.callback_health import LastCallback
from airflow_kie.monitoring.deliveries import Delivery

SECRET = "a webhook secret"
TOKEN_SECRET = "a secret of 32 characters or more"


@dataclass
class FakeGateway:
    """Airflow as the receiver sees it.

    :param keys: the keys of ``kie_default``; other connections have none.
    :param wakes: what becomes of wake-ups, one after the other; the last one stays.
    :param durable: whether songs can be recorded.
    :param claim: what KIE says of every id.
    :param new: whether a song that is named needs a run.
    """

    keys: CallbackKeys = field(default_factory=lambda: CallbackKeys(webhook=(SECRET,)))
    wakes: list[Wake] = field(default_factory=lambda: [Wake.WOKEN])
    durable: bool = True
    claim: Claim = Claim.SONG
    new: bool = True
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def keys_of(self, kie_conn_id: str) -> CallbackKeys:
        return self.keys if kie_conn_id == "kie_default" else CallbackKeys()

    def wake(self, waiting: Waiting) -> Wake:
        self.asked.append(("wake", waiting))
        return self.wakes.pop(0) if len(self.wakes) > 1 else self.wakes[0]

    def wake_sensors(self, kie_task_id: str) -> int:
        self.asked.append(("wake_sensors", kie_task_id))
        return 0

    def ask_kie(self, kie_conn_id: str, task_id: str) -> Claim:
        self.asked.append(("ask_kie", kie_conn_id, task_id))
        return self.claim

    def register(self, kie_conn_id: str, music_task_id: str, claim: Claim) -> bool:
        self.asked.append(("register", kie_conn_id, music_task_id))
        if not self.durable:
            raise OSError("the bucket is away")
        return self.new

    def announce(self, kie_conn_id: str, music_task_id: str) -> None:
        self.asked.append(("announce", kie_conn_id, music_task_id))

    def record_callbacks(self, kie_conn_id: str, last: LastCallback | None, deliveries: Sequence[Delivery]) -> None:
        self.asked.append(("record_callbacks", kie_conn_id, last and last.proof, [one.outcome for one in deliveries]))

    def calls(self, word: str) -> list[tuple[Any, ...]]:
        """Return what was asked with this word."""
        return [asked for asked in self.asked if asked[0] == word]
