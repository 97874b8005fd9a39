#!/usr/bin/env python3
"""StatsD's lines in, Prometheus' text out: what statsd_exporter makes of our metrics, where that program cannot be had.

    python3 -m local_stack.statsd_exporter --statsd.mapping-config=include/monitoring/statsd_mapping.yml

It takes the same options and does what the mapping file and Airflow rely on: tags in InfluxDB's style, exact names,
counters, gauges, histograms, a time to live. Patterns, other styles of tags and quantiles are statsd_exporter's alone.
Python's own library and PyYAML only: the compose check copies this one file into an image.
"""

from __future__ import annotations

import argparse
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

KINDS: Mapping[str, str] = {"c": "counter", "g": "gauge", "ms": "observer", "h": "observer", "d": "observer"}
"""StatsD's sign of a sample, and what statsd_exporter's mapping calls it."""
_SECONDS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3600}
_KNOWN = frozenset({"match", "match_metric_type", "name", "observer_type", "histogram_options", "ttl"})
_RECEIVE_BYTES = 4 * 1024 * 1024
_DATAGRAM_BYTES = 65_536
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Rule:
    """One entry of the mapping.

    :param name: the metric's name in Prometheus.
    :param buckets: upper bounds of a histogram; none: a summary without quantiles.
    :param ttl: seconds without a sample after which a series is forgotten; 0: never.
    """

    name: str
    buckets: tuple[float, ...] = ()
    ttl: float = 0.0


@dataclass
class Series:
    """One line of a metric, or a histogram's lines.

    :param value: of a counter or gauge; an observer's sum.
    :param count: an observer's samples.
    :param below: of a histogram, the samples that each bucket holds.
    :param last: when the last sample came, on the monotonic clock.
    """

    value: float = 0.0
    count: int = 0
    below: list[int] = field(default_factory=list)
    last: float = 0.0


@dataclass
class Exporter:
    """What was received.

    :param rules: by kind and name in StatsD.
    """

    rules: Mapping[tuple[str, str], Rule] = field(default_factory=dict)
    _series: dict[str, tuple[str, Rule, dict[Labels, Series]]] = field(default_factory=dict)
    _bad: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def receive(self, datagram: bytes) -> None:
        """Take the lines of a datagram; one that is not StatsD's is counted and spoils no other."""
        with self._lock:
            for line in datagram.decode("utf-8", "replace").splitlines():
                try:
                    self._take(line)
                except ValueError:
                    self._bad += 1

    def _take(self, line: str) -> None:
        named, colon, sample = line.rpartition(":")
        value, sign, *rates = sample.split("|")
        name, *tags = named.split(",")
        kind = KINDS.get(sign)
        if not (name and colon and kind):
            raise ValueError(line)
        number = float(value)
        rule = self.rules.get((kind, name)) or Rule(_valid(name))
        labels = tuple(sorted((_valid(key), text) for key, _, text in (tag.partition("=") for tag in tags)))
        has, _, found = self._series.setdefault(rule.name, (kind, rule, {}))
        if has != kind:
            raise ValueError(f"{rule.name} is a {has}")
        series = found.setdefault(labels, Series(below=[0] * len(rule.buckets)))
        series.last = time.monotonic()
        if kind == "counter":
            rate = next((float(one[1:]) for one in rates if one.startswith("@")), 1.0)
            series.value += number / rate if rate > 0 else number
        elif kind == "gauge":
            series.value = series.value + number if value.startswith(("+", "-")) else number
        else:
            seconds = number / 1000 if sign == "ms" else number
            series.value, series.count = series.value + seconds, series.count + 1
            series.below = [n + (seconds <= bound) for n, bound in zip(series.below, rule.buckets, strict=True)]

    def text(self) -> str:
        """Return everything in Prometheus' format."""
        with self._lock:
            self._forget(time.monotonic())
            lines = [line for name in sorted(self._series) for line in self._lines(name)]
            error = "statsd_exporter_sample_errors_total"
            return "\n".join([*lines, f"# TYPE {error} counter", f"{error} {self._bad}", ""])

    def _forget(self, now: float) -> None:
        for _, rule, found in self._series.values():
            for labels in [labels for labels, one in found.items() if rule.ttl and now - one.last > rule.ttl]:
                del found[labels]

    def _lines(self, name: str) -> Iterator[str]:
        kind, rule, found = self._series[name]
        written = ("histogram" if rule.buckets else "summary") if kind == "observer" else kind
        if found:
            yield f"# TYPE {name} {written}"
        for labels, series in sorted(found.items()):
            if kind == "observer":
                for bound, count in zip(rule.buckets, series.below, strict=True):
                    yield _line(f"{name}_bucket", (*labels, ("le", _number(bound))), count)
                if rule.buckets:
                    yield _line(f"{name}_bucket", (*labels, ("le", "+Inf")), series.count)
                yield _line(f"{name}_sum", labels, series.value)
                yield _line(f"{name}_count", labels, series.count)
            else:
                yield _line(name, labels, series.value)


def rules_of(mapping: str) -> dict[tuple[str, str], Rule]:
    """Return what a mapping file says.

    :param mapping: its text.
    :raises ValueError: for what only statsd_exporter itself understands.
    """
    rules = {}
    for entry in yaml.safe_load(mapping)["mappings"]:
        unknown = set(entry) - _KNOWN
        histogram = entry.get("observer_type") == "histogram"
        if unknown or "*" in entry["match"] or (entry["match_metric_type"] == "observer") != histogram:
            raise ValueError(f"This exporter cannot do what {entry} asks for; statsd_exporter can.")
        buckets = tuple(float(bound) for bound in entry.get("histogram_options", {}).get("buckets", ()))
        rule = Rule(entry["name"], buckets, _duration(str(entry.get("ttl", "0s"))))
        rules[entry["match_metric_type"], entry["match"]] = rule
    return rules


def _duration(text: str) -> float:
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"([\d.]+)([smh])", text))


def _valid(name: str) -> str:
    written = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"_{written}" if written[:1].isdigit() else written


def _line(name: str, labels: Labels, value: float) -> str:
    written = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{written}}} {_number(value)}" if written else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def serve(exporter: Exporter, statsd: tuple[str, int], web: tuple[str, int]) -> ThreadingHTTPServer:
    """Take what comes from now on, and return the server of ``/metrics``, which is not running yet.

    :param statsd: address of the UDP socket.
    :param web: address of the HTTP server.
    """
    taking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    taking.bind(statsd)

    def take() -> None:
        while True:
            exporter.receive(taking.recv(_DATAGRAM_BYTES))

    threading.Thread(target=take, daemon=True).start()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages: Mapping[str, Any] = {
                "/metrics": exporter.text,
                "/-/healthy": lambda: "OK\n",
                "/-/ready": lambda: "OK\n",
            }
            page = pages.get(self.path)
            body = (page() if page else "Not found\n").encode()
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing of a request: Prometheus asks every few seconds."""

    return ThreadingHTTPServer(web, Pages)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--statsd.mapping-config", dest="mapping", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--statsd.listen-udp", dest="udp", type=_address, default=("127.0.0.1", 9125), metavar="HOST:PORT"
    )
    parser.add_argument(
        "--statsd.listen-tcp", dest="tcp", choices=[""], default="", help="only empty: UDP is taken alone"
    )
    parser.add_argument(
        "--web.listen-address", dest="web", type=_address, default=("127.0.0.1", 9102), metavar="HOST:PORT"
    )
    options = parser.parse_args(arguments)
    try:
        rules = rules_of(options.mapping.read_text())
    except (OSError, ValueError) as error:
        parser.error(str(error))
    serve(Exporter(rules), options.udp, options.web).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
