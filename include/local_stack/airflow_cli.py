"""``./run airflow …``: a command of Airflow on the running stack, such as ``./run airflow kie doctor``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from local_stack.environment import airflow_environment, base_environment
from local_stack.parts import airflow_command
from local_stack.ports import port_of
from local_stack.secret_keys import keep_secrets
from local_stack.settings import StackSettings, local_folder, up_settings
from local_stack.state import FILE, StackState, read_state

NOTHING_IS_UP = 69
"""EX_UNAVAILABLE: no exit code of Airflow's, whose commands end with 0, 1 or 2."""
NO_STACK = "No stack is running. Start one with ./run up or ./run demo --keep."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options: what follows is Airflow's, options included."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="…", help="the arguments of 'airflow'")
    parser.usage = "./run airflow … (such as: ./run airflow kie doctor)"
    parser.epilog = (
        "It uses the stack of ./run up, or else the newest one that ./run demo --keep left running. "
        "For a stack with your own key, set the same variables as for ./run up."
    )


def run(options: argparse.Namespace) -> int:
    """Become a command of the running Airflow.

    :param options: ``arguments``: what follows ``airflow``.
    :return: exit code :data:`NOTHING_IS_UP` without a stack; otherwise this process ends with the command's own.
    """
    found = stack_that_is_up(local_folder())
    if found is None:
        print(NO_STACK, file=sys.stderr)
        return NOTHING_IS_UP
    home, state = found
    settings = StackSettings.loads((home / "settings.json").read_text())
    if settings.real_kie and not up_settings(os.environ).real_kie:
        print("The running stack uses your own key: set KIE_API_KEY as you did for ./run up.", file=sys.stderr)
        return NOTHING_IS_UP
    command = airflow_command(*options.arguments)
    return _become(command, environment_beside(settings, state, os.environ))


def _become(command: list[str], environment: Mapping[str, str]) -> NoReturn:
    os.execve(command[0], command, environment)  # noqa: S606 - signals, terminal and exit code are the command's own


def stack_that_is_up(folder: Path) -> tuple[Path, StackState] | None:
    """Return the home and state of the stack of ``./run up``, otherwise the newest one that is up; None for none.

    :param folder: the folder of all stacks, as :func:`local_stack.settings.local_folder` returns it.
    """
    others = sorted(folder.glob(f"*/{FILE}"), key=_written_at, reverse=True)
    for file in [folder / FILE, *others]:
        state = read_state(file.parent)
        if state is not None and state.alive and state.phase == "ready":
            return file.parent, state
    return None


def _written_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # ./run down has just taken it away
        return 0.0


def environment_beside(settings: StackSettings, state: StackState, person: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the stack's Airflow processes, for one more beside them.

    :param settings: the stack.
    :param state: its state file.
    :param person: the person's environment, for the key and the AWS settings with which they have started it.
    """
    base = base_environment(state.stack_id, person, keep_aws=settings.real_s3)
    secrets = keep_secrets(settings.home)
    return airflow_environment(base, settings, secrets, port_of(state.urls["airflow"]), state.urls, person)
