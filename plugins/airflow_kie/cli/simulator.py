"""`airflow kie simulator`: a simulated KIE on this machine, as the extra `simulator` brings it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from argparse import Namespace

from airflow_kie.cli.terminal import InvalidArgument, command

NEEDED = ("kie_simulator", "fastapi", "httptools", "lameenc", "uvicorn")


@command()
def simulator(args: Namespace) -> int:
    """Serve a simulated KIE until Ctrl-C; it prints the connection that leads to it.

    :param args: `port`, `speed`, `credits`, `songs`.
    :return: the simulator's exit code.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise InvalidArgument(
            f"The simulator needs {', '.join(missing)}: pip install 'airflow-provider-kie-ai[simulator]'."
        )
    options = {"--port": args.port, "--speed": args.speed, "--credits": args.credits, "--songs": args.songs}
    words = [word for name, value in options.items() for word in (name, str(value))]
    command = [sys.executable, "-m", "kie_simulator", "--print-connection", *words]
    with subprocess.Popen(command) as process:  # noqa: S603 - our own program
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the simulator gets it too, and ends in order
                continue
