"""What the receiver asks of the Airflow that it serves: from inside of it, or over its public REST API."""

from __future__ import annotations

from typing import Protocol

from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.client.callbacks.auth import CallbackKeys
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.client.task_lookup import Claim


class AirflowGateway(Protocol):
    """An Airflow, as the receiver needs it."""

    def keys_of(self, kie_conn_id: str) -> CallbackKeys:
        """Return what checks a connection's callbacks, from a cache; nothing for one that is unknown."""

    def wake(self, waiting: Waiting) -> Wake:
        """Let a deferred task instance look now."""

    def wake_sensors(self, kie_task_id: str) -> int:
        """Let the sensors that wait for a KIE task look now; return how many did."""

    def ask_kie(self, kie_conn_id: str, task_id: str) -> Claim:
        """Return what KIE says of an id that a callback calls a song."""

    def register(self, kie_conn_id: str, music_task_id: str, claim: Claim) -> bool:
        """Note durably that a song is owed a cover; return whether a run is to be started for it."""

    def announce(self, kie_conn_id: str, music_task_id: str) -> None:
        """Send "music complete" for a song."""

    def record_callbacks(self, kie_conn_id: str, count: int, proof: str) -> None:
        """Leave a trace of proven callbacks; asked for at most once a minute."""
