"""Airflow's public REST API (``/api/v2``), as far as a receiver outside of Airflow needs it.

Airflow 3.3: https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.checked_json import decode_json
from airflow_kie.client.errors import KieError
from airflow_kie.client.http.bounded import BoundedClient, Bounds, built

TIMEOUT = 10.0
"""Seconds for one whole request: KIE waits 15 for its answer."""
_BOUNDS = Bounds(deadline=TIMEOUT, timeout=TIMEOUT)
EVENTS_LOOKED_AT = 100


class AirflowRefused(Exception):
    """Airflow did not do what was asked; the message names the call and the status, and no token."""


@dataclass(frozen=True)
class Answer:
    """What Airflow answered.

    :param call: method and path, for messages.
    :param response: the answer.
    """

    call: str
    response: Response

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    def field(self, name: str) -> Any:
        """Return a field of the answer.

        :raises AirflowRefused: unless it is a success and has that field.
        """
        self.check()
        try:
            decoded = decode_json(self.response.content)
        except ValueError:
            raise AirflowRefused(f"{self.call} gave no JSON: is this Airflow's own address?") from None
        if not isinstance(decoded, dict) or name not in decoded:
            raise AirflowRefused(f"{self.call} gave no {name}: is this Airflow's own address?")
        return decoded[name]

    def check(self) -> None:
        """Check that it is a success.

        :raises AirflowRefused: when it is none.
        """
        if not 200 <= self.status < 300:
            raise AirflowRefused(f"Airflow answered {self.status} to {self.call}")


@dataclass(frozen=True)
class Credentials:
    """How the receiver shows Airflow who it is; one of the three ways.

    :param token: a JWT, or what a managed Airflow takes as a bearer token.
    :param token_file: a file that holds one and that somebody else renews; read again when Airflow refuses it.
    :param username: with `password`: a token is fetched from ``/auth/token`` and renewed.
    :param password: see `username`.
    """

    token: str = field(default="", repr=False)
    token_file: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)

    def usable(self) -> bool:
        """Return whether there is anything to show."""
        return bool(self.token or self.token_file or (self.username and self.password))


class AirflowApi:
    """Calls an Airflow with somebody's token.

    :param url: where Airflow is, such as ``http://airflow-api-server:8080``, with the path it is served below.
    :param credentials: whose.
    """

    def __init__(self, url: str, credentials: Credentials) -> None:
        self.url = url.rstrip("/")
        self.credentials = credentials
        self._client = BoundedClient(httpx.create_ssl_context(), self.url)
        self._token = ""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(self, method: str, path: str, **request: Any) -> Answer:
        """Return the answer; a token that Airflow no longer takes is renewed once.

        :param method: GET, POST, PATCH.
        :param path: below ``/api/v2``.
        :param request: what httpx takes: `params`, `json`.
        :raises AirflowRefused: when there is no answer, or no token to ask with.
        """
        used = self._token or self._new_token("")
        answer = self._send(method, f"/api/v2{path}", token=used, **request)
        if answer.status == 401:
            answer = self._send(method, f"/api/v2{path}", token=self._new_token(used), **request)
        return answer

    def asset_id(self, uri: str) -> int | None:
        """Return the number of an asset, None while no DAG has declared it."""
        found = self.call("GET", "/assets", params={"uri_pattern": uri, "limit": 100}).field("assets")
        return next((int(asset["id"]) for asset in found if asset["uri"] == uri), None)

    def send_event(self, asset_id: int, partition_key: str, extra: dict[str, Any]) -> None:
        """Send an asset event for one partition."""
        body = {"asset_id": asset_id, "partition_key": partition_key, "extra": extra}
        self.call("POST", "/assets/events", json=body).check()

    def event_was_sent(self, asset_id: int, partition_key: str, since: datetime) -> bool:
        """Return whether an asset had an event for a partition since a time, among its last hundred."""
        params: dict[str, Any] = {"asset_id": asset_id, "timestamp_gte": since.isoformat()}
        params |= {"order_by": "-timestamp", "limit": EVENTS_LOOKED_AT}
        events = self.call("GET", "/assets/events", params=params).field("asset_events")
        return any(event.get("partition_key") == partition_key for event in events)

    def run_is_active(self, dag_id: str, run_id: str) -> bool:
        """Return whether a DAG run is queued or running; one that is gone is not."""
        answer = self.call("GET", f"/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}")
        return answer.status != 404 and answer.field("state") in ("queued", "running")

    def variable(self, key: str) -> str | None:
        """Return a Variable's text, None if there is none."""
        answer = self.call("GET", f"/variables/{quote(key, safe='')}")
        return None if answer.status == 404 else str(answer.field("value"))

    def set_variable(self, key: str, value: str, description: str) -> None:
        """Write a Variable."""
        body = {"key": key, "value": value, "description": description}
        answer = self.call("PATCH", f"/variables/{quote(key, safe='')}", json=body)
        (self.call("POST", "/variables", json=body) if answer.status == 404 else answer).check()

    def _new_token(self, refused: str) -> str:
        with self._lock:
            if self._token == refused:  # of several threads, one renews
                self._token = self._fetch_token()
            return self._token

    def _fetch_token(self) -> str:
        known = self.credentials
        if known.token_file:
            return known.token_file.read_text().strip()
        if known.token:
            return known.token
        who = {"username": known.username, "password": known.password}
        return str(self._send("POST", "/auth/token", json=who).field("access_token"))

    def _send(self, method: str, path: str, *, token: str = "", **request: Any) -> Answer:
        call, headers = f"{method} {path}", {"Authorization": f"Bearer {token}"} if token else {}
        try:
            response = self._client.send(built(method, self.url + path, headers, **request), _BOUNDS)
        except KieError as error:
            raise AirflowRefused(f"Airflow did not answer to {call}: {error.facts.message}") from None
        return Answer(call, response)
