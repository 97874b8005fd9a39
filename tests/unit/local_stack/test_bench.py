"""The table of ./run bench: medians, ratios within one run, and what counts as whole."""

from __future__ import annotations

import argparse
import io
import os

import pytest
from rich.console import Console

from local_stack import bench
from local_stack.bench_meter import peak_mb
from local_stack.bench_runs import RUNS


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(arguments)


def row(name: str, per_minute: float, processor: float) -> dict[str, object]:
    return {**dict.fromkeys(bench.FIGURES), "run": name, "per_minute": per_minute, "processor_seconds": processor}


def test_the_table_shows_medians_and_their_ratios_to_the_stock_chain() -> None:
    rows = [row("stock", 10, 4.0), row("stock", 30, 3.0), row("stock", 20, 2.0), row("form", 50, 1.5)]
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(bench.table("60 songs", rows))
    lines = [line.replace("│", " ").split() for line in console.export_text().splitlines()]
    stock, form = (next(line for line in lines if line[:1] == [name]) for name in ("stock", "form"))
    assert (stock[1:3], stock[-2:]) == (["20", "3"], ["1.00", "1.00"])
    assert (form[1:3], form[-2:]) == (["50", "1.5"], ["2.50", "0.50"])


def test_the_conf_of_a_run_leaves_audio_out_unless_it_is_asked_for() -> None:
    assert bench.order(options("--songs", "9")).conf == {"archive_audio": False, "archive_lyrics": False}
    further = bench.order(options("--audio", "--conf", '{"batch": 2}'))
    assert further.conf == {"archive_audio": True, "archive_lyrics": True, "batch": 2}


def test_an_unknown_run_is_refused_before_anything_starts() -> None:
    with pytest.raises(SystemExit, match=f"unknown run 'fast'; known are {', '.join(RUNS)}"):
        bench.run(options("fast"))


def test_a_processs_peak_memory_is_read_and_one_that_has_ended_has_none() -> None:
    assert peak_mb(os.getpid()) > 10
    assert peak_mb(2**22 + 1) == 0
