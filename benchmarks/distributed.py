"""What songs cost on the distributed stack: ``python benchmarks/distributed.py --songs 30``.

Two schedulers, two triggerers and two workers as docker-compose.yaml starts them, on this machine; see
tests/distributed_stack.py. It prints how long a run took, the processor's seconds for each kind of process, the
connections to Postgres at most, and the most creates in any ten seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "include"), str(PROJECT / "tests")]

import psutil  # noqa: E402
import psycopg  # noqa: E402

from distributed_stack import DistributedStack, distributed_stack  # noqa: E402
from local_stack import distributed_demo  # noqa: E402


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=30)
    parser.add_argument("--speed", default="4", help="simulated seconds in a second")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="distributed-") as home,
        distributed_stack(Path(home), SIMULATOR_SPEED=arguments.speed) as stack,
    ):
        print(json.dumps({"seconds to start": stack.seconds}, indent=1), flush=True)
        print(json.dumps(measure(stack, arguments.songs), indent=1), flush=True)


def measure(stack: DistributedStack, songs: int) -> dict[str, object]:
    """Run songs and return what that cost."""
    airflow, simulator = stack.login(), stack.simulator
    airflow.wait_for_dag(distributed_demo.DAG)
    idle, began = processor_seconds(stack), time.monotonic()
    time.sleep(20)
    base = {kind: (now - idle[kind]) / 20 for kind, now in processor_seconds(stack).items()}
    before, began = processor_seconds(stack), time.monotonic()
    demo = distributed_demo.start(airflow, simulator, songs)
    address = stack.here.text(stack.compose.environment("worker")["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    connections: Counter[str] = Counter()
    with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as database:
        while (state := airflow.run_state(distributed_demo.DAG, demo.run_id)) not in ("success", "failed"):
            open_now = database.execute("SELECT count(*) FROM pg_stat_activity WHERE usename IS NOT NULL").fetchone()
            connections["most"] = max(connections["most"], open_now[0] if open_now else 0)
            time.sleep(0.5)
    seconds = time.monotonic() - began
    after = processor_seconds(stack)
    times = sorted(charge["real_at"] for charge in simulator.ledger())
    return {
        "state": state,
        "songs": songs,
        "seconds": round(seconds, 1),
        "processor's seconds, idle, in a second": {kind: round(value, 3) for kind, value in base.items()},
        "processor's seconds for a song": {kind: round((after[kind] - before[kind]) / songs, 2) for kind in before},
        "memory, MiB (PSS)": memory(stack),
        "connections to Postgres at most": connections["most"],
        "creates in 10 s at most": max(len([at for at in times if first <= at < first + 10]) for first in times),
        "creates refused by KIE's rate": simulator.state()["rate_limited"],
    }


def processor_seconds(stack: DistributedStack) -> dict[str, float]:
    """Return what all processes of each kind have used so far, ended children included."""
    used: dict[str, float] = defaultdict(float)
    for name, running in stack.running.items():
        process = psutil.Process(running.pid)
        for one in [process, *process.children(recursive=True)]:
            try:
                used[name.rpartition("-")[0]] += sum(one.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
    return dict(used)


def memory(stack: DistributedStack) -> dict[str, int]:
    """Return the memory of each kind of process, shared pages in part."""
    used: dict[str, float] = defaultdict(float)
    for name, running in stack.running.items():
        process = psutil.Process(running.pid)
        for one in [process, *process.children(recursive=True)]:
            try:
                used[name.rpartition("-")[0]] += one.memory_full_info().pss / 2**20
            except psutil.NoSuchProcess:
                continue
    return {kind: round(value) for kind, value in used.items()}


if __name__ == "__main__":
    main()
