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

TIMEOUT = 10.0
"""Seconds for one request: KIE waits 15 for its answer."""
EVENTS_LOOKED_AT = 100


class AirflowRefused(Exception):
    """Airflow did not do what was asked; the message names the call and the status, and no token."""


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
        self._client = httpx.Client(timeout=TIMEOUT, follow_redirects=False)
        self._token = ""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Return the answer; a token that Airflow no longer takes is renewed once.

        :param method: GET, POST, PATCH.
        :param path: below ``/api/v2``.
        :param request: what httpx takes: `params`, `json`.
        :raises AirflowRefused: when there is no answer, or no token to ask with.
        """
        used = self._token or self._new_token("")
        answer = self._send(method, f"/api/v2{path}", token=used, **request)
        if answer.status_code == 401:
            answer = self._send(method, f"/api/v2{path}", token=self._new_token(used), **request)
        return answer

    def asset_id(self, uri: str) -> int | None:
        """Return the number of an asset, None while no DAG has declared it."""
        found = _json(self.call("GET", "/assets", params={"uri_pattern": uri, "limit": 100}))
        return next((int(asset["id"]) for asset in found["assets"] if asset["uri"] == uri), None)

    def send_event(self, asset_id: int, partition_key: str, extra: dict[str, Any]) -> None:
        """Send an asset event for one partition."""
        body = {"asset_id": asset_id, "partition_key": partition_key, "extra": extra}
        _json(self.call("POST", "/assets/events", json=body))

    def event_was_sent(self, asset_id: int, partition_key: str, since: datetime) -> bool:
        """Return whether an asset had an event for a partition since a time, among its last hundred."""
        params: dict[str, Any] = {"asset_id": asset_id, "timestamp_gte": since.isoformat()}
        params |= {"order_by": "-timestamp", "limit": EVENTS_LOOKED_AT}
        events = _json(self.call("GET", "/assets/events", params=params))["asset_events"]
        return any(event.get("partition_key") == partition_key for event in events)

    def run_is_active(self, dag_id: str, run_id: str) -> bool:
        """Return whether a DAG run is queued or running; one that is gone is not."""
        answer = self.call("GET", f"/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}")
        return answer.status_code != 404 and _json(answer)["state"] in ("queued", "running")

    def variable(self, key: str) -> str | None:
        """Return a Variable's text, None if there is none."""
        answer = self.call("GET", f"/variables/{quote(key, safe='')}")
        return None if answer.status_code == 404 else str(_json(answer)["value"])

    def set_variable(self, key: str, value: str, description: str) -> None:
        """Write a Variable."""
        body = {"key": key, "value": value, "description": description}
        answer = self.call("PATCH", f"/variables/{quote(key, safe='')}", json=body)
        _json(self.call("POST", "/variables", json=body) if answer.status_code == 404 else answer)

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
        return str(_json(self._send("POST", "/auth/token", json=who))["access_token"])

    def _send(self, method: str, path: str, *, token: str = "", **request: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return self._client.request(method, self.url + path, headers=headers, **request)
        except httpx.HTTPError as error:
            raise AirflowRefused(f"Airflow did not answer to {method} {path}: {type(error).__name__}") from None


def _json(answer: httpx.Response) -> dict[str, Any]:
    """Return what an answer holds.

    :raises AirflowRefused: unless it is a success.
    """
    if not answer.is_success:
        raise AirflowRefused(
            f"Airflow answered {answer.status_code} to {answer.request.method} {answer.request.url.path}"
        )
    try:
        decoded = answer.json()
    except ValueError:
        raise AirflowRefused(f"{answer.request.url.path} gave no JSON: is this Airflow's own address?") from None
    return decoded if isinstance(decoded, dict) else {}
