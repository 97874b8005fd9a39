"""How much of KIE's rate do eight processes use that share one limiter, and does KIE reject any? One JSON line a store.

    .venv/bin/python benchmarks/limiter.py [--seconds 62] [--workers 8] [sqlite postgres]

KIE is simulated with its real limit: 20 creates in 10 seconds, counted when a request arrives. Every process creates
music tasks as fast as the limiter lets it. Postgres is a real server, started for this (Debian's package postgresql).
`share_of_rate` is the steady rate after the first 20 creates, as a part of 2 a second: 10.0 of 10.4 seconds are 96.2 %,
so the limiter itself may cost 1.2 %. The target is 95 %, with nothing rejected.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for folder in ("tests", "include"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

CREATES, SECONDS = 20, 10.0


@contextlib.contextmanager
def store(name: str) -> Iterator[str]:
    """Give the URL of a store of that kind."""
    from integration.databases import postgres_server

    if name == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/creates.db"
    else:
        with postgres_server() as url:
            yield url


def measure(name: str, *, workers: int, seconds: float) -> dict[str, Any]:
    """Let the workers create tasks for that long and return what came of it."""
    from kie_simulator.server import SimulatorServer
    from limiter_burst import burst, most_in_window

    with (
        store(name) as url,
        SimulatorServer(rate_limit=CREATES, rate_window=SECONDS, music_seconds=3600, credits=1e6) as server,
    ):
        creates = burst(server, url, workers=workers, until=seconds, creates=CREATES, seconds=SECONDS)
    by_worker = Counter(create.worker for create in creates)
    steady = (len(creates) - CREATES) / (creates[-1].at - creates[CREATES - 1].at)
    return {
        "store": name,
        "workers": workers,
        "creates": len(creates),
        "rejected": sum(create.code == 429 for create in creates),
        "most_in_10_s": most_in_window(creates, SECONDS),
        "share_of_rate": round(steady / (CREATES / SECONDS), 4),
        "fewest_and_most_of_a_worker": [min(by_worker.values()), max(by_worker.values())],
        "load": [round(os.getloadavg()[0], 1), os.cpu_count()],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="*", default=["sqlite", "postgres"])
    parser.add_argument("--seconds", type=float, default=62.0)
    parser.add_argument("--workers", type=int, default=8)
    given = parser.parse_args()
    for kind in given.stores:
        print(json.dumps(measure(kind, workers=given.workers, seconds=given.seconds)), flush=True)
