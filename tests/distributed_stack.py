"""The distributed stack without containers: what docker-compose.yaml starts, with the environment that it gives.

Postgres is the lock's, Redis Debian's. Every other process runs the command of its service, in the environment of its
service; :class:`Here` is all that differs, since containers have addresses and folders of their own. By default all
of it is on loopback; a :class:`Network` puts it elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from compose_file import ComposeFile, read_compose, read_env
from distributed_network import Network, server_commands
from kie_simulator.control_client import ControlClient
from local_stack import postgres
from local_stack.airflow_api import AirflowApi
from local_stack.env_file import with_secrets
from local_stack.environment import base_environment
from local_stack.health import unhealthy
from local_stack.ports import ReservedPort
from local_stack.processes import end, kill_remaining, start
from local_stack.settings import PROJECT
from local_stack.timeout import Timeout
from song_stack import eventually

TWO_OF_EACH = ("scheduler-1", "scheduler-2", "triggerer-1", "triggerer-2", "worker-1", "worker-2")
_ENDS = {"scheduler": "Exited execute loop"}
"""What a service that can lose a SIGTERM logs when it has not. Airflow's scheduler ends by an exception out of its
signal handler, and what that strikes may swallow it: a callback of the garbage collection does, and others without a
word. The others are asked once: a second SIGTERM ends Celery's workers in the midst of their tasks."""
_ASKED_AGAIN = 15.0
"""Seconds after which such a service is asked again."""
_LONE_ARGUMENTS: Mapping[str, Sequence[str]] = {
    # The log servers listen on all interfaces; the containers' networks keep them in.
    "triggerer": ("--skip-serve-logs",),
    "worker": ("--skip-serve-logs",),
}
SERVERS = ("postgres-1", "redis-1")
"""What ends last, since the others need it."""


@dataclass
class Here:
    """What differs on one machine without containers.

    :param texts: what of addresses and folders is replaced, and by what; a replacement that nothing needs is a
        problem, see :meth:`check`.
    :param environment: variables that every Airflow process gets besides: those that the image sets, and loopback.
    """

    texts: Mapping[str, str]
    environment: Mapping[str, str]
    used: set[str] = field(default_factory=set)

    def text(self, text: str) -> str:
        """Return a text of the compose file as it is said here."""
        for there, here in self.texts.items():
            if there in text:
                self.used.add(there)
                text = text.replace(there, here)
        return text

    def check(self) -> None:
        """See that every replacement was needed."""
        assert set(self.texts) == self.used


@dataclass
class DistributedStack:
    """The stack's processes.

    :param home: folder for everything.
    :param compose: the compose file.
    :param values: the values of ``.env``.
    :param here: what differs here.
    :param url: address of Airflow's api-server.
    :param simulator_url: address of the simulator.
    :param network: where its parts are.
    :param servers: the commands of Postgres and Redis, which need no image.
    """

    home: Path
    compose: ComposeFile
    values: Mapping[str, str]
    here: Here
    url: str
    simulator_url: str
    network: Network
    servers: Mapping[str, Sequence[str]]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def bucket(self) -> Path:
        """The archive's bucket: a folder."""
        return self.home / "s3" / self.compose.environment("worker")["AIRFLOW__KIE__BUCKET"]

    def login(self) -> AirflowApi:
        """Log in as the admin whom service ``init`` has made."""
        return AirflowApi(self.url, ("admin", self.values["AIRFLOW_ADMIN_PASSWORD"]))

    @property
    def s3_url(self) -> str:
        """Address of the S3 server itself."""
        return f"http://{self.here.texts['0.0.0.0:8080']}"

    @property
    def simulator(self) -> ControlClient:
        """The simulator's control plane; whoever asks for it closes it."""
        return ControlClient(self.simulator_url)

    def begin(self, name: str) -> None:
        """Start a process.

        :param name: service and number, such as ``worker-2``.
        """
        service, _, number = name.rpartition("-")
        command = list(self.servers.get(service) or map(self.here.text, self.compose.command(service)))
        if service == "worker":
            command += ["--celery-hostname", f"{name}@%h"]
        if service == "postgres":  # a killed one has left them
            postgres.clear_up(self.home / "postgres")
        environment = {**self._environment(service, number), **self.network.environment(name)}
        log = self.home / f"{name}.log"
        words = [*self.network.enter(name), *command, *_LONE_ARGUMENTS.get(service, ())]
        self.running[name] = start(words, cwd=self.home, log=log, environment=environment)

    def once(self, *services: str) -> None:
        """Run services that end by themselves, side by side, and wait for them."""
        began = time.monotonic()
        for service in services:
            self.begin(f"{service}-0")
        for service in services:
            code = self.running.pop(f"{service}-0").wait(1200)
            assert code == 0, f"{service} ended with {code}: {self.log(f'{service}-0')[-3000:]}"
            self.seconds[service] = time.monotonic() - began

    def log(self, name: str) -> str:
        """Return what a process has written."""
        return (self.home / f"{name}.log").read_text(errors="replace")

    def kill(self, name: str) -> int:
        """Kill everything of a container, as a machine that goes away does, and return how many processes that was."""
        killed: list[psutil.Process] = []
        found = [psutil.Process(self.running[name].pid)]
        while found:  # none of them starts another one unseen, and none sees another one die
            for one in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.suspend()
            killed += found
            found = [child for child in killed[0].children(recursive=True) if child not in killed]
        for one in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.running.pop(name).wait()
        return len(psutil.wait_procs(killed, timeout=60)[0])

    def replace(self, name: str) -> int:
        """Stop a process as ``docker compose up`` does with a container that it replaces, and start it again.

        :return: its exit code; below 0: it did not end by itself within its service's ``stop_grace_period``.
        """
        service, process = name.rpartition("-")[0], self.running[name]
        grace = self.compose.services[service].get("stop_grace_period", "10s")
        timeout = Timeout(float(grace[:-1]) * {"s": 1, "m": 60}[grace[-1]])
        said = len(self.log(name))
        process.terminate()
        again = Timeout(_ASKED_AGAIN)
        while process.poll() is None and not timeout.expired():
            if service in _ENDS and again.expired() and _ENDS[service] not in self.log(name)[said:]:
                process.terminate()
                again = Timeout(_ASKED_AGAIN)
            time.sleep(0.1)
        code = process.poll()
        if code is None:
            code = -signal.SIGKILL
            self.kill(name)
        self.begin(name)
        return code

    def well(self) -> bool:
        """Whether everything that was started still runs."""
        ended = {name: process.poll() for name, process in self.running.items() if process.poll() is not None}
        assert not ended, f"{ended}: {self.log(next(iter(ended)))[-3000:]}"
        return True

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Wait for something while every process runs."""
        began = time.monotonic()
        eventually(lambda: self.well() and done(), what)
        self.seconds[what] = time.monotonic() - began

    def _environment(self, service: str, number: str) -> dict[str, str]:
        own = {name: self.here.text(value) for name, value in self.compose.environment(service).items()}
        port = {"AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": self.here.environment[f"health {number}"]}
        besides = {name: value for name, value in self.here.environment.items() if " " not in name}
        return {**base_environment(self.mark, os.environ), **own, **besides, **port}


@contextmanager
def distributed_stack(
    home: Path,
    *dags: Path,
    project_dags: str = "*.py",
    network: Network | None = None,
    airflow: Mapping[str, str] | None = None,
    **values: str,
) -> Iterator[DistributedStack]:
    """Start the stack with two of each process that may be doubled, and the profiles simulator and local-s3.

    :param home: a folder of its own.
    :param dags: files with further DAGs.
    :param project_dags: pattern of the files of the project's own DAGs.
    :param network: where its parts are; None: all on loopback.
    :param airflow: further settings of Airflow's processes.
    :param values: further values for ``.env``.
    """
    chosen = {**read_env(with_secrets((PROJECT / ".env.example").read_text())[0]), **values}
    compose = read_compose(chosen)
    names = ("api", "simulator", "s3", "postgres", "redis", "health 0", "health 1", "health 2")
    ports = {name: ReservedPort() for name in names}
    numbers = {name: port.number for name, port in ports.items()}
    stack = _stack(home, compose, chosen, numbers, network or Network(), airflow or {})
    (home / "dags").mkdir()
    for file in (*(PROJECT / "dags").glob(project_dags), *dags):
        shutil.copy(file, home / "dags")
    try:
        _start(stack)
        yield stack
    finally:
        end([process for name, process in stack.running.items() if name not in SERVERS], 3.0)
        end(stack.running.values(), 20.0, signal.SIGINT)  # Postgres ends at once, and waits for no client
        kill_remaining(stack.mark, None)
        postgres.clear_up(home / "postgres")
        for port in ports.values():
            port.release()


def _stack(
    home: Path,
    compose: ComposeFile,
    values: Mapping[str, str],
    ports: Mapping[str, int],
    network: Network,
    airflow: Mapping[str, str],
) -> DistributedStack:
    at = {name: f"{network.address(name)}:{ports[name]}" for name in ("api", "simulator", "s3", "postgres", "redis")}
    api, simulator = at["api"], at["simulator"]
    texts = {
        "postgres:5432/airflow": f"{at['postgres']}/airflow",
        "redis:6379": at["redis"],
        "api-server:8080": api,
        "localhost:8080": api,
        '"api-server"': f'"{network.address("api")}"',
        "simulator:8000": simulator,
        "--host=0.0.0.0": f"--host={network.address('simulator')}",
        "--port=8000": f"--port={ports['simulator']}",
        "//s3:8080": f"//{network.s3 or at['s3']}",
        "0.0.0.0:8080": at["s3"],
        '"/data/': f'"{home}/s3/',
        " /data": f" {home}/s3",
    }
    environment = {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "PYTHONPATH": str(PROJECT / "include"),
        "AIRFLOW__API__HOST": network.address("api"),
        "AIRFLOW__API__PORT": str(ports["api"]),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
        **{name: str(port) for name, port in ports.items() if " " in name},
        **airflow,
    }
    servers = server_commands(home, compose, values, ports, network)
    here = Here(texts, environment)
    return DistributedStack(home, compose, values, here, f"http://{api}", f"http://{simulator}", network, servers)


def _start(stack: DistributedStack) -> None:
    """Start everything in the order of the compose file's conditions."""
    for name in (*SERVERS, "simulator-1", "s3-1"):
        stack.begin(name)
    for name in SERVERS:
        stack.wait(lambda name=name: postgres.is_ready(stack.log(name).lower()), f"{name} answers")  # type: ignore[misc]
    stack.once("init")
    stack.once("simulator-connection", "local-s3-connection")
    stack.begin("api-server-1")
    stack.wait(lambda: "api-server" not in unhealthy(stack.url), "the api-server answers")
    for name in ("dag-processor-1", *TWO_OF_EACH):
        stack.begin(name)
    stack.wait(lambda: not unhealthy(stack.url), "Airflow is healthy")
    stack.here.check()
