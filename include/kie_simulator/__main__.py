"""``python -m kie_simulator``: serve a simulated KIE until it is stopped."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kie_simulator.server import serve
from kie_simulator.settings import Settings
from kie_simulator.simulation import Simulation


def _setting(text: str) -> tuple[str, Any]:
    """Return name and value of a setting given as ``name=value``.

    :raises argparse.ArgumentTypeError: if it is not of that form, or the simulator has no such setting or value.
    """
    name, _, value = text.partition("=")
    try:
        setting = (name, json.loads(value))
        Settings().changed(dict([setting]))
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"{name}: {error.errors()[0]['msg']}") from None
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE with a value in JSON") from None
    return setting


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is not a port from 0 to 65535")
    return int(text)


def _speed(text: str) -> float:
    try:
        return Settings(speed=float(text)).speed
    except ValueError:  # a ValidationError is one too
        raise argparse.ArgumentTypeError(f"{text} is not greater than 0 and at most 100000") from None


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kie_simulator", description="A simulator of the KIE.ai API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=0, help="port to listen on; 0, the default, takes a free one")
    parser.add_argument("--port-file", type=Path, help="write the port to this file once it listens")
    parser.add_argument("--speed", type=_speed, default=1.0, help="simulated seconds per real second (default: 1)")
    parser.add_argument(
        "--api-key", action="append", help="an API key to accept, with its own account; repeatable (default: sim-key)"
    )
    parser.add_argument("--credits", type=float, default=10_000.0, help="credits of each account (default: 10000)")
    parser.add_argument("--webhook-key", help="sign callbacks with this key; without it they are not signed")
    parser.add_argument("--seed", help="seed of ids, durations, songs and pictures (default: a random one)")
    parser.add_argument("--public-url", help="the URL under which clients reach it (default: that of each request)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="any setting of /_sim/settings, its value in JSON, such as cover_seconds=20; repeatable",
    )
    parser.add_argument("--print-connection", action="store_true", help="print the connection for Airflow")
    parser.add_argument("--songs", type=int, default=0, help="make this many finished songs and print their ids")
    parser.add_argument("--access-log", action="store_true", help="log every request")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT and return the exit status.

    :param argv: the command line without the program's name.
    """
    arguments = _arguments(argv)
    sim = Simulation(
        arguments.api_key or ["sim-key"],
        credits=arguments.credits,
        settings=Settings(speed=arguments.speed, webhook_key=arguments.webhook_key).changed(dict(arguments.set)),
        seed=arguments.seed,
        public_url=arguments.public_url,
    )
    try:
        serve(
            sim,
            host=arguments.host,
            port=arguments.port,
            port_file=arguments.port_file,
            print_connection=arguments.print_connection,
            songs=arguments.songs,
            access_log=arguments.access_log,
        )
    except OSError as error:
        print(f"The KIE simulator cannot listen on {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
