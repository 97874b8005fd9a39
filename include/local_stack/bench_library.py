"""``./run bench library``: how long the library's pages take at 10,000 and 100,000 results, cold and warm.

Cold is the first page of an api-server that has just begun, on a machine where none has read the index before, and on
one where another has; warm is each page asked for again. Without and with 40 ms before each answer of S3.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import statistics
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from airflow_kie.archive.index.entry import IndexEntry, IndexFile
from airflow_kie.archive.index.segments import ROWS, Index
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.record_base import Label
from airflow_kie.archive.s3.bucket import Bucket
from fault_suite.profile import aws_connection
from fault_suite.s3_proxy import Rule
from local_stack.bench_proxy import RecordingProxy
from local_stack.bucket import s3_client
from local_stack.running import RunningStack, running_stack
from local_stack.secret_keys import keep_secrets
from local_stack.settings import fresh_folder
from local_stack.state import read_state

COUNTS = (10_000, 100_000)
DELAY = 0.04
_LONGEST = 120.0
"""Seconds that are waited for an api-server, and for the whole index, before the measurement ends."""
_NEW, _SOME = 200, 1
"""Objects that are not compacted yet, and the lines of each."""
_MIDDLE = hashlib.sha256(b"5000").hexdigest()[:32]
PAGES: Mapping[str, str] = {
    "first page": "/library",
    "page 200": "/library?page=200",
    "search, few": "/library?q=song+004999",
    "search, many": "/library?q=harb+ni",
    "by title, one model": "/library?sort=title&model=V6",
    "one label": "/library?label=album:+A-3",
    "needs a choice": "/library?state=needs+a+choice",
    "neighbours": f"/library/neighbours/suno.music/{_MIDDLE}",
}
_WORDS = (
    *("harbour", "night", "slow", "machine", "velvet", "copper", "salt", "paper"),
    *("lantern", "glass", "mountain", "river", "north", "bound", "summer", "rain"),
)
_TOTAL = re.compile(r"([\d,]+) results?(; the index is still being read)?")


def run(options: argparse.Namespace) -> int:
    """Measure, and print a table.

    :param options: of the command; ``json`` alone counts here.
    :return: exit code: 0 only when every page came within a second.
    """
    home, console, rows = fresh_folder("bench"), Console(highlight=False, width=160), []
    temporary = home / "tmp"
    temporary.mkdir()
    proxy = RecordingProxy(lambda: _s3(home))
    with proxy:
        settings = {
            "AIRFLOW_CONN_AWS_DEFAULT": aws_connection(proxy.url, keep_secrets(home)),
            "TMPDIR": str(temporary),
        }
        with running_stack(home, sqlite=True, airflow=settings) as running:
            index = _index(running)
            for before, count in zip((0, *COUNTS), COUNTS, strict=False):
                fill(index, before, count)
                for delay in (0.0, DELAY):
                    rule = proxy.add(Rule("slow", seconds=delay, times=-1 if delay else 0))
                    for known in (False, True):
                        stop_api_server(running)
                        for folder in () if known else temporary.glob("airflow-kie-library-*"):
                            shutil.rmtree(folder)
                        rows.append({"results": count, "delay": delay, "known": known, **measure(running, proxy)})
                        console.print(json.dumps(rows[-1]))
                    proxy.remove(rule)
    console.print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0 if all(max(row["cold"], *row["warm"].values()) < 1 for row in rows) else 1


def measure(running: RunningStack, proxy: RecordingProxy) -> dict[str, Any]:
    """Return the seconds that the pages of a starting api-server take, and the objects of the index that they read."""
    with httpx.Client(base_url=running.state.urls["airflow"], trust_env=False, timeout=300) as http:
        http.cookies["_token"] = _logged_in(http)
        began = time.perf_counter()
        http.get("/kie/songs/none")  # the app itself is loaded with its first request
        loaded = time.perf_counter() - began
        process = running.state.parts["api-server"].process()
        before = _processor_seconds(process)
        proxy.seen.clear()
        began = time.perf_counter()
        first = http.get("/kie/library")
        cold = time.perf_counter() - began
        found = _shown(first)
        at_first, objects = found[0], _objects(proxy)
        while not found[1]:
            if time.perf_counter() - began > _LONGEST:
                raise SystemExit(f"./run bench library: the index was not read within {_LONGEST:.0f} s")
            time.sleep(0.5)
            found = _shown(http.get("/kie/library"))
        whole = time.perf_counter() - began
        read, reading = _objects(proxy), _processor_seconds(process) - before
        proxy.seen.clear()
        warm, worked = {}, {}
        for name, path in PAGES.items():
            http.get(f"/kie{path}").raise_for_status()
            times, before = [], _processor_seconds(process)
            for _ in range(5):
                began = time.perf_counter()
                http.get(f"/kie{path}").raise_for_status()
                times.append(time.perf_counter() - began)
            warm[name] = round(statistics.median(times), 3)
            worked[name] = round((_processor_seconds(process) - before) / 5, 3)
        return {
            "loaded": round(loaded, 3),
            "cold": round(cold, 3),
            "shown_cold": at_first,
            "objects_cold": objects,
            "whole": round(whole, 1),
            "processor_seconds_whole": round(reading, 1),
            "objects_whole": read,
            "warm": warm,
            "processor_seconds": worked,
            "objects_warm": _objects(proxy),
        }


def stop_api_server(running: RunningStack) -> None:
    """End the api-server, its children too; the stack starts it again."""
    process = running.state.parts["api-server"].process()
    children = process.children(recursive=True) if process else []
    running.kill("api-server")
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def fill(index: Index, before: int, count: int) -> None:
    """Let an index have so many results: in large objects, as compaction leaves them, and some that are new.

    :param before: how many it has.
    """
    entries = (_entry(number) for number in range(before, count))
    new = [list(islice(entries, _SOME)) for _ in range(_NEW)]
    while some := list(islice(entries, ROWS)):
        index.add(some[::-1])
    for some in new:
        index.add(some)


def table(rows: list[dict[str, Any]]) -> Table:
    """Return the table of what was measured."""
    found = Table(title="library: seconds")
    whole = ("whole index", "processor-seconds of it")
    columns = ("results", "S3's delay", "index known", "cold", "results on it", *whole, *PAGES)
    for column in columns:
        found.add_column(column, justify="right")
    for row in rows:
        facts = (f"{row['results']:,}", f"{row['delay'] * 1000:.0f} ms", "yes" if row["known"] else "no")
        once = (f"{row[name]:,}" for name in ("cold", "shown_cold", "whole", "processor_seconds_whole"))
        found.add_row(*facts, *once, *map(str, row["warm"].values()))
    return found


def _entry(number: int) -> IndexEntry:
    at = datetime.now(UTC) - timedelta(minutes=7 * number)
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    words = [_WORDS[int(digit, 16)] for digit in digest[:40]]
    files = tuple(
        IndexFile(name=f"{kind}-{n}.{ending}", kind=kind, position=n, content_type=content_type, size=900_000)
        for kind, ending, content_type in (("cover", "png", "image/png"), ("track", "mp3", "audio/mpeg"))
        for n in (1, 2)
    )
    return IndexEntry(
        id=digest[:32],
        operation="suno.music",
        title=f"Song {number:06d}, {words[0]}",
        prompt=" ".join(words),
        tags=", ".join(words[2:6]),
        model=("V6", "V5_5")[number % 2],
        duration_seconds=120.0 + number % 90,
        labels=(Label(name="album", value=f"A-{number // 500}"),),
        files=files,
        archived_at=at,
        updated_at=at,
        expires_at=at + timedelta(days=14),
    )


def _index(running: RunningStack) -> Index:
    bucket = Bucket(s3_client(running.state.urls["s3"], running.secrets), running.settings.bucket)
    bucket.create_on_loopback()
    return Index(bucket, ArchiveKeys("songs"))


def _logged_in(http: httpx.Client) -> str:
    until = time.monotonic() + _LONGEST
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            answer = http.get("/auth/token")
            if answer.is_success:
                return str(answer.json()["access_token"])
        time.sleep(0.2)
    raise SystemExit(f"./run bench library: the api-server did not come back within {_LONGEST:.0f} s")


def _shown(answer: httpx.Response) -> tuple[int, bool]:
    """Return how many results a page names, and whether it says that these are all."""
    found = _TOTAL.search(answer.raise_for_status().text)
    assert found is not None, answer.text[:2000]  # noqa: S101 - another page than the library's
    return int(found[1].replace(",", "")), not found[2]


def _objects(proxy: RecordingProxy) -> int:
    return sum(
        count
        for kind, count in proxy.seen.items()
        if kind.startswith("S3 GET") and "_index/" in kind and "list of" not in kind
    )


def _processor_seconds(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    known = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in known)


def _s3(home: Any) -> str:
    state = read_state(home)
    return state.urls["s3"] if state else "http://127.0.0.1:1"
