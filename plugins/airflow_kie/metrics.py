"""Every metric of this package: one table, sent through Airflow's own stats (StatsD, Datadog or OpenTelemetry).

A tag has few values: it never holds the id of a task, a song or a run. A metric that cannot be sent is logged once in a
process and changes nothing else.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from airflow.sdk.observability import stats

log = logging.getLogger(__name__)

LONGEST_TAG = 64
"""Characters; a backend that keeps a series for each value should not have to keep a text."""
_NOT_IN_TAGS = re.compile(r"[^\w./-]", re.ASCII)  # StatsD's own signs (: | # @ , =) would end a tag; others it refuses


class Kind(StrEnum):
    """What a backend does with a metric's values."""

    COUNTER = "counter"
    GAUGE = "gauge"
    TIMER = "timer"


@dataclass(frozen=True)
class Metric:
    """One metric.

    :param name: as Airflow's stats take it; they put their prefix (``airflow``) before it.
    :param kind: counter, gauge or timer.
    :param unit: of its values; timers are sent in milliseconds, as Airflow's are.
    :param tags: names of its tags, always all of them.
    :param meaning: one sentence for the documentation.
    """

    name: str
    kind: Kind
    unit: str
    tags: tuple[str, ...]
    meaning: str

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus, by ``include/monitoring/statsd_mapping.yml``."""
        unit = self.unit.rpartition(" ")[2]
        gauge = f"_{unit}" if unit in ("seconds", "days") else ""
        suffix = {Kind.COUNTER: "_total", Kind.TIMER: "_seconds", Kind.GAUGE: gauge}[self.kind]
        return self.name.replace(".", "_") + suffix

    def add(self, amount: float = 1, **tags: str) -> None:
        """Add to a counter; nothing is sent for nothing."""
        if amount > 0:
            self._send(functools.partial(stats.incr, self.name, amount), tags)  # type: ignore[arg-type]

    def begin(self, **tags: str) -> None:
        """Send 0: Prometheus' `increase` does not see the first event of a series that begins with it."""
        self._send(functools.partial(stats.incr, self.name, 0), tags)

    def set(self, value: float, **tags: str) -> None:
        """Set a gauge."""
        self._send(functools.partial(stats.gauge, self.name, value), tags)

    def took(self, seconds: float, **tags: str) -> None:
        """Record how long something took; a clock that went backwards counts as no time."""
        self._send(functools.partial(stats.timing, self.name, timedelta(seconds=max(0.0, seconds))), tags)

    def _send(self, send: Callable[..., Any], tags: dict[str, str]) -> None:
        try:
            if set(tags) != set(self.tags):
                raise ValueError(f"{self.name} has the tags {self.tags}, not {tuple(tags)}")
            send(tags={name: _NOT_IN_TAGS.sub("_", str(tags[name]))[:LONGEST_TAG] for name in self.tags})
        except Exception as error:  # noqa: BLE001 - whatever a backend raises, no task fails for it
            _warn(f"{type(error).__name__}: {error}")


@functools.cache
def _warn(why: str) -> None:
    log.warning("A metric could not be sent; nothing else is affected, and this is logged only once. %s", why)


METRICS: dict[str, Metric] = {}
"""Every metric by its name."""


def _metric(kind: Kind, name: str, unit: str, tags: str, meaning: str) -> Metric:
    METRICS[name] = Metric(name, kind, unit, tuple(tags.split()), meaning)
    return METRICS[name]


_counter = functools.partial(_metric, Kind.COUNTER)
_gauge = functools.partial(_metric, Kind.GAUGE)
_timer = functools.partial(_metric, Kind.TIMER)

CREATED = _counter("kie.created", "tasks", "kind connection", "KIE created a task for us; these tasks are paid for.")
MADE_TWICE = _counter(
    "kie.made_twice",
    "tasks",
    "kind connection",
    "A free task was created once more, because the answer to the first request was lost.",
)
ADOPTED = _counter("kie.adopted", "tasks", "kind connection", "An existing task was adopted instead of paying for one.")
WAITING = _gauge("kie.waiting", "tasks", "triggerer", "Tasks that this triggerer polls; sent again with each read.")
DONE = _counter(
    "kie.done",
    "tasks",
    "kind connection completion_source",
    "A created or adopted task has its files; `completion_source` is how that was found (`callback`, `poll`, "
    "`at_once`); `batch`: by reading several, which no callback wakes.",
)
WAIT = _timer(
    "kie.wait",
    "seconds",
    "kind connection",
    "From KIE's answer to our create until the task's files were found.",
)
FAILED = _counter(
    "kie.failed",
    "failures",
    "reason",
    "An Airflow task failed for good, or a song left its batch; a reason is one of docs/on-call.md, or the name of a "
    "Python exception.",
)
RETRIED = _counter("kie.retried", "attempts", "reason", "An attempt failed and is retried.")
RESCHEDULED = _counter(
    "kie.rescheduled",
    "times",
    "reason",
    "An Airflow task was rescheduled to wait for an outage or the rate limit; no retry was used.",
)
THROTTLED = _timer(
    "kie.throttled",
    "seconds",
    "connection over",
    "How long our own limiter delayed a create: over the `rate`, or over a cap on credits (such as `day`).",
)
ARCHIVED = _counter(
    "kie.archived", "songs", "connection", "A song's manifest was written, or written again with more files."
)
ARCHIVED_BYTES = _counter("kie.archived_bytes", "bytes", "connection", "Size of the files that were archived.")
DONE_TO_ARCHIVED = _timer(
    "kie.done_to_archived",
    "seconds",
    "connection",
    "From the end of the cover task at KIE, by KIE's clock, to the manifest.",
)
CALLBACKS = _counter(
    "kie.callbacks",
    "callbacks",
    "outcome",
    "Outcome of a request to the receiver: `woken`, `not_yet`, `gone`, `at_next_read`, `sensors` (woken), `song` (of "
    "another program, announced), `known` (such a song, again), `unconfirmed` and `denied` (KIE could not say, or says "
    "no), `nobody` (waits for it), `recorded` (one of a list), `stage` (of a task that is still running), `refused`, "
    "`rate_limited`, `bad_body`, `not_stored`.",
)
CREDITS = _gauge("kie.credits", "credits", "connection", "The account's balance.")
CALLBACKS_EXPECTED = _gauge(
    "kie.callbacks_expected",
    "1 or 0",
    "connection",
    "Whether this connection has a callback URL and can verify callbacks.",
)
UNARCHIVED = _gauge("kie.unarchived", "songs", "", "Pending songs: the records in `_pending/`.")
UNARCHIVED_OLDEST = _gauge(
    "kie.unarchived_oldest",
    "seconds",
    "",
    "Age of the oldest pending song with files at KIE (an unknown id has none); 0 if there is none.",
)
UNTRIED_OLDEST = _gauge(
    "kie.untried_oldest", "seconds", "", "Age of the oldest pending song that no run has taken; 0 if there is none."
)
DOUBTS = _gauge(
    "kie.doubts", "requests", "connection", "Requests in doubt: possibly paid for, and a person has to decide."
)
NEXT_EXPIRY = _gauge(
    "kie.next_expiry",
    "days",
    "",
    "Time until KIE deletes the files of the first pending song; 14 if there is none.",
)
SPENDING_STOPPED = _gauge(
    "kie.spending_stopped",
    "1 or 0",
    "connection",
    "Whether a person has stopped the new paid tasks of this connection's account, as `kie_ops` last read it.",
)
INCIDENT = _gauge(
    "kie.incident",
    "1 or 0",
    "cause",
    "Whether `kie_ops` found such an incident: `credits`, `spending_cap`, `account`, `kie`, `s3`, `expiry`, `inbox`, "
    "`record`, `untried`, `turn`, `doubt`, `ledger`, `quiet` or `spending` (a person has stopped new paid tasks, which "
    "is not a fault).",
)
HEALTH_CHECK_TIME = _gauge(
    "kie.health_check_time", "epoch seconds", "", "When `kie_ops` last finished its health check."
)


async def get_ready() -> None:
    """Let Airflow make its client of the metrics' backend on a thread: resolving its host may block.

    Of many triggers that start at once one makes it and the others wait: a metric sent before would resolve the host in
    the event loop.
    """
    if _READY:
        return
    async with _MAKING.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        if not _READY:
            await asyncio.to_thread(_make_client)
            _READY.append(True)


_READY: list[bool] = []
_MAKING: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()


def _make_client() -> None:
    try:
        stats.timer()
    except Exception as error:  # noqa: BLE001 - no trigger fails for it
        _warn(f"{type(error).__name__}: {error}")
