"""Where S3 cannot keep the ledger of paid requests, it is in the database that the limiter uses: rows, written once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import delete, insert, select

from airflow_kie.client.rate_limiter.store import PAID_REQUESTS, Store

MANY = 500
"""Rows that are read in one transaction: others wait for it."""


@dataclass(frozen=True)
class DatabaseLedgerStore:
    """Keys and their content in one table.

    :param store: the database.
    """

    kind: ClassVar[str] = "database"
    store: Store

    def create(self, key: str, body: bytes) -> bool:
        """Write a row; False if there is one already, which stays as it is."""
        with self.store.locked("paid requests") as locked:
            there = locked.connection.execute(select(PAID_REQUESTS.c.key).where(PAID_REQUESTS.c.key == key)).scalar()
            if there is None:
                locked.connection.execute(insert(PAID_REQUESTS).values(key=key, body=body.decode()))
            return there is None

    def list(self, prefix: str) -> Iterable[str]:
        """Return the keys below a prefix, in their order."""
        column = PAID_REQUESTS.c.key
        with self.store.locked("paid requests") as locked:
            found = select(column).where(column.startswith(prefix, autoescape=True)).order_by(column)
            keys = locked.connection.execute(found).scalars()
            return [key for key in keys if key.startswith(prefix)]  # SQLite's LIKE does not tell capitals

    def read_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the content of rows, as far as they are there."""
        column = PAID_REQUESTS.c.key
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), MANY):
            some = select(column, PAID_REQUESTS.c.body).where(column.in_(keys[start : start + MANY]))
            with self.store.locked("paid requests") as locked:
                found |= {key: str(body).encode() for key, body in locked.connection.execute(some)}
        return found

    def read(self, key: str) -> bytes | None:
        """Return a row's content, None if there is none."""
        with self.store.locked("paid requests") as locked:
            found = select(PAID_REQUESTS.c.body).where(PAID_REQUESTS.c.key == key)
            body = locked.connection.execute(found).scalar()
        return None if body is None else str(body).encode()

    def delete(self, key: str) -> None:
        """Delete a row, if there is one."""
        with self.store.locked("paid requests") as locked:
            locked.connection.execute(delete(PAID_REQUESTS).where(PAID_REQUESTS.c.key == key))
