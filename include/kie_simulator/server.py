"""Running the simulator: in a thread for tests (``SimulatorServer``) or as the process's only job (``serve``)."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn

from kie_simulator.app import create_app
from kie_simulator.connection import BreakableProtocol
from kie_simulator.control_client import ControlClient
from kie_simulator.settings import Settings
from kie_simulator.simulation import Simulation

_CHECK_SECONDS = 1.0
_KEEP_ALIVE_SECONDS = 75
"""nginx's value, longer than clients keep one: who closes a connection while it is used again resets that request."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, that signals when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Stop; requests that are still being answered get one second (``timeout_graceful_shutdown``)."""
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only for sockets that name TCP; with it an answer takes 40 ms longer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def _server(sim: Simulation, *, access_log: bool = False) -> _Server:
    config = uvicorn.Config(
        create_app(sim),
        http=BreakableProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="info" if access_log else "warning",
        access_log=access_log,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    return _Server(config)


def _url(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


class SimulatorServer:
    """The simulator in a thread of this process, on a free port of 127.0.0.1; a context manager.

    :param seed: decides ids, durations, songs and pictures; equal seeds give equal ones.
    :param api_keys: the keys it accepts, each an account of its own; ``sim-key`` if None.
    :param credits: what each account begins with.
    :param settings: further settings by name, as in ``/_sim/settings``; ``reset`` returns to these.
    """

    def __init__(
        self,
        *,
        seed: str | None = "test",
        api_keys: list[str] | None = None,
        credits: float = 10_000.0,
        **settings: Any,
    ) -> None:
        self._keys = api_keys or ["sim-key"]
        self._sim = Simulation(self._keys, credits=credits, settings=Settings.model_validate(settings), seed=seed)
        self.api_key = self._keys[0]
        self.url = ""

    def start(self) -> SimulatorServer:
        """Start serving and return when it listens."""
        self._listener = _listen("127.0.0.1", 0)
        self.url = _url("127.0.0.1", self._listener)
        self._server = _server(self._sim)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, name="kie-simulator", daemon=True
        )
        self._thread.start()
        while not self._server.listening.wait(_CHECK_SECONDS):  # a busy machine may need any number of seconds
            if not self._thread.is_alive():
                raise RuntimeError("The KIE simulator did not start; its thread's error is above.")
        self.control = ControlClient(self.url)
        return self

    def stop(self) -> None:
        """Stop serving and return when the thread has ended."""
        self.control.close()
        self._server.stop()
        self._thread.join()
        self._listener.close()

    def __enter__(self) -> SimulatorServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees either nothing or all of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def connection_to(url: str, api_key: str) -> dict[str, str]:
    """Return the environment that leads an Airflow to a simulator.

    :param url: the simulator's.
    :param api_key: of one of its accounts.
    """
    connection = {"conn_type": "kie", "host": url, "password": api_key, "extra": {"upload_host": url}}
    return {
        "AIRFLOW_CONN_KIE_DEFAULT": json.dumps(connection),
        "AIRFLOW__KIE__SIMULATOR_HOSTS": url.partition("://")[2],
    }


def serve(
    sim: Simulation,
    *,
    host: str,
    port: int,
    port_file: Path | None = None,
    print_connection: bool = False,
    songs: int = 0,
    access_log: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT.

    :param port: 0 for a free one.
    :param port_file: where to write the port once it listens.
    :param print_connection: print what leads an Airflow to it, for a shell.
    :param songs: how many finished songs it begins with; their ids are printed.
    :raises OSError: if the port is taken.
    """
    listener = _listen(host, port)
    server = _server(sim, access_log=access_log)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())

    def announce() -> None:
        server.listening.wait()
        if port_file is not None:
            write_atomically(port_file, f"{listener.getsockname()[1]}\n")
        url = _url(host, listener)
        print(f"KIE simulator: {url}", flush=True)
        if print_connection:
            known = connection_to(url, next(iter(sim.accounts.all())).name)
            print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in known.items()), flush=True)
        if songs:
            with contextlib.closing(ControlClient(url)) as control:
                for song in control.make_music(count=songs):
                    print(f"song {song.task_id}  {song.title}", flush=True)

    threading.Thread(target=announce, daemon=True).start()
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
