"""``./run faults``: kills, wrong answers and S3 errors on a stack of their own, and the report."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from fault_suite.episodes import EPISODES
from fault_suite.plan import batched_plan, full_plan
from fault_suite.report import report
from fault_suite.stage import DUPLICATE, stage
from fault_suite.suite import Suite
from local_stack.settings import PROJECT, fresh_folder

NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Starts a command in namespaces of its own: whatever it makes, mounts or leaves running ends with it."""
_AFTERWARDS = 2400.0
"""Seconds that a long run may take beyond its hours, to start, to archive what is left and to reckon up."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--seed", type=int, default=None, help="seed of all random choices (default: a new one)")
    parser.add_argument("--faults", type=int, default=500, metavar="N", help="minimum number of faults (default: 500)")
    parser.add_argument("--minutes", type=float, default=25.0, help="minutes for songs and kills (default: 25)")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds of the longest outages (default: 60)")
    parser.add_argument(
        "--batches", action="store_true", help="only the runs of 50 songs in one batch, and their kills"
    )
    parser.add_argument(
        "--hours",
        type=float,
        default=None,
        metavar="N",
        help="disturb the distributed stack for this long (kills, outages, stopped Postgres and Redis, clock jumps, "
        "full disks, network partitions) under runs of 50 songs in one batch; only --seed and --duplicate apply too",
    )
    parser.add_argument(
        "--duplicate",
        choices=DUPLICATE,
        default="named",
        help="KIE's answer to a repeated create: the first task's id, or none: a new, charged task",
    )
    parser.epilog = "It always uses the simulator and a local S3: nothing is paid."


def run(options: argparse.Namespace) -> int:
    """Run the suite.

    :param options: ``seed``, ``faults``, ``minutes``, ``outage``, ``batches``, ``hours``, ``duplicate``.
    :return: exit code: 0 only when everything holds and as many faults struck as were asked for.
    """
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    if options.hours:
        return _long_run(options.hours, seed, options.duplicate, fresh_folder("faults"))
    batched = options.batches
    plan = batched_plan(seed, options.faults) if batched else full_plan(seed, options.faults, tuple(EPISODES))
    home = fresh_folder("faults")
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    many = f"{len(plan.batches)} runs of many"
    say(f"Seed {seed}: {len(plan.songs)} songs with faults, {many}, {len(plan.kills)} kills; stack and logs in {home}")
    with stage(home, duplicate=options.duplicate) as stack:
        outcome = Suite(stack, plan, say, outage=options.outage).run(options.minutes * 60)
    for line in report(outcome):
        print(line)
    if outcome.injected < options.faults:
        print(f"Only {outcome.injected} of {options.faults} faults took effect.")
    return 0 if outcome.holds and outcome.injected >= options.faults else 1


def _long_run(hours: float, seed: int, duplicate: str, home: Path) -> int:
    """Start ``tests/long_run``, in namespaces of its own where this machine allows them.

    :return: exit code: 0 only when everything holds.
    """
    machines = sys.platform == "linux" and subprocess.run([*NAMESPACES, "true"], check=False).returncode == 0
    words = ["--home", str(home), "--seed", str(seed), "--hours", str(hours), "--duplicate", duplicate]
    command = [sys.executable, "-m", "long_run", *words]
    if machines:  # the shell waits for whatever loses its parent, as `init: true` has it
        command = [*NAMESPACES, "sh", "-c", '"$@"; exit $?', "sh", *command, "--machines"]
    paths = [str(PROJECT / "tests"), str(PROJECT / "include"), str(PROJECT)]
    print(f"Seed {seed}, {hours:g} hours on the distributed stack; logs in {home}", flush=True)
    try:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.run(command, env=environment, timeout=hours * 3600 + _AFTERWARDS, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"It had not ended {_AFTERWARDS:.0f} s after its time, and was ended.")
        return 1
