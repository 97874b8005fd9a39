"""The keeper: a process of its own that starts the parts of a stack, watches them and stops them.

``python -m local_stack.keeper <home> <stack id>`` reads ``settings.json`` in the stack's folder and writes its state to
``stack.json``. Its standard input is a pipe from the command that started it: the end of that command, by whatever
signal, ends the stack, unless the command has written ``keep`` before.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from local_stack import database
from local_stack.environment import airflow_environment, base_environment
from local_stack.guardian import fork_guardian
from local_stack.health import unhealthy
from local_stack.part import Part
from local_stack.parts import airflow_command, airflow_parts, clear_up, simulator_part
from local_stack.ports import ReservedPort
from local_stack.postgres import postgres_part
from local_stack.processes import end, kill_remaining, start
from local_stack.s3 import PORTS, s3_part
from local_stack.secret_keys import keep_secrets
from local_stack.settings import StackSettings
from local_stack.state import Phase, ProcessMark, StackState, write_state
from local_stack.timeout import Timeout

KEEP = b"k"
START_SECONDS = 720.0  # a machine with little time for it has taken more than 240
# Airflow's own processes first, while what they talk to still answers.
STOP_ORDER = (("scheduler", "triggerer", "dag-processor", "database"), ("api-server", "simulator", "s3"), ("postgres",))


class StopRequested(Exception):
    """The stack is to stop: asked by a signal, or its command has ended."""


class PartFailed(Exception):
    """A part of the stack ended or did not start in time.

    :param part: its name.
    :param message: what happened.
    """

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


class Keeper:
    """Starts, watches and stops one stack."""

    def __init__(self, settings: StackSettings, stack_id: str) -> None:
        """Prepare; nothing is started yet."""
        self.settings = settings
        self.stack_id = stack_id
        self.state = StackState(stack_id, ProcessMark.of(os.getpid()))
        self.parts: dict[str, Part] = {}
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.written: dict[str, int] = {}
        self.ports: list[ReservedPort] = []
        self.asked = ""
        self.guardian = 0
        self.began = time.monotonic()

    def run(self) -> int:
        """Hold the stack until it is asked to stop or a part fails.

        :return: exit code: 0 after an asked stop, 1 after a failure.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self.guard()
        phase, message, part = "stopped", "", ""
        try:
            self.tell("starting", "The stack starts.")
            self.start_all()
            self.tell("ready", "The stack is up.")
            self.watch()
        except StopRequested as reason:
            message = f"The stack was stopped: {reason}"
        except PartFailed as failure:
            phase, message, part = "failed", str(failure), failure.part
        except Exception as error:  # noqa: BLE001 - whatever it is, the stack stops in order and says why
            phase, message, part = "failed", f"{type(error).__name__}: {error}", "keeper"
        self.stop_all(message, part)
        self.tell("failed" if phase == "failed" else "stopped", message)
        return 1 if phase == "failed" else 0

    def guard(self) -> None:
        """See that a guardian is there; what killed one may kill this process next."""
        if self.guardian and os.waitpid(self.guardian, os.WNOHANG)[0] == 0:
            return
        self.guardian = fork_guardian(self.stack_id, own_session=True, afterwards=lambda: clear_up(self.settings))
        self.state = replace(self.state, guardian=ProcessMark.of(self.guardian))
        write_state(self.settings.home, self.state)

    def start_all(self) -> None:
        """Start all parts, side by side where they do not need each other, and wait until Airflow is healthy."""
        settings = self.settings
        settings.logs.mkdir(parents=True, exist_ok=True)
        secrets = keep_secrets(settings.home)
        base = base_environment(self.stack_id, os.environ, keep_aws=settings.real_s3)
        servers = [] if settings.real_kie else [simulator_part(settings, base, secrets, self.hold_port().if_held)]
        servers += [] if settings.real_s3 else [s3_part(settings, base, secrets, self.hold_ports(PORTS))]
        for part in servers:
            self.start(part)
        fresh = database.prepare(settings, secrets)
        if not settings.sqlite:
            servers.append(
                postgres_part(settings.postgres_dir, base, self.hold_port().number, durable=settings.real_kie)
            )
            self.start(servers[-1])
        blind = {"simulator": "http://127.0.0.1:1", "s3": "http://127.0.0.1:1"}
        self.prepare_database(
            lambda: airflow_environment(base, settings, secrets, 1, blind | self.state.urls, os.environ), fresh
        )
        for part in servers:
            self.wait_for(part.name, lambda part=part: self.address_of(part))  # type: ignore[misc]
        for attempt in range(3):
            port = self.hold_port().number
            environment = airflow_environment(base, settings, secrets, port, self.state.urls, os.environ)
            if self.start_airflow(environment, port, last=attempt == 2):
                return

    def hold_port(self) -> ReservedPort:
        """Hold a port as long as the stack lasts, so that its server finds it free when it is started again."""
        self.ports.append(ReservedPort())
        return self.ports[-1]

    def hold_ports(self, count: int) -> list[int]:
        """Hold several ports, for a server that cannot choose its own."""
        return [self.hold_port().number for _ in range(count)]

    def start_airflow(self, environment: dict[str, str], port: int, *, last: bool) -> bool:
        """Start Airflow's processes and wait for its health.

        :param port: the api-server's port.
        :param last: fail rather than report that somebody else was given the port in between.
        :return: False when the port was taken; the processes are stopped then.
        """
        url = f"http://127.0.0.1:{port}"
        parts = airflow_parts(environment)
        for part in parts:
            self.start(part)
        try:
            self.wait_for("api-server", lambda: "api-server" not in unhealthy(url))
        except PartFailed as failure:
            if last or failure.part != "api-server" or "address already in use" not in self.log_of("api-server"):
                raise
            end((self.children.pop(part.name) for part in parts), self.settings.grace)
            return False
        self.tell("starting", "Airflow's UI answers.", airflow=url)
        self.wait_for("airflow", lambda: not unhealthy(url), explain=lambda: ", ".join(unhealthy(url)))
        return True

    def prepare_database(self, environment: Callable[[], dict[str, str]], fresh: bool) -> None:
        """Bring Airflow's database to today's version, where it is not.

        :param environment: that of Airflow, once its database answers.
        :param fresh: the database holds nothing yet, so that it becomes the template of further stacks.
        """
        if not database.needs_migration(self.settings):
            return
        server = self.parts.get("postgres")
        if server:
            self.wait_for("postgres", lambda: self.address_of(server))
        self.start(Part("database", lambda _url: airflow_command("db", "migrate"), environment()))
        migration = self.children["database"]
        self.wait_for("database", lambda: migration.poll() == 0, may_end=("database",))
        del self.children["database"]
        self.state = replace(self.state, parts={k: mark for k, mark in self.state.parts.items() if k != "database"})
        database.was_migrated(self.settings)
        if fresh:
            self.stop("postgres")
            database.make_template(self.settings)
            if server:
                self.start(server)

    def stop(self, *names: str) -> None:
        """Ask parts to end, side by side, and kill what does not."""
        for number in {self.parts[name].ends_by for name in names if name in self.children}:
            asked = [name for name in names if name in self.children and self.parts[name].ends_by == number]
            end((self.children[name] for name in asked), self.settings.grace, number)

    def start(self, part: Part) -> None:
        """Start a part, for the first time or again at its former address."""
        log = self.settings.logs / f"{part.name}.log"
        self.written[part.name] = log.stat().st_size if log.exists() else 0
        self.settings.airflow_home.mkdir(parents=True, exist_ok=True)
        command = part.command(self.state.urls.get(part.name))
        child = start(command, cwd=self.settings.airflow_home, log=log, environment=part.environment)
        self.parts[part.name], self.children[part.name] = part, child
        marks = {**self.state.parts, part.name: ProcessMark.of(child.pid)}
        self.state = replace(self.state, parts=marks)
        write_state(self.settings.home, self.state)

    def address_of(self, part: Part) -> bool:
        """Record the address that a part reports, and return whether it has reported one."""
        found = part.address(self.log_of(part.name)) if part.address else None
        if found:
            self.tell(self.state.phase, f"{part.name} answers.", **{part.name: found})
        return bool(found)

    def log_of(self, name: str) -> str:
        """Return what a part has written since its last start."""
        with (self.settings.logs / f"{name}.log").open("rb") as log:
            log.seek(self.written[name])
            return log.read().decode(errors="replace")

    def wait_for(
        self,
        name: str,
        done: Callable[[], bool],
        may_end: Iterable[str] = (),
        explain: Callable[[], str] = lambda: "",
    ) -> None:
        """Wait until something is true, while every part runs.

        :raises PartFailed: when a part ended, or the time is over.
        :raises StopRequested: when the stack is to stop.
        """
        timeout = Timeout(START_SECONDS)
        while not done():
            for part, child in self.children.items():
                if child.poll() is not None and (part not in may_end or child.returncode):
                    raise PartFailed(part, f"{part} ended with exit code {child.returncode} while the stack started.")
            if timeout.expired():
                detail = f" ({why})" if (why := explain()) else ""
                raise PartFailed(name, f"{name}{detail} was not ready after {START_SECONDS:.0f} s.")
            self.pause(0.1)
        seconds = {**self.state.seconds, name: round(time.monotonic() - self.began, 2)}
        self.state = replace(self.state, seconds=seconds)

    def watch(self) -> None:
        """Watch the parts until the stack is to stop.

        :raises PartFailed: when a part ended and the stack does not restart its parts.
        """
        while True:
            self.pause(0.25)
            for name, child in list(self.children.items()):
                if child.poll() is None:
                    continue
                if not self.settings.restart:
                    raise PartFailed(name, f"{name} ended with exit code {child.returncode}.")
                print(f"{name} ended with exit code {child.returncode}; restarting it.", flush=True)
                self.pause(1.0)  # a part that ends at once must not spin
                self.start(self.parts[name])

    def pause(self, seconds: float) -> None:
        """Wait, awake for signals and for the command that started the stack.

        :raises StopRequested: when either says stop.
        """
        if self.asked:
            raise StopRequested(self.asked)
        self.guard()
        if self.state.kept:
            time.sleep(seconds)
        elif select.select([0], [], [], seconds)[0]:
            if os.read(0, 1) != KEEP:
                raise StopRequested("the command that started it has ended.")
            self.state = replace(self.state, kept=True)
            write_state(self.settings.home, self.state)
        if self.asked:
            raise StopRequested(self.asked)

    def stop_all(self, message: str, part: str) -> None:
        """Stop every part, first by asking, then by force, and see that nothing is left."""
        self.state = replace(self.state, failed_part=part)
        self.tell("stopping", message)
        for names in STOP_ORDER:
            self.stop(*names)
        left = kill_remaining(self.stack_id, os.getsid(0), spare=[self.guardian])
        clear_up(self.settings)
        if left:
            print(f"Could not stop: {', '.join(left)}", flush=True)

    def tell(self, phase: Phase, message: str, **urls: str) -> None:
        """Write the stack's state."""
        self.state = replace(self.state, phase=phase, message=message, urls={**self.state.urls, **urls})
        write_state(self.settings.home, self.state)

    def _on_signal(self, number: int, _frame: object) -> None:
        self.asked = f"by {signal.Signals(number).name}."


if __name__ == "__main__":
    home = Path(sys.argv[1])
    raise SystemExit(Keeper(StackSettings.loads((home / "settings.json").read_text()), sys.argv[2]).run())
