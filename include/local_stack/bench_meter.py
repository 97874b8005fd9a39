"""What a run costs: processor time and memory of Airflow, calls of its api-server, requests to S3 and KIE."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped]

from local_stack.parts import AIRFLOW_PARTS
from local_stack.running import RunningStack
from local_stack.s3 import metrics_url

_SAMPLE_SECONDS = 0.3
_S3_REQUESTS = re.compile(r'^SeaweedFS_s3_request_total\{bucket="([^"]*)",code="\d+",type="\w+"\} (\S+)$', re.M)
_CALL = re.compile(r"request finished.* method=(\w+) path=/execution/(\S+)")
_IDS = re.compile(r"xcoms/[^/]+/[^/]+(?=/)|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,64}|(?<=/)\d+$")
"""What differs from call to call: ids, and of an XCom its DAG and run."""
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Meter:
    """Counts between its beginning and its end, as a context manager.

    :param running: the stack.
    :param counts: after the end: ``processor_seconds``, of all and of each part by its name, ``api_calls`` of tasks,
        ``s3_requests``, ``kie_requests``, ``seconds``; and ``task_mb``, the most memory that a task's process had.
    :param kinds: after the end: how many calls of tasks to the api-server there were of each kind.
    """

    running: RunningStack
    counts: dict[str, float] = field(default_factory=dict)
    task_mb: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        """Begin."""
        self._before, self._kinds = self._now(), self._api_calls()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._over.set()
        self._sampler.join()
        after = self._now()
        self.counts = {name: after[name] - before for name, before in self._before.items()}
        self.counts["task_mb"] = self.task_mb
        self.kinds = self._api_calls() - self._kinds

    def _now(self) -> Mapping[str, float]:
        parts = {part: sum(map(_used, self._processes(part))) for part in AIRFLOW_PARTS}
        return {
            "seconds": time.monotonic(),
            "processor_seconds": sum(parts.values()),
            **parts,
            "api_calls": self._api_calls().total(),
            "s3_requests": s3_requests(self.running),
            "kie_requests": float(sum(self.running.simulator.state()["requests"].values())),
        }

    def _api_calls(self) -> Counter[str]:
        log = (self.running.settings.logs / "api-server.log").read_text(errors="replace")
        return Counter(f"api-server {method} {without_ids(path)}" for method, path in _CALL.findall(log))

    def _processes(self, part: str) -> Iterator[psutil.Process]:
        process = psutil.Process(self.running.pid(part))
        yield from [process, *process.children(recursive=True)]

    def _sample(self) -> None:
        """Look for the processes of tasks: children of the executor's workers, which are children of the scheduler."""
        while not self._over.wait(_SAMPLE_SECONDS):
            try:
                workers = psutil.Process(self.running.pid("scheduler")).children()
                tasks = [task for worker in workers for task in worker.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            self.task_mb = max([self.task_mb, *(peak_mb(task.pid) for task in tasks)])


def s3_requests(running: RunningStack) -> float:
    """Return how many requests the local S3 has answered for the archive's bucket."""
    with _opener.open(f"{metrics_url(running.settings)}/metrics", timeout=10) as answer:
        found = _S3_REQUESTS.findall(answer.read().decode())
    return sum(float(count) for bucket, count in found if bucket == running.settings.bucket)


def without_ids(path: str) -> str:
    """Return a path with dots instead of what differs from call to call."""
    return _IDS.sub("…", path)


def peak_mb(pid: int) -> float:
    """Return the most memory that a process has had, shared pages included; 0 where the system does not say."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def _used(process: psutil.Process) -> float:
    """Return the processor time of a process and of its children that have ended."""
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.NoSuchProcess:
        return 0.0
