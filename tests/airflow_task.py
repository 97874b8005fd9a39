"""Running one task of Airflow without Airflow's processes: attempts, crashes, deferrals, retries and clears.

The store and the trigger's arguments pass through Airflow's own checks and through JSON, as they do between processes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType, TaskDeferred
from airflow.sdk.execution_time.comms import ErrorResponse, SetTaskStateStore

from airflow_kie.client.http import transport
from airflow_kie.triggers.task import KieTaskTrigger


class WorkerCrash(BaseException):
    """The worker's process ends here: no `except Exception` sees it."""


class FakeTaskStateStore:
    """Airflow's task state store: takes what Airflow takes, and survives attempts and clears.

    :param crash: asked with key, value and "before" or "after" at every write; the worker dies where it says True.
    """

    def __init__(self, crash: Callable[[str, Any, str], bool] | None = None) -> None:
        self.rows: dict[str, str] = {}
        self.retentions: list[Any] = []
        self.crash = crash or (lambda key, value, when: False)

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.rows[key]) if key in self.rows else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        message = SetTaskStateStore(ti_id=UUID(int=1), key=key, value=value, expires_at=None)
        stored = json.dumps(message.model_dump(mode="json")["value"])
        if self.crash(key, json.loads(stored), "before"):
            raise WorkerCrash
        self.rows[key] = stored
        self.retentions.append(retention)
        if self.crash(key, json.loads(stored), "after"):
            raise WorkerCrash

    def record(self, key: str) -> dict[str, Any]:
        """Return the record of a paid task as it is in the store."""
        record: dict[str, Any] = json.loads(self.rows[key])
        return record


class Variables:
    """Airflow's Variables, in memory: replaces `Variable` where a module has imported it."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return self.rows.get(key, default)

    def set(self, key: str, value: str, description: str | None = None) -> None:
        self.rows[key] = value

    def delete(self, key: str) -> None:
        self.rows.pop(key, None)

    def keys(self, prefix: str | None = None) -> list[str]:
        return [key for key in self.rows if key.startswith(prefix or "")]


@dataclass
class TaskInstance:
    """What the tasks use of Airflow's task instance."""

    dag_id: str = "music_cover"
    run_id: str = field(default_factory=lambda: f"manual__{uuid4().hex[:12]}")
    task_id: str = "task"
    map_index: int = 0
    try_number: int = 1
    max_tries: int = 5
    pushed: dict[str, Any] = field(default_factory=dict)
    pulls: dict[tuple[str, str], Any] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    paused: dict[str, bool] = field(default_factory=lambda: {"music_cover": False})

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        return self.pulls.get((task_ids, key))

    def get_dagrun_state(self, dag_id: str, run_id: str) -> str:
        if run_id in self.runs:
            return self.runs[run_id]
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 404}))

    def get_dag(self, dag_id: str) -> Any:
        if dag_id in self.paused:
            return SimpleNamespace(is_paused=self.paused[dag_id])
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 404}))

    def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        return sum(self.runs.get(run_id) in states for run_id in run_ids)


@dataclass
class TaskRun:
    """One task instance of a run: its attempts share the store.

    :param make: makes the operator again for every leg, as a worker does.
    :param store: the task state store.
    :param ti: the task instance.
    """

    make: Callable[[], BaseOperator]
    store: FakeTaskStateStore = field(default_factory=FakeTaskStateStore)
    ti: TaskInstance = field(default_factory=TaskInstance)
    extra: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    def execute(self) -> Any:
        """Run the first leg of an attempt; raises TaskDeferred where the task defers."""
        task = self.make()
        return task.execute(self.context(task))

    def attempt(self) -> Any:
        """Run an attempt to its end, its waits in the triggerer included."""
        try:
            return self.execute()
        except TaskDeferred as deferred:
            return self.resume(deferred)

    def resume(self, deferred: TaskDeferred) -> Any:
        """Wait as the triggerer does, and go on, until the attempt ends."""
        while True:
            event = run_trigger(stored_trigger(deferred))
            self.events.append(event)
            try:
                return self.wake(deferred.method_name, {**(deferred.kwargs or {}), "event": event})
            except TaskDeferred as again:
                deferred = again

    def wake(self, method: str, kwargs: dict[str, Any]) -> Any:
        """Run a later leg as Airflow's task runner does."""
        task = self.make()
        return task.resume_execution(method, json.loads(json.dumps(kwargs)), self.context(task))

    def retried(self) -> TaskRun:
        """Return the next attempt after a failure."""
        return replace(self, ti=replace(self.ti, try_number=self.ti.try_number + 1))

    def cleared(self) -> TaskRun:
        """Return the next attempt after a person cleared the task: `max_tries` rises."""
        ti = replace(self.ti, try_number=self.ti.try_number + 1, max_tries=self.ti.max_tries + 6)
        return replace(self, ti=ti)

    def context(self, task: BaseOperator) -> Any:
        self.ti.task_id = task.task_id
        return {"ti": self.ti, "task": task, "task_state_store": self.store, **self.extra}


def health_check(store: FakeTaskStateStore, name: str = "scheduled__1") -> TaskRun:
    """Return a health check of `kie_ops`.

    :param store: what checks remember.
    :param name: the run's id.
    """
    from airflow_kie.assets import HEALTH
    from airflow_kie.operators.health_check import KieHealthCheckOperator

    return TaskRun(
        lambda: KieHealthCheckOperator(task_id="check"),
        ti=TaskInstance(dag_id="kie_ops", run_id=name),
        extra={"asset_state_store": {HEALTH: store}},
    )


def stored_trigger(deferred: TaskDeferred) -> KieTaskTrigger:
    """Return the trigger as the triggerer makes it from what Airflow stored."""
    path, kwargs = deferred.trigger.serialize()
    assert path == f"{KieTaskTrigger.__module__}.{KieTaskTrigger.__qualname__}"
    return KieTaskTrigger(**json.loads(json.dumps(kwargs)))


def run_trigger(trigger: KieTaskTrigger) -> dict[str, Any]:
    """Run a trigger to its end and return its one event."""

    async def events() -> list[Any]:
        try:
            return [event.payload async for event in trigger.run()]
        finally:
            await close_shared_clients()

    (event,) = asyncio.run(events())
    assert isinstance(event, dict)
    return dict(json.loads(json.dumps(event)))


async def close_shared_clients() -> None:
    """Close the HTTP clients of the running event loop, which in a triggerer live as long as the process."""
    for shared in transport._async.pop(asyncio.get_running_loop(), {}).values():
        await shared.close()


def close_clients() -> None:
    """Close the HTTP clients of this process."""
    for shared in list(transport._sync.values()):
        shared.close()
    transport._sync.clear()


@dataclass(frozen=True)
class StoredFiles:
    """What is in a bucket."""

    client: Any
    bucket: str

    def listed(self) -> list[str]:
        """Return the keys, but for the archive's own: KIE's raw answers, the ledger, the index, claims."""
        own = {"_raw", "_paid", "_index", "claims"}
        listed = self.client.list_objects_v2(Bucket=self.bucket)
        return [item["Key"] for item in listed.get("Contents", ()) if not own & {*item["Key"].split("/")}]

    def indexed(self, prefix: str = "songs") -> list[dict[str, Any]]:
        """Return every line of the archive's index, in the order in which they were written."""
        listed = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{prefix}/_index/".lstrip("/"))
        texts = [self.body(item["Key"]).decode() for item in listed.get("Contents", ())]
        return [json.loads(line) for text in texts for line in text.splitlines()]

    def body(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def json(self, key: str) -> Any:
        return json.loads(self.body(key))

    def put(self, key: str, body: bytes = b"x") -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)
