"""The receiver's view of an Airflow elsewhere: its public REST API, and the bucket.

What needs the inside of Airflow is left out. In 3.3 no public route resumes a deferred task, so a task that waits sees
the end at its next read. Songs of other programs start as they do inside: the pending record is written here, the
event goes through the API, and should that fail, the sweep finds the record.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.assets import MUSIC
from airflow_kie.client.callbacks.auth import CallbackKeys
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.client.task_lookup import Claim
from airflow_kie.monitoring.callback_health import DESCRIPTION, following, parsed, variable_of
from airflow_kie.web.receiver.asking import ConnectionClaims
from airflow_kie.web.receiver.registration import SongRegistry
from airflow_kie.web.receiver.rest_client import AirflowApi, AirflowRefused
from airflow_kie.web.receiver.secrets import ConnectionKeys

log = logging.getLogger(__name__)


class RestGateway:
    """What the receiver asks of Airflow, answered with its public REST API.

    :param api: that Airflow.
    """

    def __init__(self, api: AirflowApi) -> None:
        self.api = api
        self.keys = ConnectionKeys()
        self.claims = ConnectionClaims()
        self.songs = SongRegistry(self)
        self._asset_id: int | None = None

    def keys_of(self, kie_conn_id: str) -> CallbackKeys:
        """Return what checks a connection's callbacks: from this process's environment or secrets backend."""
        return self.keys.of(kie_conn_id)

    def wake(self, waiting: Waiting) -> Wake:
        """Leave the task to its next read."""
        return Wake.AT_NEXT_READ

    def wake_sensors(self, kie_task_id: str) -> int:
        """Leave the sensors to their next read."""
        return 0

    def ask_kie(self, kie_conn_id: str, task_id: str) -> Claim:
        """Return what KIE says of an id that a callback calls a song."""
        return self.claims.ask(kie_conn_id, task_id)

    def register(self, kie_conn_id: str, music_task_id: str, claim: Claim) -> bool:
        """Note durably that a song is owed a cover; return whether a run is to be started for it."""
        return self.songs.register(kie_conn_id, music_task_id, claim)

    def announce(self, kie_conn_id: str, music_task_id: str) -> None:
        """Send "music complete"; should it get lost, the sweep finds the pending record."""
        try:
            self.songs.announce(kie_conn_id, music_task_id)
        except AirflowRefused as error:
            log.error("%s. Song %s is noted; the sweep starts it.", error, music_task_id)

    def record_callbacks(self, kie_conn_id: str, count: int, proof: str) -> None:
        """Write when the last callback came into the connection's Variable."""
        key = variable_of(kie_conn_id)
        try:
            trace = following(parsed(self.api.variable(key)), count, proof)
            self.api.set_variable(key, trace.text(), DESCRIPTION)
        except AirflowRefused as error:
            log.error("%s. When KIE last called back is not written down; nothing else depends on it.", error)

    def run_is_active(self, dag_id: str, run_id: str) -> bool:
        """Return whether a DAG run is queued or running; True too when Airflow does not say: the sweep looks again."""
        try:
            return self.api.run_is_active(dag_id, run_id)
        except AirflowRefused as error:
            log.error("%s. The song is noted; the sweep starts it, should no run work on it.", error)
            return True

    def event_was_sent(self, music_task_id: str, since: datetime) -> bool:
        """Return whether "music complete" was sent for a song lately; True too when Airflow does not say."""
        try:
            asset_id = self.asset_id()
            return asset_id is not None and self.api.event_was_sent(asset_id, music_task_id, since)
        except AirflowRefused as error:
            log.error("%s. Song %s is noted; the sweep starts it.", error, music_task_id)
            return True

    def send_event(self, music_task_id: str, extra: dict[str, Any]) -> bool:
        """Send "music complete"; return False while no DAG has declared the asset."""
        asset_id = self.asset_id()
        if asset_id is None:
            return False
        try:
            self.api.send_event(asset_id, music_task_id, extra)
        except AirflowRefused:
            self._asset_id = None  # looked up again next time: it may have been another Airflow's
            raise
        return True

    def asset_id(self) -> int | None:
        """Return the number of the asset "music complete", None while no DAG has declared it."""
        if self._asset_id is None:
            self._asset_id = self.api.asset_id(MUSIC.uri)
        return self._asset_id
