"""One limiter per KIE account: how many tasks may be created, over all processes that share a store.

KIE allows 20 new tasks in 10 seconds for an account and rejects what is more (docs.kie.ai, "Getting Started":
rejected with 429, not queued).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import logging
import math
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from airflow_kie.client.errors import KieConnectionInvalid, KieError
from airflow_kie.client.rate_limiter.day_log import DAY_MS, MOST_A_DAY
from airflow_kie.client.rate_limiter.stores import LOCK_SECONDS, CreateStore, StoreAddress, open_store, unavailable

if TYPE_CHECKING:
    from pyrate_limiter import Rate

log = logging.getLogger(__name__)

T = TypeVar("T")

CREATES = 20
SECONDS = 10.0
MARGIN = 0.4
"""Seconds by which our window is longer than KIE's: requests do not all travel equally long. Measured with 8
processes: 22 creates in a window of 10.0 s without it, never more than 20 with it, at 96 % of the rate."""

_JITTER_SECONDS = 0.02
"""Waiting processes wake within this time of each other, in an order that chance decides again each time."""

_CONTENDED_SECONDS = 0.05
"""What to wait when the store was busy and could not say how long."""

_CLEAR_EVERY_SECONDS = 60.0


@dataclass(frozen=True)
class Permit:
    """Whether one create may be sent now.

    :param granted: it may, and is counted. Send it at once: the time of the permit is the time that was counted.
    :param wait_seconds: seconds after which asking again can help; 0 when granted.
    :param over: the limit that stood in the way: ``rate`` (KIE's window), ``day`` (our own cap), or nothing.
    :param token: by which it can be given back; empty when not granted.
    """

    granted: bool
    wait_seconds: float = 0.0
    over: Literal["rate", "day", ""] = ""
    token: str = field(default="", compare=False, repr=False)


class CreateLimiter:
    """Counts the creates of one KIE account in a store that all its processes share.

    Threads may share it, and it survives a fork: the child opens the store again. An SQLite file goes by the wall
    clock of its host; Redis and Postgres go by the clock of their server, so that hosts whose clocks differ agree.

    :param account: the account's name, the same for every connection to it.
    :param store: ``sqlite:///<absolute path>``, ``redis://…``, ``rediss://…`` or ``postgresql://…``; without one, the
        file that :func:`default_store` names.
    :param creates: how many creates KIE allows in `seconds`.
    :param seconds: length of KIE's window in seconds.
    :param margin: seconds that are added to the window.
    :param per_day: our own cap for any 24 hours; None for none, 0 for no creates at all, and at most 200,000.
    :raises KieConnectionInvalid: if a limit is impossible.
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
        self._name = f"creates_{hashlib.sha256(account.encode()).hexdigest()[:16]}"
        self._address = StoreAddress(store or default_store())
        self._creates, self._window_ms = creates, math.ceil((seconds + margin) * 1000)
        self._per_day = None if per_day is None else min(per_day, MOST_A_DAY)
        self._guard = threading.Lock()
        self._store: CreateStore | None = None
        self._clear_at = 0.0
        _follow_process()
        _LIMITERS.add(self)

    def take(self) -> Permit:
        """Take a permit if there is one now, without waiting for one.

        It never blocks longer than the store's lock may (5 s), and counts only what it grants.

        :raises KieLimiterUnavailable: if the store cannot be used. Nothing was counted, so nothing may be sent.
        :raises KieConnectionInvalid: if the store's address is wrong or its library is missing.
        """
        if self._per_day == 0:
            return Permit(False, DAY_MS / 1000, "day")
        with self._guard:
            return self._with_store(self._take)

    def give_back(self, permit: Permit) -> None:
        """Take a create out of the daily count: KIE has refused it, or named a task that exists already.

        The cap is one on spending, and nothing was paid. KIE has seen the request, so its rate window keeps it. A store
        that cannot be used keeps the create counted.

        :param permit: what :meth:`take` has granted; one that was not granted changes nothing.
        """
        if not permit.token:
            return
        try:
            with self._guard:
                self._with_store(lambda store: store.give_back(permit.token))
        except KieError as error:
            log.warning("A create that made no task stays counted against max_creates_per_day: %s", error)

    def acquire(self, patience: float) -> Permit:
        """Wait for a permit, up to `patience` seconds.

        Who gets the next one is decided by chance among the waiting. If the next one is further away than the
        patience reaches, it returns at once, so that no worker is held for nothing.

        :param patience: seconds.
        :raises KieLimiterUnavailable: as :meth:`take`.
        """
        deadline = time.monotonic() + patience
        while True:
            permit = self.take()
            left = deadline - time.monotonic()
            if permit.granted or permit.wait_seconds > left:
                return permit
            time.sleep(permit.wait_seconds + random.uniform(0, _JITTER_SECONDS))  # noqa: S311 - no secret

    @property
    def place(self) -> str:
        """Where it counts, as it may stand in a log: kind and file, or kind, host and port."""
        return self._address.shown

    @property
    def local(self) -> bool:
        """Whether it counts in a file of this machine, which processes on other machines do not share."""
        return self._address.scheme == "sqlite"

    def reach(self) -> None:
        """Open the store and take its lock once, without counting anything.

        :raises KieLimiterUnavailable: as :meth:`take`.
        :raises KieConnectionInvalid: as :meth:`take`.
        """
        with self._guard:
            self._with_store(lambda store: store.day_is_full(1))

    def day_is_full(self) -> bool:
        """Return whether our own cap for 24 hours refuses the next create; nothing is counted.

        :raises KieLimiterUnavailable: as :meth:`take`.
        :raises KieConnectionInvalid: as :meth:`take`.
        """
        per_day = self._per_day
        if not per_day:
            return per_day == 0
        with self._guard:
            return self._with_store(lambda store: store.day_is_full(per_day))

    def _with_store(self, use: Callable[[CreateStore], T]) -> T:
        """Open the store where it is not open, and return what its use returns."""
        if self._store is not None:
            try:
                return use(self._store)
            except self._store.failures:  # such as a restarted server: what was open before proves nothing
                self._close_store()
        self._store = store = open_store(self._address, self._name, self._window())
        try:
            return use(store)
        except store.failures as error:
            self._close_store()
            raise unavailable(self._address, error) from None

    def close(self) -> None:
        """Let go of the store; the next permit opens it again."""
        with self._guard:
            self._close_store()

    def _take(self, store: CreateStore) -> Permit:
        self._clear_out(store)  # before the permit: what comes after it delays the request
        counted = store.put(self._per_day)
        if counted.token:
            return Permit(True, token=counted.token)
        wait = _CONTENDED_SECONDS if counted.wait_ms is None else max(counted.wait_ms, 1) / 1000
        return Permit(False, wait, counted.over)

    def _clear_out(self, store: CreateStore) -> None:
        if time.monotonic() >= self._clear_at:
            self._clear_at = time.monotonic() + _CLEAR_EVERY_SECONDS
            with contextlib.suppress(*store.failures):  # what is wrong meets the permit next
                store.clear_out()

    def _window(self) -> Rate:
        from pyrate_limiter import Rate

        return Rate(self._creates, self._window_ms)

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _leave_to_parent(self) -> None:
        """Drop what a fork inherited without closing it: the connection and its locks are the parent's."""
        if self._store is not None:
            _PARENTS_STORES.append(self._store)
        self._guard, self._store, self._clear_at = threading.Lock(), None, 0.0


_LIMITERS: weakref.WeakSet[CreateLimiter] = weakref.WeakSet()
_FORKING: list[CreateLimiter] = []
_HELD_FOR_FORK: list[threading.Lock] = []
_PARENTS_STORES: list[CreateStore] = []
_SHARED: dict[tuple[object, ...], CreateLimiter] = {}
_shared_guard = threading.Lock()


def shared_limiter(
    account: str,
    store: str = "",
    creates: int = CREATES,
    seconds: float = SECONDS,
    per_day: int | None = None,
) -> CreateLimiter:
    """Return this process's limiter of an account; the parameters are those of :class:`CreateLimiter`.

    Connections with different limits for one account get one each, and these count together.
    """
    key = (account, store, creates, seconds, per_day)
    with _shared_guard:
        if key not in _SHARED:
            _SHARED[key] = CreateLimiter(account, store=store, creates=creates, seconds=seconds, per_day=per_day)
        return _SHARED[key]


def default_store() -> str:
    """Return the URL of the SQLite file that is used where no store is named: in Airflow's home."""
    home = os.environ.get("AIRFLOW_HOME") or "~/airflow"
    return f"sqlite:///{Path(home).expanduser().resolve()}/kie/creates.db"


def store_is_local(store: str) -> bool:
    """Return whether a store is a file on this machine, which processes on other machines do not share."""
    return not store or StoreAddress(store).scheme == "sqlite"


def _before_fork() -> None:
    """Let no thread be within a store while the process forks: the child would inherit locks that nobody frees."""
    _hold_for_fork(_shared_guard)
    _FORKING[:] = list(_LIMITERS)
    for limiter in _FORKING:
        _hold_for_fork(limiter._guard)


def _hold_for_fork(guard: threading.Lock) -> None:
    if guard.acquire(timeout=2 * LOCK_SECONDS):  # otherwise it stays the thread's that has it: a store does not answer
        _HELD_FOR_FORK.append(guard)


def _after_fork_in_parent() -> None:
    held = _HELD_FOR_FORK[::-1]  # the first one last: from then on another thread may fork
    _HELD_FOR_FORK.clear()
    _FORKING.clear()
    for guard in held:
        guard.release()


def _after_fork_in_child() -> None:
    global _shared_guard
    _shared_guard = threading.Lock()
    for limiter in _FORKING:
        limiter._leave_to_parent()
    _HELD_FOR_FORK.clear()
    _FORKING.clear()


def _close_shared() -> None:
    for limiter in _SHARED.values():
        limiter.close()


@functools.cache
def _follow_process() -> None:
    """Follow this process's forks and its end, from the first limiter on."""
    import filelock  # noqa: F401 - it follows forks too; whoever registers last is called first, and that has to be us

    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
    atexit.register(_close_shared)
