"""``./run faults``: kills, wrong answers and S3 errors on a stack of their own, and the reckoning."""

from __future__ import annotations

import argparse
import random
import time

from fault_suite.episodes import EPISODES
from fault_suite.plan import batched_plan, full_plan
from fault_suite.report import report
from fault_suite.stage import DUPLICATE, stage
from fault_suite.suite import Suite
from local_stack.settings import fresh_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--seed", type=int, default=None, help="what everything is drawn from (default: a new one)")
    parser.add_argument("--faults", type=int, default=500, metavar="N", help="faults at least (default: 500)")
    parser.add_argument("--minutes", type=float, default=25.0, help="time for songs and kills (default: 25)")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds of the longest outages (default: 60)")
    parser.add_argument(
        "--batches", action="store_true", help="only the runs of 50 songs in one batch, and their kills"
    )
    parser.add_argument(
        "--duplicate",
        choices=DUPLICATE,
        default="named",
        help="what KIE answers to a create that it has seen before: the first task's id, or none: a new, charged task",
    )
    parser.epilog = "It always uses the simulator and a local S3: nothing is paid."


def run(options: argparse.Namespace) -> int:
    """Run the suite.

    :param options: ``seed``, ``faults``, ``minutes``, ``outage``, ``batches``, ``duplicate``.
    :return: exit code: 0 only when everything holds and as many faults struck as were asked for.
    """
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
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
        print(f"Only {outcome.injected} of {options.faults} faults struck.")
    return 0 if outcome.holds and outcome.injected >= options.faults else 1
