"""The parts of a stack: what each runs, and how it reports its address."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from local_stack import postgres
from local_stack.environment import SIMULATOR_KEY
from local_stack.part import Part
from local_stack.ports import port_of
from local_stack.s3 import remove_sockets
from local_stack.secret_keys import StackSecrets
from local_stack.settings import StackSettings

INCLUDE = Path(__file__).resolve().parents[1]
AIRFLOW_PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")


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


def clear_up(settings: StackSettings) -> None:
    """Remove what killed parts of a stack have left outside its folder.

    :param settings: the stack, none of whose processes runs any more.
    """
    remove_sockets(settings)
    postgres.clear_up(settings.postgres_dir)


def _constant(command: list[str]) -> Callable[[str | None], list[str]]:
    return lambda _url: command
