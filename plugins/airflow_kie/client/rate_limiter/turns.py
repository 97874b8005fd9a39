"""Who sends many new tasks of an account now, and whether somebody else waits for a permit meanwhile.

A lease is a row in the limiter's store: it ends by itself, so that nobody waits long for a process that has died.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from airflow_kie.client.errors import KieLimiterUnavailable
from airflow_kie.client.rate_limiter.store import LEASES, Locked, Store

WAITING_MS = 15_000
"""Milliseconds for which one that was refused a permit counts as waiting for it."""


@dataclass(frozen=True)
class CreateTurn:
    """The turn to send many new tasks of an account.

    :param store: the limiter's.
    :param account: digest of the account's name, as the limiter's.
    :param holder: who wants it.
    """

    store: Store
    account: str
    holder: str

    def take(self, seconds: float) -> float:
        """Take the turn, or keep it, for some time; return the seconds until it may be free, 0 where it is ours.

        A store that cannot be used stops nobody: KIE refuses what exceeds its rate, and it is sent again.

        :param seconds: how long it is ours unless it is taken again.
        """
        name = f"turn/{self.account}"
        try:
            with self.store.locked(self.account) as locked:
                row = locked.connection.execute(select(LEASES).where(LEASES.c.name == name)).first()
                if row is not None and row.holder != self.holder and row.until_ms > locked.now:
                    return float(row.until_ms - locked.now) / 1000
                if row is None or row.holder != self.holder:
                    _write(locked, f"since/{self.account}", self.holder, locked.now)
                _write(locked, name, self.holder, locked.now + int(seconds * 1000))
        except KieLimiterUnavailable:
            return 0.0
        return 0.0

    def held(self) -> tuple[str, float] | None:
        """Return who has the turn and since how many seconds; None where nobody has.

        :raises KieLimiterUnavailable: when the store cannot be used.
        """
        named = (f"turn/{self.account}", f"since/{self.account}")
        with self.store.locked(self.account) as locked:
            rows = {row.name: row for row in locked.connection.execute(select(LEASES).where(LEASES.c.name.in_(named)))}
            turn, since = (rows.get(name) for name in named)
            if turn is None or turn.until_ms <= locked.now or since is None or since.holder != turn.holder:
                return None
            return str(turn.holder), float(locked.now - since.until_ms) / 1000

    def give_back(self) -> None:
        """Let the next one have it; it ends by itself where the store cannot be used."""
        try:
            with self.store.locked(self.account) as locked:
                mine = (LEASES.c.name == f"turn/{self.account}", LEASES.c.holder == self.holder)
                locked.connection.execute(delete(LEASES).where(*mine))
        except KieLimiterUnavailable:
            return


def somebody_waits(locked: Locked, account: str) -> bool:
    """Return whether one that sends a single task was refused a permit a moment ago.

    :param locked: a transaction.
    :param account: digest of the account's name.
    """
    row = locked.connection.execute(select(LEASES.c.until_ms).where(LEASES.c.name == f"waits/{account}")).first()
    return row is not None and row.until_ms > locked.now


def record_waiting(locked: Locked, account: str) -> None:
    """Record that one that sends a single task was refused a permit.

    :param locked: a transaction.
    :param account: digest of the account's name.
    """
    _write(locked, f"waits/{account}", "", locked.now + WAITING_MS)


def _write(locked: Locked, name: str, holder: str, until_ms: int) -> None:
    locked.connection.execute(delete(LEASES).where(LEASES.c.name == name))
    locked.connection.execute(insert(LEASES).values(name=name, holder=holder, until_ms=until_ms))
