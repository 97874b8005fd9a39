"""KieHook in an async task: it shares Airflow's one line to the supervisor with everything else of the task."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import CommsDecoder, DeadlockImminentError, MaskSecret, _ResponseFrame

from airflow_connections import kie_connection
from airflow_kie.client.answers.inline import kept_id
from airflow_kie.client.api import KieAsync
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.hooks.kie import KieHook
from airflow_task import close_shared_clients
from kie_simulator.server import SimulatorServer


@pytest.fixture
def comms(monkeypatch: pytest.MonkeyPatch) -> Iterator[CommsDecoder[Any, Any]]:
    """The real line to a supervisor that answers everything with nothing."""
    ours, supervisors = socket.socketpair()

    def answer() -> None:
        with contextlib.suppress(OSError), supervisors.makefile("rb") as asked:
            for number, length in enumerate(iter(lambda: asked.read(4), b"")):
                asked.read(int.from_bytes(length, "big"))
                supervisors.sendall(_ResponseFrame(id=number).as_bytes())

    supervisor = threading.Thread(target=answer)
    supervisor.start()
    line: CommsDecoder[Any, Any] = CommsDecoder(socket=ours)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", line, raising=False)
    yield line
    ours.close()
    supervisor.join()
    supervisors.close()


def test_what_may_block_takes_no_thread_that_airflows_own_calls_need(
    kie: SimulatorServer, comms: CommsDecoder[Any, Any]
) -> None:
    async def run() -> None:
        # As many threads as in a task that asks for some dozen songs: one, and that one is taken.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        both = [comms.asend(MaskSecret(value="some secret")), KieHook().acredits()]
        _, stuck = await asyncio.wait([asyncio.ensure_future(one) for one in both], timeout=60)
        if stuck:  # let the test end
            comms._thread_lock.release()
        assert not stuck

    asyncio.run(run())


def test_a_kept_answer_is_read_in_no_thread_that_airflows_own_calls_need(
    kie: SimulatorServer, comms: CommsDecoder[Any, Any]
) -> None:
    def kept(operation: str, task_id: str) -> bytes | None:  # it reads connections
        comms.send(MaskSecret(value="another secret"))
        return None

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        read = KieAsync(Mock(), kept).details(task_kind("suno.music"), kept_id("0" * 32, 1))
        both = [comms.asend(MaskSecret(value="some secret")), read]
        _, stuck = await asyncio.wait([asyncio.ensure_future(one) for one in both], timeout=60)
        if stuck:  # let the test end
            comms._thread_lock.release()
        assert not stuck

    asyncio.run(run())


class Busy:
    """A line on which another coroutine waits for its answer whenever somebody asks."""

    def send(self, message: Any) -> None:
        with contextlib.suppress(RuntimeError):
            if asyncio.get_running_loop():
                raise DeadlockImminentError(message)

    async def asend(self, message: Any) -> None: ...


@pytest.mark.parametrize("ask", [lambda hook: hook.aget_conn(), lambda hook: hook.create_turn("me")])
def test_a_connection_is_read_beside_other_calls_to_airflow(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: Callable[[KieHook], Awaitable[Any]]
) -> None:
    extra = {"limiter_conn_id": "limiter", "account": "a name to be masked"}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))
    limiter = {"conn_type": "sqlite", "host": str(tmp_path / "limiter.db"), "extra": {"password": "masked too"}}
    monkeypatch.setenv("AIRFLOW_CONN_LIMITER", json.dumps(limiter))
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Busy(), raising=False)

    async def run() -> Any:
        try:
            return await ask(KieHook())
        finally:
            await close_shared_clients()

    assert asyncio.run(run())
