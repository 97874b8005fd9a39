"""A small client of Airflow's public REST API, for the demo and the system tests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote

import httpx

from local_stack.timeout import Timeout

TERMINAL = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
_SECONDS = 120.0
"""How long an answer may take; on a busy machine the api-server's first one takes its time."""
_TRIES = 8
"""How often a request is sent that met a locked database, or a machine that was suspended."""


class AirflowRefused(Exception):
    """Airflow answered a request with an error; the text has its words."""


@dataclass(frozen=True)
class TaskInstance:
    """A task of a run.

    :param task_id: id with the groups before it, such as ``song.archive_to_s3``.
    :param map_index: position in a mapped list; -1 when the task is not mapped.
    :param label: rendered map index, or an empty string.
    :param state: Airflow's word; an empty string before the scheduler has seen it.
    :param try_number: 0 before its first start.
    :param started: time of the start, or None.
    :param ended: time of the end, or None.
    """

    task_id: str
    map_index: int
    label: str
    state: str
    try_number: int
    started: datetime | None
    ended: datetime | None

    @property
    def name(self) -> str:
        """The task's name without the groups around it."""
        return self.task_id.rpartition(".")[2]

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """Read Airflow's answer."""
        return cls(
            task_id=raw["task_id"],
            map_index=raw["map_index"],
            label=raw.get("rendered_map_index") or "",
            state=raw["state"] or "",
            try_number=raw["try_number"],
            started=_time(raw["start_date"]),
            ended=_time(raw["end_date"]),
        )


class AirflowApi:
    """Calls Airflow as the one user of a stack without logins, or as a person with a password.

    :param url: address of the api-server.
    :param login: name and password, where Airflow asks for them.
    """

    def __init__(self, url: str, login: tuple[str, str] | None = None) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=_SECONDS)
        name, password = login or ("", "")
        known = {"username": name, "password": password} if login else None
        answer = self._answer("POST" if login else "GET", "/auth/token", known, {})
        if answer.is_error:
            raise AirflowRefused(f"Airflow answered a login with {answer.status_code}: {answer.text[:500]}")
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        """Call a route below ``/api/v2`` and return its JSON, or None for an empty answer.

        A request that met a locked database is sent again, and so is a reading one whose answer did not come in
        time, or was 500: a busy Airflow 3.3.2 answers so about a run.
        On SQLite a writing request blocks the api-server's event loop while it waits for the lock, so that the request
        that holds the lock cannot end either; after 5 s the first is refused, and nothing of it was done.

        :raises AirflowRefused: when Airflow answers with an error.
        """
        answer = self._answer(method, f"/api/v2{path}", body, query)
        if answer.is_error:
            raise AirflowRefused(f"Airflow answered {method} {path} with {answer.status_code}: {answer.text[:500]}")
        return answer.json() if answer.content else None

    def _answer(self, method: str, path: str, body: object, query: Mapping[str, Any]) -> httpx.Response:
        for left in reversed(range(_TRIES)):
            try:
                answer = self._http.request(method, path, json=body, params=query)
            except httpx.TimeoutException:
                if method != "GET" or not left:
                    raise
                continue
            again = method == "GET" or "Database error" in answer.text
            if not (left and answer.status_code == 500 and again):
                break
        return answer

    def pages(self, path: str, key: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list, page by page (Airflow gives at most 100 at once)."""
        offset = 0
        while page := self.call("GET", path, limit=100, offset=offset, **query)[key]:
            yield from page
            offset += len(page)
            if len(page) < 100:
                return

    def wait_for_dag(self, dag_id: str, seconds: float = 180.0) -> None:
        """Wait until a DAG is parsed, and unpause it where it is paused.

        :raises AirflowRefused: when it has an import error, or is not there in time.
        """
        timeout = Timeout(seconds)
        while True:
            try:
                if self.call("GET", f"/dags/{dag_id}")["is_paused"]:
                    self.unpause(dag_id)
                return
            except AirflowRefused as refusal:
                if errors := self.import_errors():
                    raise AirflowRefused(f"DAG {dag_id} is not there; Airflow could not import {errors}") from refusal
                if timeout.expired():
                    raise
            time.sleep(0.2)

    def import_errors(self) -> dict[str, str]:
        """Return the DAG files that Airflow could not import, with the last line of each reason."""
        errors = self.pages("/importErrors", "import_errors")
        return {error["filename"]: error["stack_trace"].strip().rpartition("\n")[2] for error in errors}

    def pause(self, dag_id: str) -> None:
        """Pause a DAG."""
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": True}, update_mask="is_paused")

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run."""
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": False}, update_mask="is_paused")

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> str:
        """Start a run and return its id.

        :param conf: the run's Params.
        """
        body = {"logical_date": None, "conf": dict(conf or {}), **({"dag_run_id": run_id} if run_id else {})}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the runs of a DAG, the first one first."""
        return list(self.pages(f"/dags/{dag_id}/dagRuns", "dag_runs", order_by="run_after"))

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return a run's state in Airflow's word."""
        return str(self.call("GET", f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}")["state"])

    def wait_run(self, dag_id: str, run_id: str, seconds: float = 120.0) -> str:
        """Wait for the end of a run and return its state.

        :raises TimeoutError: with the states of its tasks, when it has not ended in time.
        """
        timeout = Timeout(seconds)
        while (state := self.run_state(dag_id, run_id)) not in ("success", "failed"):
            if timeout.expired():
                tasks = [(task.task_id, task.map_index, task.state) for task in self.task_instances(dag_id, run_id)]
                raise TimeoutError(f"Run {run_id} of {dag_id} is {state} after {seconds:.0f} s: {tasks}")
            time.sleep(1.0)  # each question costs the api-server about as much as a task's heartbeat
        return state

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Return the tasks of a run."""
        path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances"
        return [TaskInstance.read(raw) for raw in self.pages(path, "task_instances")]

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """Return what a task has pushed."""
        path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path, map_index=map_index, deserialize=True)["value"]

    def logs(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return a task's log as plain lines."""
        path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task_id}/logs/{try_number}"
        content = self.call("GET", path, map_index=map_index, full_content=True)["content"]
        return "\n".join(_log_line(entry) for entry in content)

    def clear(self, dag_id: str, run_id: str, task_ids: Sequence[str | tuple[str, int]] = ()) -> None:
        """Clear tasks of a run, ended ones too, so that they run again.

        :param task_ids: ids, or ids with map index; all tasks of the run when empty.
        """
        body: dict[str, Any] = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True}
        if task_ids:
            body["task_ids"] = [entry if isinstance(entry, str) else list(entry) for entry in task_ids]
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", body)

    def asset_events(self) -> list[dict[str, Any]]:
        """Return the asset events, the first one first."""
        return list(self.pages("/assets/events", "asset_events", order_by="timestamp"))

    def create_asset_event(self, uri: str, extra: Mapping[str, Any], partition_key: str | None = None) -> None:
        """Report an event on an asset, as a system outside Airflow would.

        :param uri: the asset's URI; a DAG must name it.
        """
        found = [asset for asset in self.pages("/assets", "assets", uri_pattern=uri) if asset["uri"] == uri]
        if not found:
            raise AirflowRefused(f"No DAG names the asset {uri}.")
        body = {"asset_id": found[0]["id"], "extra": dict(extra), "partition_key": partition_key}
        self.call("POST", "/assets/events", body)


def _log_line(entry: object) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    line = f"{entry.get('timestamp', '')} {entry.get('level', '')} {entry.get('event', '')}".strip()
    errors = [f"{error.get('exc_type')}: {error.get('exc_value')}" for error in entry.get("error_detail") or ()]
    return "\n  ".join([line, *errors])


def _quoted(run_id: str) -> str:
    return quote(run_id, safe="")  # run ids hold "+" and ":"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
