"""Every metric of this package: one table, sent through Airflow's own stats (StatsD, Datadog or OpenTelemetry).

A tag has few values: no id of a task, a song or a run ever stands in one. A metric that cannot be sent is told of once
in a process and changes nothing else.
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
_NOT_IN_TAGS = re.compile(r"[^\w./-]")  # StatsD's own signs (: | # @ , =) would end a tag


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
    :param unit: what one stands for; timers are sent in milliseconds, as Airflow's are.
    :param tags: names of its tags, always all of them.
    :param meaning: one sentence for the documentation.
    :param prometheus: its name in Prometheus, by ``include/monitoring/statsd_mapping.yml``.
    """

    name: str
    kind: Kind
    unit: str
    tags: tuple[str, ...]
    meaning: str
    prometheus: str

    def add(self, amount: float = 1, **tags: str) -> None:
        """Count more of it; nothing is sent for nothing."""
        if amount > 0:
            self._send(functools.partial(stats.incr, self.name, amount), tags)  # type: ignore[arg-type]

    def begin(self, **tags: str) -> None:
        """Send 0: Prometheus' `increase` does not see the first event of a series that begins with it."""
        self._send(functools.partial(stats.incr, self.name, 0), tags)

    def set(self, value: float, **tags: str) -> None:
        """Say what it is now."""
        self._send(functools.partial(stats.gauge, self.name, value), tags)

    def took(self, seconds: float, **tags: str) -> None:
        """Say how long something took; a clock that went backwards counts as no time."""
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
    log.warning("A metric could not be sent, which changes nothing else; it is not said again here. %s", why)


def _all(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


CREATED = Metric(
    "kie.created",
    Kind.COUNTER,
    "tasks",
    ("kind", "connection"),
    "KIE named a new task in answer to a create: this is what is paid for.",
    "kie_created_total",
)
ADOPTED = Metric(
    "kie.adopted",
    Kind.COUNTER,
    "tasks",
    ("kind", "connection"),
    "A task that existed already was taken up instead of paying for one.",
    "kie_adopted_total",
)
WAITING = Metric(
    "kie.waiting",
    Kind.GAUGE,
    "tasks",
    ("triggerer",),
    "Tasks that this triggerer reads until they end; sent again with each read.",
    "kie_waiting",
)
DONE = Metric(
    "kie.done",
    Kind.COUNTER,
    "tasks",
    ("kind", "connection", "heard"),
    "A created or adopted task has its files; `heard` says how that came out: `callback`, `poll`, or `at_once`.",
    "kie_done_total",
)
WAIT = Metric(
    "kie.wait",
    Kind.TIMER,
    "seconds",
    ("kind", "connection"),
    "From KIE's naming of a task that was created here to the reading of its files.",
    "kie_wait_seconds",
)
FAILED = Metric(
    "kie.failed",
    Kind.COUNTER,
    "Airflow tasks",
    ("reason",),
    "An Airflow task failed for good; a reason is one of docs/on-call.md, or the name of a Python exception.",
    "kie_failed_total",
)
RETRIED = Metric(
    "kie.retried",
    Kind.COUNTER,
    "attempts",
    ("reason",),
    "An attempt failed and is retried.",
    "kie_retried_total",
)
RESCHEDULED = Metric(
    "kie.rescheduled",
    Kind.COUNTER,
    "times",
    ("reason",),
    "An Airflow task was rescheduled to wait for the end of an outage, or for the rate; no retry was used.",
    "kie_rescheduled_total",
)
THROTTLED = Metric(
    "kie.throttled",
    Kind.TIMER,
    "seconds",
    ("connection", "over"),
    "How long a create was held back by our own limiter: over the `rate`, or over the `day`'s cap.",
    "kie_throttled_seconds",
)
ARCHIVED = Metric(
    "kie.archived",
    Kind.COUNTER,
    "songs",
    ("connection",),
    "A song's manifest was written, or written again with more files.",
    "kie_archived_total",
)
ARCHIVED_BYTES = Metric(
    "kie.archived_bytes",
    Kind.COUNTER,
    "bytes",
    ("connection",),
    "Size of the files that were archived.",
    "kie_archived_bytes_total",
)
DONE_TO_ARCHIVED = Metric(
    "kie.done_to_archived",
    Kind.TIMER,
    "seconds",
    ("connection",),
    "From the end of the cover task at KIE, by KIE's clock, to the manifest.",
    "kie_done_to_archived_seconds",
)
CALLBACKS = Metric(
    "kie.callbacks",
    Kind.COUNTER,
    "callbacks",
    ("outcome",),
    "A request to the receiver came to: `woken`, `not_yet`, `gone`, `at_next_read`, `sensors` (told), `song` (one of "
    "somebody else, announced), `stage` (of a task that goes on), `refused`, `turned_away`, `bad_body` or `not_kept`.",
    "kie_callbacks_total",
)
CREDITS = Metric(
    "kie.credits",
    Kind.GAUGE,
    "credits",
    ("connection",),
    "The account's balance.",
    "kie_credits",
)
CALLBACKS_EXPECTED = Metric(
    "kie.callbacks_expected",
    Kind.GAUGE,
    "1 or 0",
    ("connection",),
    "Whether this connection names a callback URL and can check what comes.",
    "kie_callbacks_expected",
)
UNARCHIVED = Metric(
    "kie.unarchived",
    Kind.GAUGE,
    "songs",
    (),
    "Songs that are owed something: the records in `_pending/`.",
    "kie_unarchived",
)
UNARCHIVED_OLDEST = Metric(
    "kie.unarchived_oldest",
    Kind.GAUGE,
    "seconds",
    (),
    "How long ago the oldest of them was heard of that KIE has files of (an unknown id has none); 0 without such.",
    "kie_unarchived_oldest_seconds",
)
NEXT_EXPIRY = Metric(
    "kie.next_expiry",
    Kind.GAUGE,
    "days",
    (),
    "Until KIE deletes the files of the first of them, at the latest; 14 when nothing is owed.",
    "kie_next_expiry_days",
)
SPENDING_STOPPED = Metric(
    "kie.spending_stopped",
    Kind.GAUGE,
    "1 or 0",
    ("connection",),
    "Whether a person has stopped the new paid tasks of this connection's account, as `kie_ops` last read it.",
    "kie_spending_stopped",
)
INCIDENT = Metric(
    "kie.incident",
    Kind.GAUGE,
    "1 or 0",
    ("cause",),
    "Whether `kie_ops` found such an incident: `credits`, `daily_cap`, `account`, `kie`, `s3`, `expiry`, `inbox`, "
    "`record` or `spending` (a person has stopped new paid tasks, which is not a fault).",
    "kie_incident",
)
HEALTH_CHECK_TIME = Metric(
    "kie.health_check_time",
    Kind.GAUGE,
    "epoch seconds",
    (),
    "When `kie_ops` last finished its health check.",
    "kie_health_check_time_seconds",
)

METRICS = _all(
    CREATED,
    ADOPTED,
    WAITING,
    DONE,
    WAIT,
    FAILED,
    RETRIED,
    RESCHEDULED,
    THROTTLED,
    ARCHIVED,
    ARCHIVED_BYTES,
    DONE_TO_ARCHIVED,
    CALLBACKS,
    CREDITS,
    CALLBACKS_EXPECTED,
    UNARCHIVED,
    UNARCHIVED_OLDEST,
    NEXT_EXPIRY,
    SPENDING_STOPPED,
    INCIDENT,
    HEALTH_CHECK_TIME,
)
"""Every metric by its name."""


async def get_ready() -> None:
    """Let Airflow make its client of the metrics' backend on a thread: a look-up of its host may block.

    Of many triggers that start at once one has it made, and the others wait: whoever sent a metric before would look
    the host up in the event loop.
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
