"""Several processes that share one limiter and one simulated KIE: what each sent, and when."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kie_simulator.server import SimulatorServer


@dataclass(frozen=True)
class Create:
    """One create that a process sent.

    :param at: wall time in seconds just before it was sent.
    :param took: seconds from the limiter's last asking to KIE's answer: no permit was under way for longer.
    :param code: KIE's answer.
    :param worker: which process sent it.
    """

    at: float
    took: float
    code: int
    task_id: str
    worker: int


def burst(
    server: SimulatorServer,
    store: str,
    *,
    workers: int,
    tasks: int = 1_000_000,
    until: float | None = None,
    **limits: Any,
) -> list[Create]:
    """Let `workers` processes create tasks at the same time and return the creates in the order of sending.

    :param tasks: how many each process creates, at most.
    :param until: seconds after which they stop.
    :param limits: what the limiter (:class:`~airflow_kie.client.rate_limiter.limiter.CreateLimiter`) is given besides
        account and store.
    """
    order = {"url": server.url, "api_key": server.api_key, "store": store, "account": "burst"}
    command = [
        sys.executable,
        str(Path(__file__).with_name("limiter_worker.py")),
        json.dumps(order | {"tasks": tasks, "until": until, "limits": limits}),
    ]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "A worker did not start; its error stands above."
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [json.loads(process.communicate()[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    creates = [Create(*sent, worker=worker) for worker, answer in enumerate(answers) for sent in answer]
    return sorted(creates, key=lambda create: create.at)


def most_in_window(creates: list[Create], seconds: float) -> int:
    """Return the highest number of creates in any window of that length."""
    most = first = 0
    for last, create in enumerate(creates):
        while create.at - creates[first].at >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
