"""An Airflow elsewhere, behind its public REST API (``/api/v2``).

What needs the inside of Airflow is left out. In 3.3 no public route resumes a deferred task, so a task that waits sees
the end at its next read. Songs of other programs start as they do inside: the pending record is written here, the
event goes through the API, and should that fail, reconciliation finds the record.

Airflow 3.3: https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.assets import MUSIC, PENDING
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.client.errors import KieError
from airflow_kie.client.http.bounded import BoundedClient, built
from airflow_kie.client.untrusted import decode_json
from airflow_kie.monitoring.callback_health import DESCRIPTION, Callbacks, LastCallback, variable_of
from airflow_kie.monitoring.deliveries import Delivery
from airflow_kie.web.receiver.gateway import AirflowGateway

log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds for one whole request: KIE waits 15 for its answer."""


class AirflowRefused(Exception):
    """Airflow did not do what was asked; the message names the call and the status, and no token."""


class AirflowApi:
    """Calls an Airflow with a token, which comes from one of three sources.

    :param url: where Airflow is, such as ``http://airflow-api-server:8080``, with the path it is served below.
    :param token: a JWT, or what a managed Airflow takes as a bearer token.
    :param token_file: a file that holds one and that another program renews; read again when Airflow refuses it.
    :param login: user name and password with which a token is fetched from ``/auth/token`` and renewed.
    """

    def __init__(
        self, url: str, *, token: str = "", token_file: Path | None = None, login: tuple[str, str] = ("", "")
    ) -> None:
        self.url = url.strip().rstrip("/")
        # Secrets often end in a line break.
        self._given, self._token_file = token.strip(), token_file
        self._login = (login[0].strip(), login[1].strip())
        self._client = BoundedClient(self.url)
        self._token = ""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(self, method: str, path: str, wanted: str, *, may_be_missing: bool = False, **request: Any) -> Any:
        """Return a field of Airflow's answer; a token that Airflow no longer takes is renewed once.

        :param method: GET, POST, PATCH.
        :param path: below ``/api/v2``.
        :param wanted: the field.
        :param may_be_missing: return None for a 404.
        :param request: what httpx takes: `params`, `json`.
        :raises AirflowRefused: unless the answer is a success with that field, or without a token to ask with.
        """
        path, used = f"/api/v2{path}", self._token or self._new_token("")
        response = self._send(method, path, token=used, **request)
        if response.status == 401:
            response = self._send(method, path, token=self._new_token(used), **request)
        if may_be_missing and response.status == 404:
            return None
        return _field(f"{method} {path}", response, wanted)

    def _new_token(self, refused: str) -> str:
        with self._lock:
            if self._token == refused:  # of several threads, one renews
                self._token = self._fetch_token()
            return self._token

    def _fetch_token(self) -> str:
        if self._token_file:
            return _token_in(self._token_file)
        if self._given:
            return self._given
        login = dict(zip(("username", "password"), self._login, strict=True))
        return str(_field("POST /auth/token", self._send("POST", "/auth/token", json=login), "access_token"))

    def _send(self, method: str, path: str, *, token: str = "", **request: Any) -> Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return self._client.send(built(method, self.url + path, headers, **request), TIMEOUT, TIMEOUT)
        except KieError as error:
            raise AirflowRefused(f"Airflow did not answer {method} {path}: {error.facts.message}") from None


def _token_in(file: Path) -> str:
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        token = ""
    if not token:
        raise AirflowRefused(f"{file} has no readable token")
    return token


def _field(call: str, response: Response, name: str) -> Any:
    if not 200 <= response.status < 300:
        raise AirflowRefused(f"Airflow answered {response.status} to {call}")
    try:
        decoded = decode_json(response.content)
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict) or name not in decoded:
        raise AirflowRefused(f"{call} returned no {name}: is this Airflow's own address?")
    return decoded[name]


class RestGateway(AirflowGateway):
    """What the receiver asks of Airflow, answered with its public REST API.

    :param api: that Airflow.
    """

    def __init__(self, api: AirflowApi) -> None:
        super().__init__()
        self.api = api
        self._asset_ids: dict[str, int] = {}

    def wake(self, waiting: Waiting) -> Wake:
        """Leave the task to its next read."""
        return Wake.AT_NEXT_READ

    def wake_sensors(self, kie_task_id: str) -> int:
        """Leave the sensors to their next read."""
        return 0

    def run_is_active(self, dag_id: str, run_id: str) -> bool:
        path = f"/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"
        return self._assumed(lambda: self.api.call("GET", path, "state", may_be_missing=True) in ("queued", "running"))

    def event_was_sent(self, music_task_id: str, since: datetime) -> bool:
        """Return whether "music complete" was sent for a song since a time, among the newest hundred events."""

        def sent() -> bool:
            if (asset_id := self.asset_id(MUSIC.uri)) is None:
                return False
            newest = {"asset_id": asset_id, "timestamp_gte": since.isoformat(), "order_by": "-timestamp", "limit": 100}
            events = self.api.call("GET", "/assets/events", "asset_events", params=newest)
            return any(event.get("partition_key") == music_task_id for event in events)

        return self._assumed(sent)

    def send_event(self, music_task_id: str, extra: dict[str, Any]) -> bool:
        woken = self._send(PENDING.uri, None, extra)
        self._send(MUSIC.uri, music_task_id, extra)
        return woken

    def _send(self, uri: str, partition_key: str | None, extra: dict[str, Any]) -> bool:
        if (asset_id := self.asset_id(uri)) is None:
            return False
        body = {"asset_id": asset_id, "partition_key": partition_key, "extra": extra}
        try:
            self.api.call("POST", "/assets/events", "id", json=body)
        except AirflowRefused:
            self._asset_ids.clear()  # read again next time: they may have been another Airflow's
            raise
        return True

    def record_callbacks(self, kie_conn_id: str, last: LastCallback | None, deliveries: Sequence[Delivery]) -> None:
        """Write what this receiver knows: it may write the Variable, and need not be let read it."""
        key = variable_of(kie_conn_id)
        path = f"/variables/{quote(key, safe='')}"
        body = {"key": key, "value": Callbacks(last, tuple(deliveries)).text(), "description": DESCRIPTION}
        if self.api.call("PATCH", path, "key", may_be_missing=True, json=body) is None:
            self.api.call("POST", "/variables", "key", json=body)

    def asset_id(self, uri: str) -> int | None:
        """Return the number of an asset, None while no DAG has declared it."""
        if uri not in self._asset_ids:
            found = self.api.call("GET", "/assets", "assets", params={"uri_pattern": uri, "limit": 100})
            self._asset_ids |= {asset["uri"]: int(asset["id"]) for asset in found if asset["uri"] == uri}
        return self._asset_ids.get(uri)

    def _assumed(self, ask: Callable[[], bool]) -> bool:
        """Return Airflow's answer; True when it gives none, since reconciliation checks the song again."""
        try:
            return ask()
        except AirflowRefused as error:
            log.error("%s. The song is recorded; the reconciliation starts it if no run works on it.", error)
            return True
