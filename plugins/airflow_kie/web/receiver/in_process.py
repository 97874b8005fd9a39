"""The receiver's view of the Airflow that it runs in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_kie._airflow_private import metadata, variables
from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.assets import MUSIC
from airflow_kie.client.callbacks.auth import CallbackKeys
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.client.task_lookup import Claim
from airflow_kie.monitoring.callback_health import DESCRIPTION, following, parsed, variable_of
from airflow_kie.web.receiver.asking import ConnectionClaims
from airflow_kie.web.receiver.registration import SongRegistry
from airflow_kie.web.receiver.secrets import ConnectionKeys


class InProcessGateway:
    """What the receiver asks of Airflow, answered with the metadata database and the configured bucket."""

    def __init__(self) -> None:
        self.keys = ConnectionKeys()
        self.claims = ConnectionClaims()
        self.songs = SongRegistry(self)

    def keys_of(self, kie_conn_id: str) -> CallbackKeys:
        """Return what checks a connection's callbacks."""
        return self.keys.of(kie_conn_id)

    def wake(self, waiting: Waiting) -> Wake:
        """Let a deferred task instance look now."""
        return metadata.wake(waiting)

    def wake_sensors(self, kie_task_id: str) -> int:
        """Let the sensors that wait for a KIE task look now: they keep their deadline under its id."""
        return metadata.wake_by_key([f"deadline/{noun}/{kie_task_id}" for noun in ("music", "cover")])

    def ask_kie(self, kie_conn_id: str, task_id: str) -> Claim:
        """Return what KIE says of an id that a callback calls a song."""
        return self.claims.ask(kie_conn_id, task_id)

    def register(self, kie_conn_id: str, music_task_id: str, claim: Claim) -> bool:
        """Note durably that a song is owed a cover; return whether a run is to be started for it."""
        return self.songs.register(kie_conn_id, music_task_id, claim)

    def announce(self, kie_conn_id: str, music_task_id: str) -> None:
        """Send "music complete"; should it get lost, the sweep finds the pending record."""
        self.songs.announce(kie_conn_id, music_task_id)

    def record_callbacks(self, kie_conn_id: str, count: int, proof: str) -> None:
        """Write when the last callback came into the connection's Variable."""
        key = variable_of(kie_conn_id)
        trace = following(parsed(variables.variable(key)), count, proof)
        variables.record_variable(key, trace.text(), DESCRIPTION)

    def run_is_active(self, dag_id: str, run_id: str) -> bool:
        """Return whether a DAG run is queued or running."""
        return metadata.run_is_active(dag_id, run_id)

    def event_was_sent(self, music_task_id: str, since: datetime) -> bool:
        """Return whether "music complete" was sent for a song lately, by whomever."""
        return metadata.event_was_sent(MUSIC.uri, music_task_id, since)

    def send_event(self, music_task_id: str, extra: dict[str, Any]) -> bool:
        """Send "music complete"; return False while no DAG has declared the asset."""
        return metadata.send_asset_event(MUSIC.uri, music_task_id, extra)
