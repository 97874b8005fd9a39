"""`airflow kie simulator`: a simulated KIE on this machine, as the extra `simulator` brings it."""

from __future__ import annotations

import importlib.util
import os
import sys
from argparse import Namespace

from airflow_kie.cli.terminal import InvalidArgument, command

NEEDED = ("kie_simulator", "fastapi", "httptools", "lameenc", "uvicorn")


@command()
def simulator(args: Namespace) -> int:
    """Become a simulated KIE, which serves until it is interrupted or ended; it prints the connection that leads to it.

    :param args: `port`, `speed`, `credits`, `songs`.
    :return: never; this process ends with the simulator's exit code.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise InvalidArgument(
            f"The simulator needs {', '.join(missing)}: pip install 'airflow-provider-kie-ai[simulator]'."
        )
    options = {"--port": args.port, "--speed": args.speed, "--credits": args.credits, "--songs": args.songs}
    words = [word for name, value in options.items() for word in (name, str(value))]
    # No child: who ends this process ends the simulator.
    os.execv(sys.executable, [sys.executable, "-m", "kie_simulator", "--print-connection", *words])  # noqa: S606
