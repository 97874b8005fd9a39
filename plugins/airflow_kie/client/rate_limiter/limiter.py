"""One limiter per KIE account: how many tasks may be created, over all processes that share a store.

KIE allows 20 new tasks in 10 seconds for an account and rejects what is more (docs.kie.ai, "Getting Started":
rejected with 429, not queued). Caps in credits are our own: what a request is quoted at is reserved before it is sent,
and becomes what it has used when its task has ended. Three rules hold for both:

- A create gets its time while the lock is held. Stamped before they waited for it, 22 creates passed a window of 20.
- Creates that lie in the future are moved to now: a clock that was ahead for a moment must not block the account.
- Nothing is deleted because it is old: a clock that is ahead for a moment would make all of today's creates old, and
  the caps would begin again. Creates of the last month are kept, and of older ones as many as a day can hold at all.

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
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Select, delete, func, insert, select, update

from airflow_kie.client.errors import KieConnectionInvalid, KieError, KieLimiterUnavailable
from airflow_kie.client.rate_limiter.store import CREATE_LOG, Locked, store_at
from airflow_kie.client.rate_limiter.turns import CreateTurn, record_waiting, somebody_waits

log = logging.getLogger(__name__)

CREATES = 20
SECONDS = 10.0
MARGIN = 0.4
"""Seconds by which our window is longer than KIE's: requests do not all travel equally long. Measured with 8
processes: 22 creates in a window of 10.0 s without it, never more than 20 with it, at 96 % of the rate."""
DAY_MS = 24 * 60 * 60 * 1000
MONTH_MS = 30 * DAY_MS
MOST_A_DAY = 200_000
"""Creates that are kept whatever their age: more than KIE's rate allows in 24 hours (172,800)."""
_TRIM_EVERY = 100
"""Creates after which the oldest beyond `MOST_A_DAY` are deleted."""
_JITTER_SECONDS = 0.02
"""Waiting processes wake within this time of each other, in an order that chance decides again each time."""


@dataclass(frozen=True)
class Caps:
    """Our own caps in credits; None: none.

    :param request: of one request.
    :param run: of one Airflow run.
    :param day: of any 24 hours.
    :param month: of any 30 days.
    """

    request: float | None = None
    run: float | None = None
    day: float | None = None
    month: float | None = None

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return any(cap is not None for cap in vars(self).values())


@dataclass(frozen=True)
class Cost:
    """What a create is quoted at.

    :param credits: at most; what costs nothing is under no cap.
    :param run: the Airflow run that pays it; empty: none does.
    """

    credits: float = 0.0
    run: str = ""


@dataclass(frozen=True)
class Permit:
    """Whether one create may be sent now.

    :param granted: it may, and is counted. Send it at once: the time of the permit is the time that was counted.
    :param wait_seconds: seconds after which asking again can help; 0 when granted, and where waiting does not help.
    :param over: the limit that was reached: ``rate`` (KIE's window), a cap by its name in :class:`Caps`, or nothing.
    :param token: by which it can be given back; 0 when not granted.
    """

    granted: bool
    wait_seconds: float = 0.0
    over: Literal["rate", "request", "run", "day", "month", ""] = ""
    token: int = field(default=0, compare=False, repr=False)


FREE, NO_CAPS = Cost(), Caps()


class CreateLimiter:
    """Counts the creates of one KIE account in a store that all its processes share.

    Limiters with different limits for one account count together. Threads may share one, and it survives a fork.

    :param account: the account's name, the same for every connection to it.
    :param store: the URL of a :class:`~airflow_kie.client.rate_limiter.store.Store`; empty for its default.
    :param creates: how many creates KIE allows in `seconds`.
    :param seconds: length of KIE's window in seconds.
    :param margin: seconds that are added to the window.
    :param caps: our own caps in credits.
    :param bulk_share: of one that sends many: the share of the rate that it takes at most while somebody else waits.
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
        caps: Caps = NO_CAPS,
        bulk_share: float | None = None,
    ) -> None:
        lowest = min((cap for cap in vars(caps).values() if cap is not None), default=0)
        if not account or creates < 1 or not 0 < seconds <= 3600 or margin < 0 or lowest < 0:
            raise KieConnectionInvalid(
                f"The limiter needs an account, at least 1 create per window (not {creates}), a window of up to "
                f"3600 s (not {seconds}), a margin of at least 0 s (not {margin}) and caps of at least 0 credits "
                f"(not {lowest})"
            )
        self.store = store_at(store)
        self._account = hashlib.sha256(account.encode()).hexdigest()[:16]
        self._creates, self._window_ms = creates, math.ceil((seconds + margin) * 1000)
        self.caps = caps
        self._bulk_share = bulk_share

    def turn(self, holder: str) -> CreateTurn:
        """Return the turn to send many new tasks of the account, for one who wants it."""
        return CreateTurn(self.store, self._account, holder)

    def take(self, cost: Cost = FREE) -> Permit:
        """Take a permit if there is one now, without waiting for one.

        It waits for nothing but the store, and counts only what it grants. A store that cannot be used stops only what
        is under a cap. Otherwise the permit is granted: KIE itself refuses what exceeds its rate.

        :param cost: what the request is quoted at.
        :raises KieLimiterUnavailable: if a cap holds for it and the store cannot be used. Nothing may be sent.
        :raises KieConnectionInvalid: if the store's library is not installed.
        """
        if self.caps.request is not None and cost.credits > self.caps.request:
            return Permit(False, 0.0, "request")
        try:
            return self._take(cost)
        except KieLimiterUnavailable as error:
            if self.caps.any and cost.credits:
                raise
            log.warning(
                "The limiter's store cannot be used: %s. No cap holds for this create, so it is not counted and may be "
                "sent; if it exceeds KIE's rate, KIE refuses it, which costs nothing, and it is sent again later.",
                error.facts.message,
            )
            return Permit(True)

    def _take(self, cost: Cost) -> Permit:
        with self._locked() as locked:
            if over := self._over_cap(locked, cost):
                return over
            if wait := self._wait_ms(locked):
                if self._bulk_share is None:
                    record_waiting(locked, self._account)
                return Permit(False, wait / 1000, "rate")
            row = insert(CREATE_LOG).values(
                account=self._account, at_ms=locked.now, credits=cost.credits, run=_digest(cost.run)
            )
            (token,) = locked.connection.execute(row).inserted_primary_key or (0,)
            if token % _TRIM_EVERY == 0:
                oldest_kept = self._newest(CREATE_LOG.c.id, MOST_A_DAY).scalar_subquery()
                old = CREATE_LOG.c.at_ms < locked.now - MONTH_MS
                locked.connection.execute(
                    delete(CREATE_LOG).where(CREATE_LOG.c.account == self._account, CREATE_LOG.c.id < oldest_kept, old)
                )
        return Permit(True, token=token)

    def _over_cap(self, locked: Locked, cost: Cost) -> Permit | None:
        """Return the refusal of a create that a cap does not allow; what costs nothing is under none."""
        if not cost.credits:
            return None
        for name, window_ms, *only in self._windows(cost.run):
            cap = getattr(self.caps, name)
            spent, oldest = self._spent(locked, window_ms, *only) if cap is not None else (0.0, 0)
            if cap is not None and round(spent + cost.credits, 4) > cap:
                wait = max(1, oldest + window_ms - locked.now) / 1000 if spent else window_ms / 1000
                return Permit(False, 0.0 if name == "run" else wait, name)
        return None

    def _windows(self, run: str) -> tuple[tuple[Any, ...], ...]:
        """Return each cap's name, window and further condition."""
        of_run = (("run", MONTH_MS, CREATE_LOG.c.run == _digest(run)),) if run else ()
        return (*of_run, ("day", DAY_MS), ("month", MONTH_MS))

    def _spent(self, locked: Locked, window_ms: int, *only: ColumnElement[bool]) -> tuple[float, int]:
        """Return what is reserved and used in a window, and when the oldest of it was made."""
        log_ = CREATE_LOG.c
        counted = (log_.account == self._account, log_.refused.is_(False), log_.credits > 0, *only)
        found = select(func.coalesce(func.sum(log_.credits), 0.0), func.coalesce(func.min(log_.at_ms), 0))
        spent, oldest = locked.connection.execute(found.where(*counted, log_.at_ms > locked.now - window_ms)).one()
        return float(spent), int(oldest)

    def spent(self, window_ms: int) -> float:
        """Return the credits that are reserved and used in the last so many milliseconds."""
        with self._locked() as locked:
            return self._spent(locked, window_ms)[0]

    def acquire(self, max_wait: float, cost: Cost = FREE) -> Permit:
        """Wait for a permit, up to `max_wait` seconds.

        Who gets the next one is decided by chance among the waiting. If the next one is further away than that, it
        returns at once, so that no worker is held for nothing.

        :param max_wait: seconds.
        :param cost: what the request is quoted at.
        :raises KieLimiterUnavailable: as :meth:`take`.
        """
        deadline = time.monotonic() + max_wait
        while True:
            permit = self.take(cost)
            helps = permit.wait_seconds and permit.wait_seconds <= deadline - time.monotonic()
            if permit.granted or not helps:
                return permit
            time.sleep(permit.wait_seconds + random.uniform(0, _JITTER_SECONDS))  # noqa: S311 - no secret

    def give_back(self, permit: Permit, *, sent: bool = True) -> None:
        """Take a create out of what is spent: KIE has refused it, or named a task that exists already.

        The caps are on spending, and nothing was paid. KIE has seen the request, so its rate window keeps it; one
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
            log.warning("A create that made no task could not be removed from the caps on credits: %s", error)

    def name(self, permit: Permit, request: str) -> None:
        """Say which request a permit is used for, so that what it uses can be settled.

        :param permit: what :meth:`take` has granted; one that was not counted changes nothing.
        :param request: the request's name in the ledger.
        """
        if permit.token:
            self._change(update(CREATE_LOG).where(CREATE_LOG.c.id == permit.token).values(request=request))

    def settle(self, request: str, credits: float) -> None:
        """Count what a request has used in place of what it was quoted at.

        :param request: the request's name in the ledger.
        :param credits: what KIE says; 0 for a task that has failed.
        """
        mine = (CREATE_LOG.c.account == self._account, CREATE_LOG.c.request == request)
        newest = select(func.max(CREATE_LOG.c.id)).where(*mine).scalar_subquery()
        self._change(update(CREATE_LOG).where(CREATE_LOG.c.id == newest).values(credits=credits))

    def _change(self, change: Any) -> None:
        """Change a create; a store that cannot be used leaves it as it was reserved."""
        try:
            with self._locked() as locked:
                locked.connection.execute(change)
        except KieError as error:
            log.warning("A create still counts with its quote, not with the credits used: %s", error)

    def cap_is_reached(self) -> bool:
        """Return whether the day's or the month's cap refuses every create that costs something; nothing is counted.

        :raises KieLimiterUnavailable: as :meth:`take`.
        """
        caps = {DAY_MS: self.caps.day, MONTH_MS: self.caps.month}
        if all(cap is None for cap in caps.values()):
            return False
        with self._locked() as locked:
            return any(cap is not None and self._spent(locked, window)[0] >= cap for window, cap in caps.items())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Locked]:
        """Hold the account's lock, with no create of the account after now."""
        with self.store.locked(self._account) as locked:
            future = update(CREATE_LOG).where(CREATE_LOG.c.account == self._account, CREATE_LOG.c.at_ms > locked.now)
            locked.connection.execute(future.values(at_ms=locked.now))
            yield locked

    def _wait_ms(self, locked: Locked) -> int:
        """Return the milliseconds until KIE's window holds fewer creates than it allows; 0 when it does now."""
        shared = self._bulk_share is not None and somebody_waits(locked, self._account)
        creates = max(1, int(self._creates * (self._bulk_share or 0.0))) if shared else self._creates
        blocking = locked.connection.execute(self._newest(CREATE_LOG.c.at_ms, creates)).scalar()
        return 0 if blocking is None else max(0, blocking + self._window_ms - locked.now)

    def _newest(self, column: Column[int], number: int) -> Select[int]:
        """Select a column of the create with this number, counted from the newest, which is 1."""
        mine = select(column).where(CREATE_LOG.c.account == self._account)
        return mine.order_by(CREATE_LOG.c.at_ms.desc(), CREATE_LOG.c.id.desc()).limit(1).offset(number - 1)


def _digest(run: str) -> str:
    return hashlib.sha256(run.encode()).hexdigest()[:16] if run else ""
