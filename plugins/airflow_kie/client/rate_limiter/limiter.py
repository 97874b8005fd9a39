"""One limiter per KIE account: how many tasks may be created, over all processes that share a store.

KIE allows 20 new tasks in 10 seconds for an account and rejects what is more (docs.kie.ai, "Getting Started":
rejected with 429, not queued). The daily cap is our own. Three rules hold for both:

- A create gets its time while the lock is held. Stamped before they waited for it, 22 creates passed a window of 20.
- Creates that lie in the future are moved to now: a clock that was ahead for a moment must not block the account.
- Nothing is deleted because it is old: a clock that is ahead for a moment would make all of today's creates old, and
  the daily cap would begin again. The newest creates are kept, as many as a day can hold at all.

One case stays open: while a clock is behind, today's creates lie in its future and are moved back to it; when it is
right again they count as that old. The store cannot distinguish this from a clock that was ahead before.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Column, ColumnElement, Select, delete, insert, select, update

from airflow_kie.client.errors import KieConnectionInvalid, KieError, KieLimiterUnavailable
from airflow_kie.client.rate_limiter.store import CREATE_LOG, Locked, store_at

log = logging.getLogger(__name__)

CREATES = 20
SECONDS = 10.0
MARGIN = 0.4
"""Seconds by which our window is longer than KIE's: requests do not all travel equally long. Measured with 8
processes: 22 creates in a window of 10.0 s without it, never more than 20 with it, at 96 % of the rate."""

DAY_MS = 24 * 60 * 60 * 1000

MOST_A_DAY = 200_000
"""Creates that are kept: more than KIE's rate allows in 24 hours (172,800)."""

_TRIM_EVERY = 100
"""Creates after which the oldest beyond `MOST_A_DAY` are deleted."""

_JITTER_SECONDS = 0.02
"""Waiting processes wake within this time of each other, in an order that chance decides again each time."""


@dataclass(frozen=True)
class Permit:
    """Whether one create may be sent now.

    :param granted: it may, and is counted. Send it at once: the time of the permit is the time that was counted.
    :param wait_seconds: seconds after which asking again can help; 0 when granted.
    :param over: the limit that was reached: ``rate`` (KIE's window), ``day`` (our own cap), or nothing.
    :param token: by which it can be given back; 0 when not granted.
    """

    granted: bool
    wait_seconds: float = 0.0
    over: Literal["rate", "day", ""] = ""
    token: int = field(default=0, compare=False, repr=False)


class CreateLimiter:
    """Counts the creates of one KIE account in a store that all its processes share.

    Limiters with different limits for one account count together. Threads may share one, and it survives a fork.

    :param account: the account's name, the same for every connection to it.
    :param store: the URL of a :class:`~airflow_kie.client.rate_limiter.store.Store`; empty for its default.
    :param creates: how many creates KIE allows in `seconds`.
    :param seconds: length of KIE's window in seconds.
    :param margin: seconds that are added to the window.
    :param per_day: our own cap for any 24 hours; None for none, 0 for no creates at all, and at most 200,000.
    :raises KieConnectionInvalid: if a limit is impossible or the store's URL is wrong.
    """

    def __init__(
        self,
        account: str,
        *,
        store: str = "",
        creates: int = CREATES,
        seconds: float = SECONDS,
        margin: float = MARGIN,
        per_day: int | None = None,
    ) -> None:
        if not account or creates < 1 or not 0 < seconds <= 3600 or margin < 0 or (per_day or 0) < 0:
            raise KieConnectionInvalid(
                f"The limiter needs an account, at least 1 create per window (not {creates}), a window of up to "
                f"3600 s (not {seconds}), a margin of at least 0 s (not {margin}) and a daily cap of at least 0 "
                f"(not {per_day})"
            )
        self.store = store_at(store)
        self._account = hashlib.sha256(account.encode()).hexdigest()[:16]
        self._creates, self._window_ms = creates, math.ceil((seconds + margin) * 1000)
        self._per_day = None if per_day is None else min(per_day, MOST_A_DAY)

    def take(self) -> Permit:
        """Take a permit if there is one now, without waiting for one.

        It waits for nothing but the store, and counts only what it grants. A store that cannot be used stops only a
        connection with a daily cap. Without one the permit is granted: KIE itself refuses what exceeds its rate.

        :raises KieLimiterUnavailable: if there is a daily cap and the store cannot be used. Nothing may be sent.
        :raises KieConnectionInvalid: if the store's library is not installed.
        """
        if self._per_day == 0:
            return Permit(False, DAY_MS / 1000, "day")
        try:
            return self._take()
        except KieLimiterUnavailable as error:
            if self._per_day is not None:
                raise
            log.warning(
                "The limiter's store cannot be used: %s. No daily cap is set, so this create is not counted and may be "
                "sent; if it exceeds KIE's rate, KIE refuses it, which costs nothing, and it is sent again later.",
                error.facts.message,
            )
            return Permit(True)

    def _take(self) -> Permit:
        with self._locked() as locked:
            if wait := self._day_wait_ms(locked):
                return Permit(False, wait / 1000, "day")
            if wait := self._wait_ms(locked, self._creates, self._window_ms):
                return Permit(False, wait / 1000, "rate")
            row = insert(CREATE_LOG).values(account=self._account, at_ms=locked.now)
            (token,) = locked.connection.execute(row).inserted_primary_key or (0,)
            if token % _TRIM_EVERY == 0:
                oldest_kept = self._newest(CREATE_LOG.c.id, MOST_A_DAY).scalar_subquery()
                locked.connection.execute(
                    delete(CREATE_LOG).where(CREATE_LOG.c.account == self._account, CREATE_LOG.c.id < oldest_kept)
                )
        return Permit(True, token=token)

    def acquire(self, max_wait: float) -> Permit:
        """Wait for a permit, up to `max_wait` seconds.

        Who gets the next one is decided by chance among the waiting. If the next one is further away than that, it
        returns at once, so that no worker is held for nothing.

        :param max_wait: seconds.
        :raises KieLimiterUnavailable: as :meth:`take`.
        """
        deadline = time.monotonic() + max_wait
        while True:
            permit = self.take()
            if permit.granted or permit.wait_seconds > deadline - time.monotonic():
                return permit
            time.sleep(permit.wait_seconds + random.uniform(0, _JITTER_SECONDS))  # noqa: S311 - no secret

    def give_back(self, permit: Permit, *, sent: bool = True) -> None:
        """Take a create out of the daily count: KIE has refused it, or named a task that exists already.

        The cap is one on spending, and nothing was paid. KIE has seen the request, so its rate window keeps it; one
        that was not sent leaves both. A store that cannot be used keeps the create counted.

        :param permit: what :meth:`take` has granted; one that was not granted changes nothing.
        :param sent: whether KIE has seen the request.
        """
        try:
            if permit.token:
                mine = (CREATE_LOG.c.account == self._account, CREATE_LOG.c.id == permit.token)
                change = (
                    update(CREATE_LOG).where(*mine).values(refused=True) if sent else delete(CREATE_LOG).where(*mine)
                )
                with self._locked() as locked:
                    locked.connection.execute(change)
        except KieError as error:
            log.warning("A create that made no task stays counted against max_creates_per_day: %s", error)

    def day_is_full(self) -> bool:
        """Return whether our own cap for 24 hours refuses the next create; nothing is counted.

        :raises KieLimiterUnavailable: as :meth:`take`.
        """
        if not self._per_day:
            return self._per_day == 0
        with self._locked() as locked:
            return self._day_wait_ms(locked) > 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Locked]:
        """Hold the account's lock, with no create of the account after now."""
        with self.store.locked(self._account) as locked:
            future = update(CREATE_LOG).where(CREATE_LOG.c.account == self._account, CREATE_LOG.c.at_ms > locked.now)
            locked.connection.execute(future.values(at_ms=locked.now))
            yield locked

    def _day_wait_ms(self, locked: Locked) -> int:
        """Return the milliseconds until the daily cap allows the next create; 0 when it does now."""
        return self._wait_ms(locked, self._per_day, DAY_MS, CREATE_LOG.c.refused.is_(False)) if self._per_day else 0

    def _wait_ms(self, locked: Locked, limit: int, window_ms: int, *only: ColumnElement[bool]) -> int:
        """Return the milliseconds until a window holds fewer creates than its limit; 0 when it does now."""
        blocking = locked.connection.execute(self._newest(CREATE_LOG.c.at_ms, limit, *only)).scalar()
        return 0 if blocking is None else max(0, blocking + window_ms - locked.now)

    def _newest(self, column: Column[int], number: int, *only: ColumnElement[bool]) -> Select[int]:
        """Select a column of the create with this number, counted from the newest, which is 1."""
        mine = select(column).where(CREATE_LOG.c.account == self._account, *only)
        return mine.order_by(CREATE_LOG.c.at_ms.desc(), CREATE_LOG.c.id.desc()).limit(1).offset(number - 1)
