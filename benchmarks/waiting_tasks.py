"""Does listening for callbacks load Airflow more, the more tasks wait? Prints one JSON line for each number.

    .venv/bin/python benchmarks/waiting_tasks.py [--numbers 10 1000] [--seconds 60]

One stack with callbacks on and its metadata database in PostgreSQL, one triggerer. Songs that
never end are waited for by deferred sensors; nothing else goes on. Counted in a quiet window: transactions of the
database (all of Airflow's processes), requests to the api-server, and reads that reach the KIE simulator, each per
second; and the triggerer's CPU seconds per second. What grows with the number can only come from waiting.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stacks import postgres_stack

ENDLESS = 1_000_000
"""Simulated seconds that the songs take."""


def wait_until_deferred(running: Any, number: int, seconds: float = 1200.0) -> None:
    """Wait until so many tasks are deferred."""
    path = "/dags/waiting_songs/dagRuns/~/taskInstances"
    deadline = time.monotonic() + seconds
    while running.airflow.call("GET", path, state="deferred", limit=1)["total_entries"] < number:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{number} tasks were not deferred within {seconds:.0f} s.")
        time.sleep(1.0)


def counts(running: Any, url: str) -> dict[str, float]:
    """Return what has been counted so far."""
    import psutil
    import psycopg

    with psycopg.connect(url) as database:
        row = database.execute(
            "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()"
        ).fetchone()
    assert row is not None
    log = (running.settings.logs / "api-server.log").read_text(errors="replace")  # one such line for each request
    times = psutil.Process(running.pid("triggerer")).cpu_times()
    children = [child.cpu_times() for child in psutil.Process(running.pid("triggerer")).children(recursive=True)]
    return {
        "transactions": float(row[0]),
        "api_requests": float(log.count("request finished")),
        "kie_reads": float(sum(running.simulator.state()["reads"].values())),
        "triggerer_cpu_seconds": sum(part.user + part.system for part in (times, *children)),
    }


def measure(numbers: list[int], seconds: float) -> Iterator[dict[str, float]]:
    """Yield the rates for each number of waiting tasks, smallest first.

    :param numbers: how many tasks wait.
    :param seconds: length of the window.
    """
    settings = {"AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "2000", "AIRFLOW__CORE__MAX_MAP_LENGTH": "2000"}
    dag_file = Path(__file__).parent / "dags" / "waiting_songs.py"
    with postgres_stack([dag_file], settings) as (running, url):
        running.airflow.wait_for_dag("waiting_songs")
        waiting = 0
        for number in sorted(numbers):
            songs = [s.task_id for s in running.simulator.make_music(count=number - waiting, state="PENDING")]
            for song in songs:
                running.simulator.add_fault("task", "takes", task_id=song, seconds=ENDLESS)
            running.airflow.trigger("waiting_songs", {"music_task_ids": songs})
            wait_until_deferred(running, number)
            waiting = number
            time.sleep(15.0)  # what the deferring itself has left to do
            before, began = counts(running, url), time.monotonic()
            time.sleep(seconds)
            after, took = counts(running, url), time.monotonic() - began
            yield {
                "waiting": number,
                "seconds": round(took, 1),
                **{f"{name}_per_second": round((after[name] - before[name]) / took, 3) for name in after},
            }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--numbers", type=int, nargs="+", default=[10, 1000], help="waiting tasks (default: 10 1000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each window (default: 60)")
    chosen = parser.parse_args()
    for line in measure(chosen.numbers, chosen.seconds):
        print(json.dumps(line), flush=True)
