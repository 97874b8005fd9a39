"""The commands of ``./run``."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
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
    "demo": Command("make songs on the simulator, archive their covers, show the results, and stop everything", "demo"),
    "up": Command("start the stack with Airflow's UI and leave it running", "up"),
    "down": Command("stop the stack that 'up' or 'demo --keep' left running", "down"),
    "songs": Command("make songs on the running simulator, and print their ids for the form", "songs"),
    "inbox": Command("put files into the inbox of the running stack", "inbox"),
    "airflow": Command("run an Airflow command on the running stack, such as 'airflow kie doctor'", "airflow_cli"),
    "bench": Command("compare these operators with stock operators and empty tasks, on one Airflow", "bench"),
    "faults": Command("kill processes, inject faults into KIE and S3, and check that nothing is lost", "faults"),
    "matrix": Command("run the tests on other versions of Airflow and of all dependencies", "matrix"),
    "docs": Command("build the documentation's site, readable from disk", "docs"),
    "release": Command("with --dry-run: build and check everything for a release, and publish nothing", "release"),
    "secrets": Command("write .env for docker-compose.yaml, with strong values for missing secrets", "env_file"),
    "test": Command("run lint, type checks and tests, or the parts that you name", "checks"),
}


NO_PLACE = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)
"""What a system says of a folder in which nothing can be written, or of a full disk."""


def main(arguments: list[str]) -> int:
    """Run a command.

    :param arguments: the command's name and its options.
    :return: exit code; 130, 143 or 129 when it was interrupted, 1 when it cannot write.
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
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        _last_words(
            f"./run {chosen} cannot write: {error}. Make room or give the right to write there, or name another "
            "folder for what it writes: KIE_STACK_DIR=/path"
        )
        return 1


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
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal of another encoding than UTF-8: escapes, no traceback
        sys.stdout.reconfigure(errors="backslashreplace")
    status = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(status)
