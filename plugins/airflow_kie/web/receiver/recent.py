"""The last callbacks of each connection, as this process knows them, written for people now and then.

Nothing depends on them, and no answer waits for them: a callback costs a row in memory. What has proven itself is
written within ten seconds; what has not is never written sooner than a minute after it came, however much of it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from airflow_kie.monitoring.callback_health import LastCallback
from airflow_kie.monitoring.deliveries import REFUSED, Delivery, newest

WRITE_EVERY = 10.0
"""Seconds between two writes for a connection, however many callbacks come."""
WRITE_REFUSED_EVERY = 60.0
"""The same where none of them has proven itself."""


@dataclass
class _Known:
    """What is known of a connection.

    :param written_at: the loop's time of the last write.
    :param due: the loop's time of the next one; None: there is nothing new.
    """

    last: LastCallback | None = None
    deliveries: tuple[Delivery, ...] = ()
    written_at: float = float("-inf")
    due: float | None = None


@dataclass
class RecentCallbacks:
    """Keeps and writes them.

    :param write: writes those of a connection: the last one that has proven itself, and all that are kept.
    """

    write: Callable[[str, LastCallback | None, tuple[Delivery, ...]], Awaitable[None]]
    _known: dict[str, _Known] = field(default_factory=dict, init=False)
    _writing: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def add(self, kie_conn_id: str, delivery: Delivery, last: LastCallback | None = None) -> None:
        """Keep a callback, and see to it that it is written.

        :param kie_conn_id: one of the configured connections: who calls must not be able to make up more of them.
        :param last: it as the last callback of KIE's; None: it has not proven itself, or is our own test.
        """
        known = self._known.setdefault(kie_conn_id, _Known())
        known.deliveries = newest(known.deliveries, [delivery])
        known.last = last or known.last
        loop = asyncio.get_running_loop()
        pause = WRITE_REFUSED_EVERY if delivery.outcome == REFUSED else WRITE_EVERY
        first = loop.time() + (pause if delivery.outcome == REFUSED else 0.0)
        due = max(first, known.written_at + pause)
        if known.due is None or due < known.due:
            known.due = due
            loop.call_at(due, self._begin, kie_conn_id, due)

    def _begin(self, kie_conn_id: str, due: float) -> None:
        known = self._known[kie_conn_id]
        if known.due != due:
            return  # an earlier one has written it
        known.due, known.written_at = None, asyncio.get_running_loop().time()
        task = asyncio.ensure_future(self.write(kie_conn_id, known.last, known.deliveries))
        self._writing.add(task)  # the loop itself keeps no reference
        task.add_done_callback(self._writing.discard)
