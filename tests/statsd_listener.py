"""A StatsD server on loopback that keeps what Airflow sends, and reads it as Prometheus' statsd_exporter does.

The exporter's rules (its README): tags in InfluxDB's style become labels, a mapping gives name and kind, timers come in
milliseconds and become seconds.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.sdk._shared.observability.metrics import stats as own_stats
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics.stats_utils import get_stats_factory


@dataclass(frozen=True)
class Sample:
    """One value as it was sent.

    :param name: without tags.
    :param tags: by name.
    :param value: as it was sent.
    :param kind: StatsD's sign: ``c``, ``g`` or ``ms``.
    """

    name: str
    tags: dict[str, str]
    value: float
    kind: str


@dataclass
class StatsdListener:
    """What came.

    :param port: UDP port on 127.0.0.1.
    """

    port: int
    lines: list[str] = field(default_factory=list)
    _markers: int = 0

    @property
    def samples(self) -> list[Sample]:
        """Return every sample of our metrics so far; Airflow sends more of its own."""
        return [sample_of(line) for line in list(self.lines) if line.startswith("airflow.kie.")]

    def of(self, name: str) -> list[Sample]:
        """Return the samples of our metric that this process has sent by now: what is on its way is awaited."""
        self._markers += 1
        marker = f"marker.{self._markers}:1|c"  # on loopback a datagram arrives after those that were sent before it
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.sendto(marker.encode(), ("127.0.0.1", self.port))
        while marker not in self.lines:
            time.sleep(0.005)
        return [sample for sample in self.samples if sample.name == f"airflow.{name}"]


def sample_of(line: str) -> Sample:
    """Return what one line says."""
    named, _, valued = line.rpartition(":")
    value, _, kind = valued.partition("|")
    name, *tags = named.split(",")
    return Sample(name, dict(tag.split("=", 1) for tag in tags), float(value), kind)


@contextmanager
def listening() -> Iterator[StatsdListener]:
    """Listen on a free port until the block ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        listener = StatsdListener(server.getsockname()[1])

        def receive() -> None:
            while datagram := server.recv(65536):
                listener.lines.extend(datagram.decode().splitlines())

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        try:
            yield listener
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", listener.port))
            thread.join(10)


def statsd_environment(port: int) -> dict[str, str]:
    """Return the settings that docs/monitoring.md gives for Airflow's processes."""
    return {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(port),
        "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
    }


@contextmanager
def airflow_sends(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdListener]:
    """Let Airflow's stats of this process send to a listener until the block ends."""
    with listening() as listener, monkeypatch.context() as environment:
        for name, value in statsd_environment(listener.port).items():
            environment.setenv(name, value)
        stats.initialize(factory=get_stats_factory(), export_legacy_names=True)
        try:
            yield listener
        finally:
            backend: Any = own_stats._get_backend()
            backend.statsd.close()
            stats.initialize(factory=NoStatsLogger, export_legacy_names=True)
