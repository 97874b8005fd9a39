"""The Airflow that the receiver runs in, behind its metadata database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_kie._airflow_private import metadata, variables
from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.assets import MUSIC
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.monitoring.callback_health import DESCRIPTION, LastCallback, variable_of
from airflow_kie.web.receiver.gateway import AirflowGateway


class InProcessGateway(AirflowGateway):
    """What the receiver asks of Airflow, answered with the metadata database."""

    def wake(self, waiting: Waiting) -> Wake:
        return metadata.wake(waiting)

    def wake_sensors(self, kie_task_id: str) -> int:
        """Resume the sensors that wait for a KIE task: they keep their deadline under its id."""
        return metadata.wake_by_key([f"deadline/{noun}/{kie_task_id}" for noun in ("music", "cover")])

    def run_is_active(self, dag_id: str, run_id: str) -> bool:
        return metadata.run_is_active(dag_id, run_id)

    def event_was_sent(self, music_task_id: str, since: datetime) -> bool:
        return metadata.event_was_sent(MUSIC.uri, music_task_id, since)

    def send_event(self, music_task_id: str, extra: dict[str, Any]) -> bool:
        return metadata.send_asset_event(MUSIC.uri, music_task_id, extra)

    def record_callback(self, kie_conn_id: str, proof: str) -> None:
        variables.record_variable(variable_of(kie_conn_id), LastCallback(proof).text(), DESCRIPTION)
