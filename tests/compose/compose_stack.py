"""The stack of docker-compose.yaml in containers, by podman-compose."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compose.engine import Engine
from compose_file import ComposeFile, read_compose, read_env
from kie_simulator.control_client import ControlClient
from local_stack.airflow_api import AirflowApi
from local_stack.archive_check import check_song
from local_stack.env_file import MAKERS, with_secrets
from local_stack.settings import PROJECT
from song_stack import eventually

FRONT = Path(__file__).with_name("podman_front.py")
LOCK = Path(__file__).with_name("requirements.txt")
NOT_TO_BE_HAD = frozenset({"grafana"})
"""Services whose images no package of Debian can stand in for."""
UP_SECONDS = 900.0


@dataclass(frozen=True)
class Container:
    """A container as podman sees it.

    :param name: its name.
    :param service: the service that it belongs to.
    :param status: podman's word: ``running``, ``exited``.
    :param exit_code: of its last end.
    :param pid: of its first process, on this machine; 0 when it does not run.
    :param restarts: how often podman has started it again by itself.
    :param address: in the stack's network.
    :param published: addresses of this machine that lead to it, such as ``127.0.0.1:8080``.
    """

    name: str
    service: str
    status: str
    exit_code: int
    pid: int
    restarts: int
    address: str
    published: tuple[str, ...]


@dataclass(frozen=True)
class Rights:
    """What a process may do.

    :param uid: user.
    :param capabilities: effective, permitted and bounding set, in hex.
    :param gains: whether it could gain rights by a program that lends them.
    """

    uid: int
    capabilities: frozenset[str]
    gains: bool


@dataclass
class ComposeStack:
    """The stack.

    :param engine: podman.
    :param values: the values of ``.env``.
    :param profiles: the compose file's profiles that are up.
    :param seconds: how long each step took.
    """

    engine: Engine
    values: dict[str, str]
    profiles: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def compose(self) -> ComposeFile:
        """The compose file with these values."""
        return read_compose(self.values)

    @property
    def url(self) -> str:
        """Address of Airflow's UI."""
        return self.values["AIRFLOW_UI_URL"]

    def up(self, *profiles: str) -> None:
        """Start what the profiles name and what has none, as ``docker compose up --detach``."""
        self.profiles = profiles
        with self.timed(f"up {' '.join(profiles)}"):
            self._compose("up", "--detach", *(self.services() if "monitoring" in profiles else ()))

    def down(self, *options: str) -> None:
        """Stop and remove the containers; what they have written is kept in the engine's folder ``logs``."""
        self._keep_logs()
        with self.timed(f"down {' '.join(options)}"):
            self._compose("down", *options)

    def services(self) -> list[str]:
        """Return the services of the profiles that are up."""
        there = {name: set(described.get("profiles", ())) for name, described in self.compose.services.items()}
        return [name for name, own in there.items() if name not in NOT_TO_BE_HAD and own <= set(self.profiles)]

    def containers(self) -> list[Container]:
        """Return all containers that there are, running or not."""
        names = self.engine.run("ps", "--all", "--format", "{{.Names}}").split()
        return [self._container(name) for name in names]

    def container(self, service: str) -> Container:
        """Return the first container of a service."""
        return min((one for one in self.containers() if one.service == service), key=lambda one: one.name)

    def log(self, service: str) -> str:
        """Return what a service has written."""
        return self.engine.run("logs", self.container(service).name)

    def wait_end(self, service: str) -> int:
        """Wait until a service that ends by itself has ended, and return its exit code."""
        name = self.container(service).name
        with self.timed(f"{service} ends"):
            return int(self.engine.run("wait", name, seconds=UP_SECONDS).split()[-1])

    def wait_healthy(self) -> list[str]:
        """Wait until every service that stays up and has a health check passes it; return the containers' names."""
        lasting = {
            name for name, one in self.compose.services.items() if "healthcheck" in one and one["restart"] != "no"
        }
        checked = [one.name for one in self.containers() if one.service in lasting]
        with self.timed(f"{len(checked)} containers are healthy"):
            self.engine.call((str(FRONT), "wait", "--condition=healthy", *checked), seconds=300)
        return checked

    def rights(self, container: Container) -> set[Rights]:
        """Return what the processes of a container may do."""
        found = set()
        for pid in self.engine.run("top", container.name, "hpid").split()[1:]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                status = Path("/proc", pid, "status").read_text()
                lines = dict(re.findall(r"^(\w+):\s*(\S+)", status, re.M))
                sets = frozenset(lines[name] for name in ("CapEff", "CapPrm", "CapBnd"))
                found.add(Rights(int(lines["Uid"]), sets, lines["NoNewPrivs"] == "0"))
        return found

    def archived(self, songs: Sequence[str]) -> list[str]:
        """Return those of some songs of which every file is whole in the volume of the local S3."""
        environment = self.compose.environment("worker")
        bucket = self.volume("s3") / environment["AIRFLOW__KIE__BUCKET"]
        return [song for song in songs if check_song(bucket, environment["AIRFLOW__KIE__PREFIX"], song).whole]

    def volume(self, name: str) -> Path:
        """Return the folder of a volume."""
        return Path(self.engine.inspect("volume", f"airflow-kie_{name}")["Mountpoint"])

    def login(self) -> AirflowApi:
        """Log in as the admin whom service ``init`` has made."""
        return AirflowApi(self.url, ("admin", self.values["AIRFLOW_ADMIN_PASSWORD"]))

    def simulator(self) -> ControlClient:
        """The simulator's control plane, in the stack's network; whoever asks for it closes it."""
        return ControlClient(f"http://{self.container('simulator').address}:8000")

    def certificate(self) -> ssl.SSLContext:
        """Trust the authority that Caddy has made for itself, and no other one."""
        return ssl.create_default_context(cafile=str(self.volume("caddy") / "caddy/pki/authorities/local/root.crt"))

    def crash(self, service: str) -> None:
        """Kill all processes of a service's container from outside, and wait until podman has started it again.

        Not ``podman kill``: to podman, as to Docker, that is a person who wants the container to be down.
        """
        before = self.container(service)
        os.kill(before.pid, signal.SIGKILL)
        with self.timed(f"{service} is started again"):
            eventually(lambda: self._is_back(before), f"{service} runs again", 60.0)

    def leaks(self) -> list[str]:
        """Return which secrets of ``.env`` stand in what the containers of this stack have written."""
        text = "\n".join(path.read_text() for path in (self.engine.home / "logs").iterdir())
        return [name for name in MAKERS if self.values[name] in text]

    def _keep_logs(self) -> None:
        for container in self.containers():
            with (self.engine.home / "logs" / f"{container.name}.log").open("a") as kept:
                kept.write(self.engine.run("logs", container.name))

    def _is_back(self, before: Container) -> bool:
        now = self._container(before.name)
        return now.status == "running" and now.pid not in (0, before.pid) and now.restarts > before.restarts

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Note how long something takes."""
        began = time.monotonic()
        yield
        self.seconds[what] = time.monotonic() - began
        print(f"{self.seconds[what]:6.0f} s  {what}", flush=True)

    def _container(self, name: str) -> Container:
        known = self.engine.inspect("container", name)
        bindings = (known["HostConfig"].get("PortBindings") or {}).values()
        networks = (known["NetworkSettings"].get("Networks") or {}).values()
        return Container(
            name=name,
            service=known["Config"]["Labels"]["com.docker.compose.service"],
            status=known["State"]["Status"],
            exit_code=known["State"]["ExitCode"],
            pid=known["State"]["Pid"],
            restarts=known["RestartCount"],
            address=next((network["IPAddress"] for network in networks), ""),
            published=tuple(f"{one['HostIp']}:{one['HostPort']}" for binding in bindings for one in binding),
        )

    def _compose(self, *arguments: str) -> None:
        env = self.engine.home / "env"
        env.touch(0o600)
        env.write_text("".join(f"{name}={value}\n" for name, value in self.values.items()))
        where = ("--podman-path", str(FRONT), "--file", str(PROJECT / "docker-compose.yaml"), "--env-file", str(env))
        profiles = [word for profile in self.profiles for word in ("--profile", profile)]
        self.engine.call((*podman_compose(self.engine.home), *where, *profiles, *arguments), seconds=UP_SECONDS)


def new_stack(engine: Engine, port: int, **values: str) -> ComposeStack:
    """Return a stack with new secrets, and take away what an earlier one may have left.

    :param port: for Airflow's UI, on loopback.
    :param values: further values for ``.env``.
    """
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    here = {
        "AIRFLOW_UI_ADDRESS": f"127.0.0.1:{port}",
        "AIRFLOW_UI_URL": f"http://127.0.0.1:{port}",
        "KIE_PUBLIC_ADDRESS": "127.0.0.1",  # the check is nobody's server
    }
    clear(engine)
    shutil.rmtree(engine.home / "logs", ignore_errors=True)
    (engine.home / "logs").mkdir()
    return ComposeStack(engine, {**read_env(with_secrets(example)[0]), **here, **values})


def clear(engine: Engine) -> None:
    """Take away all containers, volumes and networks; the engine's storage is this check's own."""
    engine.run("rm", "--all", "--force", "--time", "0")
    engine.run("volume", "prune", "--force")
    engine.run("network", "prune", "--force")


def left_over(engine: Engine) -> Mapping[str, list[str]]:
    """Return the names of containers, volumes and networks that there are; the network ``podman`` always is."""
    return {
        "containers": engine.run("ps", "--all", "--format", "{{.Names}}").split(),
        "volumes": engine.run("volume", "ls", "--format", "{{.Name}}").split(),
        "networks": [n for n in engine.run("network", "ls", "--format", "{{.Name}}").split() if n != "podman"],
    }


def podman_compose(home: Path) -> tuple[str, ...]:
    """Return the command of podman-compose; install it, as its lock says, where it is not yet there."""
    venv = home / f"venv-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    if not (venv / "installed").exists():
        subprocess.run((sys.executable, "-m", "venv", "--clear", str(venv)), check=True)
        pip = (str(venv / "bin" / "python"), "-m", "pip", "--quiet", "install", "--require-hashes")
        subprocess.run((*pip, "--only-binary=:all:", "--requirement", str(LOCK)), check=True)
        (venv / "installed").touch()
    return (str(venv / "bin" / "python"), str(venv / "bin" / "podman-compose"))
