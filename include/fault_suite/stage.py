"""The suite's stack, as seen by the fault injector: songs, runs, tasks, processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import psutil  # type: ignore[import-untyped]

from fault_suite.profile import AIRFLOW, SPEED, aws_connection
from fault_suite.s3_proxy import S3Proxy
from local_stack.airflow_api import AirflowApi, AirflowRefused
from local_stack.bucket import BucketPath
from local_stack.health import unhealthy
from local_stack.running import RunningStack, running_stack
from local_stack.secret_keys import keep_secrets
from local_stack.settings import PROJECT
from local_stack.state import read_state
from local_stack.timeout import Timeout

T = TypeVar("T")
PENDING = "kie://api.kie.ai/suno/pending"
DAGS = ("music_cover", "cover_inbox", "music_generate", "songs_in_order")
FIRST_TASKS = {"music_cover": "song_list", "music_generate": "generate_music"}
"""Where they fail, nothing of the run is recorded anywhere."""
DUPLICATE = ("named", "none")
"""What KIE answers to a create that it has seen before: the first task's id, or a new task, which is charged."""
_AIRFLOW_SECONDS = 600.0


@dataclass(frozen=True)
class RunningTask:
    """A task instance that runs or waits now.

    :param state: ``running``, ``deferred``, ….
    :param pid: its process; 0 when it has none.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    state: str
    pid: int


@dataclass
class Stage:
    """What the suite has in its hands.

    :param running: the stack.
    :param proxy: the S3 proxy before it.
    :param duplicate: one of :data:`DUPLICATE`.
    """

    running: RunningStack
    proxy: S3Proxy
    duplicate: str = "named"

    @property
    def airflow(self) -> AirflowApi:
        """Airflow's API."""
        return self.running.airflow

    @property
    def bucket(self) -> BucketPath:
        """The archive's bucket, not through the proxy."""
        return self.running.bucket

    @property
    def prefix(self) -> str:
        """Prefix of the archive."""
        return self.running.settings.prefix

    # --- Airflow, which may just be down ---

    def ask(self, call: Callable[[], T]) -> T:
        """Return what a call of Airflow's API returns, asked again while the api-server is down or its database busy.

        :raises AirflowRefused: when it refuses for another reason, or for longer than ten minutes.
        """
        timeout = Timeout(_AIRFLOW_SECONDS)
        while True:
            try:
                return call()
            except httpx.TransportError:
                if timeout.expired():
                    raise
            except AirflowRefused as refusal:
                busy = "Database error" in str(refusal) or " with 50" in str(refusal)
                if not busy or timeout.expired():
                    raise
            time.sleep(0.3)

    def tasks(self, dag_id: str = "~", states: Sequence[str] = ("running", "deferred")) -> list[RunningTask]:
        """Return the task instances of all runs that are in one of some states."""
        path = f"/dags/{dag_id}/dagRuns/~/taskInstances"
        found = self.ask(lambda: list(self.airflow.pages(path, "task_instances", state=list(states))))
        return [
            RunningTask(
                raw["dag_id"], raw["dag_run_id"], raw["task_id"], raw["map_index"], raw["state"], raw["pid"] or 0
            )
            for raw in found
        ]

    def start(self, music_task_ids: Sequence[str], dag_id: str = "music_cover", batch_size: int | None = None) -> str:
        """Start a run as the form does and return its id.

        :param batch_size: songs that one task works on; None: one of so few.
        """
        conf = {"music_task_ids": list(music_task_ids), "batch_size": batch_size} if dag_id == "music_cover" else {}
        return self.ask(lambda: self.airflow.trigger(dag_id, conf))

    def not_archived_by(self, run_id: str, songs: Sequence[str]) -> dict[str, str]:
        """Return which of some songs the report of a run does not call archived, and why.

        :param run_id: a run that has ended.
        :param songs: their music task ids.
        """
        table = self.ask(lambda: self.airflow.xcom("music_cover", run_id, "report", key="table"))
        rows = {row["music_task_id"]: row for row in table}
        reasons = {song: rows.get(song, {}).get("reason", "it is not in the report") for song in songs}
        return {song: reason for song, reason in reasons.items() if reason}

    def generate(self, title: str) -> str:
        """Start a run that has KIE make a song, which costs credits, and return its id."""
        song = {"title": title, "prompt": "La la la", "style": "waltz", "custom_mode": True}
        return self.ask(lambda: self.airflow.trigger("music_generate", song))

    def start_failed_again(self, dag_id: str, run_id: str) -> None:
        """Clear a run whose first task has failed, as the person does who has seen to the cause."""
        if self.ask(lambda: self.airflow.run_state(dag_id, run_id)) != "failed":
            return
        tasks = self.ask(lambda: self.airflow.task_instances(dag_id, run_id))
        if any(task.name == FIRST_TASKS[dag_id] and task.state == "failed" for task in tasks):
            self.ask(lambda: self.airflow.clear(dag_id, run_id))

    def send_event(self, music_task_id: str, **extra: str) -> None:
        """Report "music complete", as a system outside Airflow would; an event more costs nothing."""
        self.ask(lambda: self.airflow.create_asset_event(PENDING, {**extra, "music_task_id": music_task_id}))

    def reconcile(self) -> None:
        """Let DAG cover_inbox run once. What has failed waits for an hour, which the suite does not have."""
        for failed in (self.bucket / self.prefix / "_retry").iterdir():
            failed.unlink()
        run_id = self.ask(lambda: self.airflow.trigger("cover_inbox"))
        self.wait_ended("cover_inbox", run_id)

    def wait_ended(self, dag_id: str, run_id: str, seconds: float = 900.0) -> str:
        """Wait for the end of a run and return its state; `running` when it has not ended in time."""
        timeout = Timeout(seconds)
        while (state := self.ask(lambda: self.airflow.run_state(dag_id, run_id))) not in ("success", "failed"):
            if timeout.expired():
                return state
            time.sleep(1.0)
        return state

    def active_runs(self) -> list[str]:
        """Return the runs that have not ended, as ``dag_id/run_id``."""
        query: dict[str, Any] = {"state": ["queued", "running"]}
        runs = self.ask(lambda: list(self.airflow.pages("/dags/~/dagRuns", "dag_runs", **query)))
        return [f"{run['dag_id']}/{run['dag_run_id']}" for run in runs]

    def delete_run(self, run_id: str, dag_id: str = "music_cover") -> None:
        """End a run and delete it with everything that Airflow knows of it."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
        self.ask(lambda: self.airflow.call("PATCH", path, {"state": "failed"}, update_mask="state"))
        self.ask(lambda: self.airflow.call("DELETE", path))  # Airflow refuses it for a run that goes on

    def set_order(self, music_task_ids: Sequence[str]) -> None:
        """Set the list that DAG songs_in_order works on."""
        value = {"key": "songs_in_order", "value": json.dumps(list(music_task_ids))}
        known = self.ask(lambda: [entry["key"] for entry in self.airflow.pages("/variables", "variables")])
        there = "songs_in_order" in known
        method, path = ("PATCH", "/variables/songs_in_order") if there else ("POST", "/variables")
        self.ask(lambda: self.airflow.call(method, path, value))

    def drop_into_inbox(self, name: str, value: object) -> None:
        """Put an object into the inbox."""
        (self.bucket / "inbox" / name).write_text(json.dumps(value))

    # --- processes ---

    def kill_part(self, part: str) -> None:
        """Kill a part (SIGKILL) and wait until its successor is well."""
        before = self.running.pid(part)
        self.running.kill(part)
        self.wait_well(part, before)

    def wait_well(self, part: str, before: int) -> None:
        """Wait until a part was started again, and the api-server answers; the rest comes up beside what goes on."""
        timeout = Timeout(_AIRFLOW_SECONDS)
        while not timeout.expired():
            state = read_state(self.running.settings.home)
            started_again = state is not None and state.parts[part].pid != before
            answers = part != "api-server" or part not in unhealthy(self.running.state.urls["airflow"])
            if started_again and answers:
                return
            time.sleep(0.3)
        raise TimeoutError(f"{part} did not come back.")

    def kill_process(self, pid: int) -> bool:
        """Kill a process of this stack and say whether it was there."""
        keeper = self.running.state.keeper.pid
        with contextlib.suppress(OSError):
            if pid and os.getsid(pid) == keeper:
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def supervisor_of(self, pid: int) -> int:
        """Return the process that supervises a task process; 0 when there is none any more."""
        try:
            parent = psutil.Process(pid).parent()
        except psutil.NoSuchProcess:
            return 0
        parts = {mark.pid for mark in self.running.state.parts.values()}
        return int(parent.pid) if parent and parent.pid not in parts and parent.pid > 1 else 0

    def part_log(self, part: str) -> str:
        """Return everything that a part has written."""
        return (self.running.settings.logs / f"{part}.log").read_text(errors="replace")


@contextmanager
def stage(home: Path, airflow: Mapping[str, str] | None = None, *, duplicate: str = "named") -> Iterator[Stage]:
    """Start the suite's stack, give it, and stop it whatever happens.

    :param home: a folder of its own.
    :param airflow: further settings of Airflow.
    :param duplicate: one of :data:`DUPLICATE`.
    """

    def s3() -> str:
        state = read_state(home)
        return state.urls["s3"] if state else "http://127.0.0.1:1"

    with S3Proxy(s3) as proxy, tempfile.TemporaryDirectory() as dags:
        for file in [*(PROJECT / "dags").glob("*.py"), *(Path(__file__).parent / "dags").glob("*.py")]:
            shutil.copy(file, dags)
        connection = {"AIRFLOW_CONN_AWS_DEFAULT": aws_connection(proxy.url, keep_secrets(home))}
        settings = {**AIRFLOW, **connection, **(airflow or {})}
        with running_stack(home, speed=SPEED, dags=Path(dags), airflow=settings) as running:
            running.simulator.set(plain_images=False, **({"duplicate": "none"} if duplicate == "none" else {}))
            running.bucket.make_bucket()
            for dag_id in DAGS:
                running.airflow.wait_for_dag(dag_id, seconds=_AIRFLOW_SECONDS)
            yield Stage(running, proxy, duplicate)
