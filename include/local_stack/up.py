"""``./run up``: the stack, staying up with Airflow's UI."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from local_stack.failure import explain
from local_stack.settings import StackSettings, add_sqlite, up_settings
from local_stack.stack import Stack, StackFailed, stop_kept
from local_stack.state import StackState, read_state


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options; keys and bucket come from the environment."""
    add_sqlite(parser)
    parser.epilog = (
        "With KIE_API_KEY set, Airflow uses the real KIE; with AWS settings too (AWS_PROFILE, "
        "AWS_ACCESS_KEY_ID, …) it archives to the bucket that KIE_BUCKET names. "
        "Otherwise it uses the simulator and a local S3 server."
    )


def run(options: argparse.Namespace) -> int:
    """Start the stack unless it runs, and say where it is.

    :param options: ``sqlite``.
    :return: exit code: 0 when the stack is up, 1 when a part failed or another stack is up.
    """
    settings = up_settings(os.environ, options.sqlite)
    settings.home.mkdir(parents=True, exist_ok=True)
    with _one_start_at_a_time(settings.home):
        state = read_state(settings.home)
        if state is not None and state.alive and state.phase == "ready":
            return _is_up_already(settings, state)
        if state is not None:
            stop_kept(settings.home, state)
        print("Starting the simulator, S3 and Airflow …" if not settings.real_kie else "Starting Airflow …", flush=True)
        stack = Stack(settings)
        try:
            stack.wait_until_ready()
            state = stack.keep()
        except StackFailed as failure:
            stack.stop()
            print(explain(failure), file=sys.stderr)
            return 1
        except BaseException:
            stack.stop()
            raise
    _tell(settings, state)
    return 0


def _is_up_already(asked: StackSettings, state: StackState) -> int:
    """Say what is up; that it is another stack than the one that is asked for is an error: one of them costs credits.

    :param asked: the settings of this command.
    :param state: the state of the stack that is up.
    :return: exit code.
    """
    settings = StackSettings.loads((asked.home / "settings.json").read_text())
    print("The stack is already running.")
    _tell(settings, state)
    if settings.real_kie:
        print("Key      the one with which it was started; for another one ./run down first")
    other = [what for name, what in _DIFFERENCES.items() if getattr(settings, name) != getattr(asked, name)]
    if other:
        print(
            f"It was started with {' and '.join(other)} than this command asks for. ./run down stops it; then start "
            "this command again.",
            file=sys.stderr,
        )
    return 1 if other else 0


_DIFFERENCES: Mapping[str, str] = {
    "real_kie": "another KIE",
    "real_s3": "another S3",
    "bucket": "another bucket",
    "prefix": "another prefix",
    "dags": "another folder of DAGs",
    "sqlite": "another database",
}
"""The settings by which a stack that is up may be another one than a person asks for."""


def _tell(settings: StackSettings, state: StackState) -> None:
    kie = "the real KIE" if settings.real_kie else f"simulator {state.urls.get('simulator', '')}"
    local = f"{state.urls.get('s3', '')}, its keys are in {settings.home / 'secrets.json'}"
    store = "your AWS settings" if settings.real_s3 else local
    print(f"Airflow  {state.urls['airflow']}  (no password; this machine only)")
    print(f"KIE      {kie}")
    print(f"S3       bucket {settings.bucket}: {store}")
    print(f"Logs     {settings.logs}")
    if not settings.real_kie:
        print("Songs    ./run songs makes songs on the simulator and prints their ids for the form of music_cover")
    print("Check    ./run airflow kie doctor, and all other Airflow commands")
    print("Stop     ./run down")


@contextmanager
def _one_start_at_a_time(home: Path) -> Iterator[None]:
    with (home / "up.lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another ./run up is starting this stack; waiting for it.", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
