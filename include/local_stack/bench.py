"""``./run bench``: songs by ours and by Airflow's own operators, and empty tasks, on one Airflow: one table."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fault_suite.profile import aws_connection
from fault_suite.s3_proxy import Rule
from local_stack import bench_library
from local_stack.bench_meter import Meter
from local_stack.bench_proxy import RecordingProxy
from local_stack.bench_runs import KIE_HTTP, RUNS, Order
from local_stack.parts import AIRFLOW_PARTS
from local_stack.running import RunningStack, running_stack
from local_stack.secret_keys import keep_secrets
from local_stack.settings import PROJECT, fresh_folder
from local_stack.state import read_state

FIGURES: Mapping[str, str] = {
    "per_minute": "songs a minute",
    "processor_seconds": "processor-seconds",
    "task_instances": "task instances",
    "api_calls": "api-server calls",
    "s3_requests": "S3 requests",
    "kie_requests": "KIE requests",
    "task_mb": "MB of a task",
    "first_create": "s to first create",
    "seconds": "s in all",
    "done": "songs",
}
"""The columns: the second to the sixth for each song, the seventh the most of all; of ``empty`` a song is a task."""
UNLIMITED = 1_000_000
"""Creates in 10 s of a KIE that is not the limit: the connection says so too, since the package keeps the rate."""
_S3_DELAY, _KIE_DELAY = 0.04, 0.2
DAGS = (PROJECT / "dags" / "music_cover.py", *sorted((PROJECT / "benchmarks" / "dags").glob("[es]*.py")))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help=f"any of {', '.join(RUNS)} (default: empty stock form); or only library"
    )
    parser.add_argument("--songs", type=int, default=60, help="songs per run (default: 60)")
    parser.add_argument("--times", type=int, default=3, help="number of repetitions (default: 3)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds that KIE takes for a cover (default: 20)")
    parser.add_argument("--within", type=float, default=60.0, help="seconds over which events are spread (default: 60)")
    parser.add_argument("--unlimited", action="store_true", help="without KIE's rate, 20 creates in 10 s")
    parser.add_argument("--plain", action="store_true", help="pictures of 18 KB, which cost the simulator no time")
    parser.add_argument("--delay", action="store_true", help="40 ms before each answer of S3, 200 ms before KIE's")
    parser.add_argument("--audio", action="store_true", help="archive audio and lyrics too")
    parser.add_argument("--sqlite", action="store_true", help="only on SQLite")
    parser.add_argument("--postgres", action="store_true", help="only on PostgreSQL (default: both)")
    parser.add_argument("--conf", type=json.loads, default={}, help="further conf of music_cover, as JSON")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="environment of Airflow")
    parser.add_argument("--calls", action="store_true", help="list every kind of call and request, per song")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.epilog = "Examples are in benchmarks/README.md. It always uses the simulator and a local S3."


def run(options: argparse.Namespace) -> int:
    """Run the benchmark and print a table for each database.

    :param options: as above.
    :return: exit code: 0 only when every song was archived.
    """
    console, rows = Console(highlight=False, width=190), []
    names = options.runs or ["empty", "stock", "form"]
    if names == ["library"]:
        return bench_library.run(options)
    if unknown := set(names) - set(RUNS):
        raise SystemExit(f"./run bench: unknown run {unknown.pop()!r}; known are {', '.join(RUNS)}")
    databases = [name for name in ("postgres", "sqlite") if getattr(options, name)] or ["postgres", "sqlite"]
    for database in databases:
        with stack(options, sqlite=database == "sqlite") as (running, seen):
            for time_number in range(options.times):
                for name in names:
                    seen.clear()
                    row, kinds = measure(running, name, order(options))
                    rows.append({"database": database, "run": name, **row})
                    console.print(f"{database} {time_number + 1} {name}: {json.dumps(rows[-1])}")
                    for kind, count in sorted((kinds + seen).items()) if options.calls else ():
                        console.print(f"{count / max(row['done'], 1):8.2f}  {kind}")
        console.print(table(f"{options.songs} songs on {database}", [r for r in rows if r["database"] == database]))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0 if all(row["whole"] for row in rows) else 1


def order(options: argparse.Namespace) -> Order:
    """Return what is to be run."""
    conf = {"archive_audio": options.audio, "archive_lyrics": options.audio, **options.conf}
    return Order(options.songs, options.seconds, conf, options.within)


@contextmanager
def stack(options: argparse.Namespace, *, sqlite: bool) -> Iterator[tuple[RunningStack, Counter[str]]]:
    """Give a stack that is up and whose DAGs are known, warmed by one song by each way.

    :return: the stack, and the requests to S3 by their kind, if these are asked for.
    """
    seen: Counter[str] = Counter()
    home = fresh_folder("bench")
    with ExitStack() as stack:
        dags = home / "dags"
        dags.mkdir()
        for file in DAGS:
            shutil.copy(file, dags)
        settings = {**KIE_HTTP, **dict(item.split("=", 1) for item in options.set)}
        if options.delay or options.calls:
            proxy = stack.enter_context(RecordingProxy(lambda: _s3(home), seen=seen))
            proxy.add(Rule("slow", seconds=_S3_DELAY, times=-1 if options.delay else 0))
            settings["AIRFLOW_CONN_AWS_DEFAULT"] = aws_connection(proxy.url, keep_secrets(home))
        extra = {"rate_limit": UNLIMITED} if options.unlimited else {}
        running = stack.enter_context(
            running_stack(home, dags=dags, sqlite=sqlite, airflow=settings, simulator_extra=extra)
        )
        prepare(running, options)
        yield running, seen


def prepare(running: RunningStack, options: argparse.Namespace) -> None:
    """Set the simulator, wait for the DAGs, and run each once."""
    simulator = running.simulator
    running.bucket.make_bucket()
    simulator.set_credits(1e9)
    for dag_id in ("music_cover", "stock_chain", "empty_tasks"):
        running.airflow.wait_for_dag(dag_id)
    simulator.add_fault("task", "takes", kind="cover", seconds=1, times=3)
    for name in ("empty", "stock", "form"):
        RUNS[name](running, Order(1, 1.0))
    simulator.clear_faults()
    simulator.add_fault("task", "takes", kind="cover", seconds=options.seconds, times=-1)
    if options.unlimited:
        simulator.set(rate_limit=UNLIMITED)
    simulator.set(plain_images=options.plain)
    if options.delay:
        for phase in ("create", "details"):
            simulator.add_fault(phase, "slow", seconds=_KIE_DELAY, times=-1)


def measure(running: RunningStack, name: str, what: Order) -> tuple[dict[str, Any], Counter[str]]:
    """Run once and return the figures, by the names of :data:`FIGURES`, and all calls and requests by kind."""
    with Meter(running) as meter:
        outcome = RUNS[name](running, what)
        time.sleep(2.0)  # what Airflow still does for it
    wanted = what.songs - (name == "stuck")
    done, counts = max(outcome.done, 1), meter.counts
    counts["s3_requests"] -= outcome.asked
    per_song = {
        key: round(counts[key] / done, 2) for key in FIGURES if key in counts and key not in ("task_mb", "seconds")
    }
    figures = {
        "per_minute": round(60 * outcome.done / outcome.seconds, 1),
        **per_song,
        "task_mb": round(counts["task_mb"]),
        "task_instances": round(outcome.task_instances / done, 2),
        "first_create": outcome.first_create,
        "seconds": round(outcome.seconds, 1),
        "done": outcome.done,
        "whole": name == "empty" or outcome.done == wanted,
    }
    figures |= {part: round(counts[part] / done, 2) for part in AIRFLOW_PARTS}
    return figures, meter.kinds


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the medians of each run, and the ratios to the stock chain."""
    found = Table(title=f"{title}, medians")
    for column in ("run", *FIGURES.values(), "x stock speed", "x stock processor"):
        found.add_column(column, justify="left" if column == "run" else "right")
    medians = {
        name: _medians([row for row in rows if row["run"] == name]) for name in dict.fromkeys(r["run"] for r in rows)
    }
    base = medians.get("stock")
    for name, row in medians.items():
        ratios = [_ratio(row, base, figure) for figure in ("per_minute", "processor_seconds")]
        found.add_row(name, *(_shown(row[figure]) for figure in FIGURES), *ratios)
    return found


def _medians(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    values = {figure: [row[figure] for row in rows if row[figure] is not None] for figure in FIGURES}
    return {figure: statistics.median(found) if found else None for figure, found in values.items()}


def _ratio(row: Mapping[str, Any], base: Mapping[str, Any] | None, figure: str) -> str:
    return f"{row[figure] / base[figure]:.2f}" if base and base[figure] else ""


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _s3(home: Path) -> str:
    state = read_state(home)
    return state.urls["s3"] if state else "http://127.0.0.1:1"
