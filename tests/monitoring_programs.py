"""Prometheus, promtool and statsd_exporter as people run them, on free ports of 127.0.0.1.

Where there is no statsd_exporter, which Debian does not have, ours of `include/local_stack` takes its place.
"""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

import local_stack.statsd_exporter
from local_stack.processes import end, start
from unused_ports import unused_port

HOW_TO_GET: Mapping[str, str] = {
    "prometheus": "apt-get install prometheus",
    "promtool": "apt-get install prometheus",
}
_STARTS_WITHIN_SECONDS = 60.0


@dataclass(frozen=True)
class Alert:
    """An alert that fires, or is about to.

    :param name: the rule's name, with the value of the label that distinguishes its alerts.
    :param state: ``firing`` or ``pending``.
    :param times: at which evaluations, in epoch seconds.
    """

    name: str
    state: str
    times: tuple[float, ...]


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus.

    :param client: calls it.
    """

    client: httpx.Client

    def ask(self, path: str, **query: Any) -> Any:
        """Call its API and return the data of the answer."""
        answer = self.client.get(f"/api/v1/{path}", params=query)
        answer.raise_for_status()
        return answer.json()["data"]

    def now(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that a query gives now."""
        return list(self.ask("query", query=expression)["result"])

    def over(self, expression: str, begin: float, until: float, step: float = 1.0) -> list[dict[str, Any]]:
        """Return the series that a query gives over a time.

        :param begin: epoch seconds.
        :param until: epoch seconds.
        :param step: seconds between two values.
        """
        asked = {"query": expression, "start": f"{begin:.3f}", "end": f"{until:.3f}", "step": step}
        return list(self.ask("query_range", **asked)["result"])

    def shows_data(self, expression: str, begin: float, until: float) -> bool:
        """Return whether a panel with this query would show anything: one number at least."""
        found = self.over(expression, begin, until)
        return any(math.isfinite(float(value)) for series in found for _, value in series["values"])

    def alerts(self) -> dict[str, str]:
        """Return the alerts that fire or are about to, with their states."""
        return {named(alert["labels"]): alert["state"] for alert in self.ask("alerts")["alerts"]}

    def history(self, begin: float, until: float) -> list[Alert]:
        """Return every alert that was there within a time."""
        return [
            Alert(
                named(series["metric"]), series["metric"]["alertstate"], tuple(float(at) for at, _ in series["values"])
            )
            for series in self.over("ALERTS", begin, until)
        ]


def named(labels: Mapping[str, str]) -> str:
    """Return an alert's name: "KieSongsBlocked s3"."""
    values = [labels[label] for label in ("cause", "connection", "reason") if label in labels]
    return " ".join([labels["alertname"], *values])


def program(name: str) -> str:
    """Return where a program is."""
    found = shutil.which(name)
    assert found, f"This test runs the real {name}, which is not on the PATH: {HOW_TO_GET[name]}"
    return found


def exporter_command() -> list[str]:
    """Return how statsd_exporter is started: the one on the PATH, otherwise ours."""
    found = shutil.which("statsd_exporter")
    return [found] if found else [sys.executable, local_stack.statsd_exporter.__file__]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool and return its output."""
    command = [program("promtool"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@dataclass
class Exporter:
    """A running statsd_exporter.

    :param statsd_port: UDP port on 127.0.0.1 that takes StatsD's lines.
    :param target: where Prometheus scrapes it.
    :param begin: starts it.
    """

    statsd_port: int
    target: str
    begin: Callable[[], subprocess.Popen[bytes]]

    def __post_init__(self) -> None:
        """Start it."""
        self.process = self.begin()

    def restart(self) -> None:
        """Stop it and start it again, as an upgrade does: it has forgotten every value."""
        self.stop()
        self.process = self.begin()

    def stop(self) -> None:
        """Stop it."""
        end([self.process], 10.0)


@contextmanager
def statsd_exporter(mapping: Path, folder: Path, command: Sequence[str] | None = None) -> Iterator[Exporter]:
    """Run statsd_exporter.

    :param mapping: its mapping file.
    :param folder: where its log goes.
    :param command: how it is started; None: as :func:`exporter_command` says.
    """
    udp, web = _unused_udp_port(), unused_port()
    started = [
        *(command or exporter_command()),
        f"--statsd.mapping-config={mapping}",
        f"--statsd.listen-udp=127.0.0.1:{udp}",
        "--statsd.listen-tcp=",
        f"--web.listen-address=127.0.0.1:{web}",
    ]
    ready = f"http://127.0.0.1:{web}/metrics"
    exporter = Exporter(udp, f"127.0.0.1:{web}", lambda: _started(started, folder, "statsd_exporter", ready))
    try:
        yield exporter
    finally:
        exporter.stop()


@contextmanager
def prometheus(rules: str, target: str, folder: Path) -> Iterator[Prometheus]:
    """Run Prometheus; it scrapes, and evaluates the rules, every second.

    :param rules: content of its rules file.
    :param target: what it scrapes.
    :param folder: where its data and its log go.
    """
    (folder / "rules.yml").write_text(rules)
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "airflow", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    port = unused_port()
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"
    process = _started(command, folder, "prometheus", f"{url}/-/ready")
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            yield Prometheus(client)
    finally:
        end([process], 10.0)


def _started(command: Sequence[str], folder: Path, name: str, ready: str) -> subprocess.Popen[bytes]:
    process = start(command, cwd=folder, log=folder / f"{name}.log", environment=os.environ)
    deadline = time.monotonic() + _STARTS_WITHIN_SECONDS
    while not _answers(ready):
        if process.poll() is not None or time.monotonic() > deadline:
            end([process], 10.0)
            raise RuntimeError(f"{name} did not start: {(folder / f'{name}.log').read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
    return process


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False


def _unused_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
