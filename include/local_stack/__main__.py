"""The commands of ``./run``."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from local_stack.interruption import Interrupted


@dataclass(frozen=True)
class Command:
    """One command: its line in the help, and the module whose ``add_arguments`` and ``run`` are the command."""

    summary: str
    module: str


COMMANDS = {
    "demo": Command("make songs on the simulator, archive their covers, show it, stop everything", "demo"),
    "up": Command("start the stack with Airflow's UI and leave it up", "up"),
    "down": Command("stop what 'up' or 'demo --keep' left up", "down"),
    "songs": Command("make songs on the simulator that is up, and print their ids for the form", "songs"),
    "inbox": Command("put files into the inbox of the stack that is up", "inbox"),
    "airflow": Command("a command of Airflow on the stack that is up, such as 'airflow kie doctor'", "airflow_cli"),
    "bench": Command("measure songs by ours and by stock operators, and empty tasks, on one Airflow", "bench"),
    "faults": Command("kill processes, spoil answers of KIE and S3, and check that nothing is lost", "faults"),
    "matrix": Command("the tests on other versions of Airflow and of everything else", "matrix"),
    "docs": Command("build the documentation's site, to be read from disk", "docs"),
    "release": Command("with --dry-run: make and check everything that a release needs, publish nothing", "release"),
    "secrets": Command("write .env for docker-compose.yaml, with strong secrets where it has none", "env_file"),
    "test": Command("lint, types and tests, or the parts of them that you name", "checks"),
}


def main(arguments: list[str]) -> int:
    """Run a command.

    :param arguments: the command's name and its options.
    :return: exit code; 130, 143 or 129 when it was interrupted.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    parser = argparse.ArgumentParser(prog="./run", description="Two commands do everything: ./run demo, ./run test")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = arguments[0] if arguments else ""
    run: Callable[[argparse.Namespace], int] | None = None
    for name, command in COMMANDS.items():
        about = f"{command.summary[0].upper()}{command.summary[1:]}."
        sub = commands.add_parser(name, help=command.summary, description=about)
        if name == chosen:  # only what is asked for is imported
            module = importlib.import_module(f"local_stack.{command.module}")
            module.add_arguments(sub)
            run = module.run
    options = parser.parse_args(arguments or ["--help"])
    assert run is not None  # noqa: S101 - argparse has refused every other name
    try:
        return run(options)
    except Interrupted as interruption:
        _last_words(f"./run {chosen}: {interruption}")
        return 128 + interruption.number
    except BrokenPipeError:
        return 128 + signal.SIGPIPE


def _interrupt(number: int, _frame: FrameType | None) -> None:
    for further in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(further, signal.SIG_IGN)  # cleaning up is bounded; a second one would only leave things behind
    raise Interrupted(number)


def _last_words(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # the terminal is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(status)
