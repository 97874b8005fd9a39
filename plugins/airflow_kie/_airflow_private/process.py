"""Internals of Airflow's processes: the command line, and a task's or trigger's own state.

Every `airflow` command and every task process loads this module, so it imports nothing heavy.
"""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any, cast

from airflow_kie.threads import in_thread

log = logging.getLogger(__name__)

_ASIDES = {
    "airflow.providers.amazon": logging.WARNING,  # where the credentials of each S3 client come from
    "airflow.sdk._shared.secrets_masker": logging.ERROR,  # that a secret is too short to be masked
}


def command_line() -> Any:
    """Return the module whose `Arg`, `ActionCommand` and `GroupCommand` a provider's commands are made of.

    Airflow 3.3.2: `airflow.cli.cli_config`, as its page "CLI Commands" for providers shows. Without it there is no
    `airflow kie`; Airflow says so and its other commands go on.
    """
    from airflow.cli import cli_config

    return cli_config


def begin_command() -> None:
    """Let a command find connections in Airflow's database, as `airflow connections test` does, and log to stderr.

    Airflow 3.3.2: the environment variable `_AIRFLOW_PROCESS_CONTEXT`, and `cli.utils`. Without the first a command
    sees only connections of the environment and of a secrets backend; without the second, log lines come between what
    it prints.

    Airflow 3.3.2: `PER_LOGGER_LEVELS`. Without it, lines that say nothing to the person come between those that do.
    """
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    for name, level in _ASIDES.items():
        logging.getLogger(name).setLevel(level)
    for name in ("airflow._shared.logging.structlog", "airflow.sdk._shared.logging.structlog"):
        levels = getattr(sys.modules.get(name), "PER_LOGGER_LEVELS", None)
        if levels is not None:
            levels.update(_ASIDES)
    try:
        from airflow.cli.utils import redirect_stdout_log_handlers_to_stderr
    except ImportError:
        return
    redirect_stdout_log_handlers_to_stderr()


def audited(function: Callable[[Namespace], int]) -> Callable[[Namespace], int]:
    """Let Airflow's audit log record a command: event ``cli_<the function's name>``, who, where, the command line.

    Airflow 3.3.2: `utils.cli.action_cli`, as its own commands use it. Without it the command fails: a change of the
    switch that nobody can find later is worse than pausing the DAGs.
    """
    from airflow.utils.cli import action_cli

    return cast("Callable[[Namespace], int]", action_cli(function, check_db=False))  # type: ignore[no-untyped-call]


def in_task() -> bool:
    """Return whether this is a process that Airflow's supervisor has started: a task, or a trigger.

    Airflow 3.3.2: `sdk.execution_time.task_runner.SUPERVISOR_COMMS`. Without it the database is asked instead, which
    no task reaches: the caller then takes it that nothing may be paid for.
    """
    return getattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS", None) is not None


async def state_of(task_instance: Any) -> str | None:
    """Return the state of a trigger's task instance, None where it has none or it cannot be read.

    Airflow 3.3.2: `task_instance` of a trigger, and `RuntimeTaskInstance.get_task_states`, which Airflow's own triggers
    call in a thread. Without it a trigger whose task was resumed by a callback logs that it was cancelled.

    :param task_instance: as the triggerer gives it to the trigger.
    """
    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        ti = task_instance
        states = await in_thread(
            RuntimeTaskInstance.get_task_states,
            dag_id=ti.dag_id,
            task_ids=[ti.task_id],
            run_ids=[ti.run_id],
            map_index=ti.map_index,
        )
        name = ti.task_id if ti.map_index in (None, -1) else f"{ti.task_id}_{ti.map_index}"
        state = (states.get(ti.run_id) or {}).get(name)
    except Exception as missing:  # noqa: BLE001 - only a log message depends on it
        log.debug("The state of a trigger's task cannot be read: %s", missing)
        return None
    return None if state is None else str(getattr(state, "value", state))
