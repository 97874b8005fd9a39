"""``python -m long_run``, which ``./run faults --hours N`` starts in namespaces of its own where those are allowed."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from distributed_network import Network
from distributed_stack import distributed_stack
from fault_suite.profile import AIRFLOW, SPEED
from fault_suite.report import report
from fault_suite.s3_proxy import S3Proxy
from long_run.disturbances import plan
from long_run.disturber import Disturber
from long_run.machines import SERVERS, WITHOUT, Machines, machines
from long_run.stage import DistributedRunning, LongStage
from long_run.suite import LongSuite


def main(words: list[str]) -> int:
    """Run and report.

    :return: exit code: 0 only when everything holds.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--hours", type=float, required=True)
    parser.add_argument("--duplicate", default="named")
    parser.add_argument("--machines", action="store_true")
    options = parser.parse_args(words)
    began, seconds = time.monotonic(), options.hours * 3600

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    with _stage(options.home, seconds, options.duplicate, with_machines=options.machines) as (stage, there):
        lacking = WITHOUT if not there else () if there.clock else ("clock jumped",)
        say(f"The stack is up. Not to be had here: {', '.join(lacking) or 'nothing'}.")
        planned = [one for one in plan(options.seed, seconds) if one.name not in lacking]
        disturber = Disturber(stage.running.distributed, stage, there, planned, say)  # type: ignore[attr-defined]
        outcome = LongSuite(stage, options.seed, say, disturber).run(seconds)
    print(*report(outcome), sep="\n")
    print(f"Processes that ended by themselves and were started again: {dict(disturber.ended) or 'none'}")
    print(f"Not to be had here: {', '.join(lacking) or 'nothing'}")
    return 0 if outcome.holds else 1


@contextlib.contextmanager
def _stage(
    home: Path, seconds: float, duplicate: str, *, with_machines: bool
) -> Iterator[tuple[LongStage, Machines | None]]:
    """Start everything and give it."""
    with contextlib.ExitStack() as open_until_the_end:
        there: Machines | None = None
        if with_machines:
            there = open_until_the_end.enter_context(machines(home / "machines", seconds + 3600))
        upstream: list[str] = []
        proxy = S3Proxy(lambda: upstream[0], SERVERS["s3"] if there else "127.0.0.1")
        open_until_the_end.enter_context(proxy)
        network = there or Network()
        behind = network.with_s3(urlsplit(proxy.url).netloc)
        values = {"SIMULATOR_SPEED": str(SPEED), "AIRFLOW_WORKER_CONCURRENCY": "4", "AIRFLOW_TASK_QUEUED_TIMEOUT": "60"}
        stack = open_until_the_end.enter_context(distributed_stack(home, network=behind, airflow=AIRFLOW, **values))
        upstream.append(stack.s3_url)
        stage = LongStage(DistributedRunning(stack), proxy, duplicate)  # type: ignore[arg-type]
        stage.running.simulator.set(plain_images=False, **({"duplicate": "none"} if duplicate == "none" else {}))
        for dag_id in ("music_cover", "cover_inbox", "music_generate"):
            stage.airflow.wait_for_dag(dag_id, 180.0)
        yield stage, there


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
