"""The creates of one account that count against its daily cap, beside the short log of KIE's rate window.

Nothing here is deleted because it is old: a clock that is ahead for a moment would make all of today's creates old, and
the cap would begin again. Kept are the newest ones, as many as a day can hold at all. Everything here is called with
the store's lock held.

One case stays open: while a clock is behind, today's creates lie in its future and are moved back to it; when it is
right again they count as that old. Nothing in a store tells this from a clock that was ahead before.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from typing import Any

DAY_MS = 24 * 60 * 60 * 1000

MOST_A_DAY = 200_000
"""Creates that are kept: more than KIE's rate allows in 24 hours (172,800)."""


class DayLog(ABC):
    """The creates that count against the daily cap; all times are epoch milliseconds of the store's clock."""

    @abstractmethod
    def add(self, token: str, now: int) -> None:
        """Count a create, under a token by which it can be taken out again."""

    @abstractmethod
    def discard(self, token: str) -> None:
        """Take a create out that made nothing; one that is not there changes nothing."""

    @abstractmethod
    def pull_back(self, now: int) -> None:
        """Move creates of the future to now: a clock that was ahead stamped them, and they did happen."""

    @abstractmethod
    def trim(self) -> None:
        """Delete all but the newest creates."""

    @abstractmethod
    def newest(self, number: int) -> int | None:
        """Return the time of the create with this number, counted from the newest, which is 1."""

    def wait_ms(self, now: int, per_day: int | None) -> int:
        """Return the milliseconds until the cap allows the next create; 0 when it does now.

        :param now: the store's clock.
        :param per_day: the cap; None for none.
        """
        blocking = self.newest(per_day) if per_day else None
        return 0 if blocking is None else max(0, blocking + DAY_MS - now)


_TABLE = "CREATE TABLE IF NOT EXISTS {table} (token VARCHAR PRIMARY KEY, item_timestamp BIGINT)"
_INDEX = "CREATE INDEX IF NOT EXISTS {index} ON {table} (item_timestamp)"
_ADD = "INSERT INTO {table} VALUES (%s, %s)"
_DISCARD = "DELETE FROM {table} WHERE token = %s"
_LATER = "SELECT 1 FROM {table} WHERE item_timestamp > %s LIMIT 1"
_PULL_BACK = "UPDATE {table} SET item_timestamp = %s WHERE item_timestamp > %s"
_NEWEST = "SELECT item_timestamp FROM {table} ORDER BY item_timestamp DESC LIMIT 1 OFFSET %s"
_TRIM = """DELETE FROM {table} WHERE token IN (
    SELECT token FROM {table} ORDER BY item_timestamp DESC LIMIT 1000000000 OFFSET %s)"""


class SqlDayLog(DayLog):
    """A table beside the window's, in a database that takes these statements.

    :param name: the bucket's name.
    """

    def __init__(self, name: str) -> None:
        self.table, self.index = f"{name}_day", f"{name}_day_time"
        self.run(_TABLE)
        self.run(_INDEX)

    @abstractmethod
    def run(self, statement: str, *values: object) -> Any:
        """Run a statement and return its cursor."""

    def add(self, token: str, now: int) -> None:
        self.run(_ADD, token, now)

    def discard(self, token: str) -> None:
        self.run(_DISCARD, token)

    def pull_back(self, now: int) -> None:
        if self.run(_LATER, now).fetchone():  # nothing is written where there are none
            self.run(_PULL_BACK, now, now)

    def trim(self) -> None:
        self.run(_TRIM, MOST_A_DAY)

    def newest(self, number: int) -> int | None:
        row = self.run(_NEWEST, number - 1).fetchone()
        return None if row is None else int(row[0])


class SQLiteDayLog(SqlDayLog):
    """A table in the store's file."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        super().__init__(name)

    def run(self, statement: str, *values: object) -> Any:
        return run_sqlite(self._connection, statement, self.table, self.index, *values)


class PostgresDayLog(SqlDayLog):
    """A table; what is written belongs to the transaction that holds the store's lock."""

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        super().__init__(name)

    def run(self, statement: str, *values: object) -> Any:
        from psycopg import sql

        names = {"table": sql.Identifier(self.table), "index": sql.Identifier(self.index)}
        return self._connection.execute(sql.SQL(statement).format(**names), values or None)


def run_sqlite(connection: sqlite3.Connection, statement: str, table: str, index: str, *values: object) -> Any:
    """Run a statement on an SQLite file, commit, and return its cursor."""
    with connection:
        text = statement.replace("%s", "?").format(table=f'"{table}"', index=f'"{index}"')
        return connection.execute(text, values)


def pull_back_sqlite(connection: sqlite3.Connection, table: str, now: int) -> None:
    """Move a table's creates of the future to now.

    :param connection: to the file.
    :param table: its name.
    :param now: epoch milliseconds.
    """
    if run_sqlite(connection, _LATER, table, "", now).fetchone():
        run_sqlite(connection, _PULL_BACK, table, "", now, now)


class RedisDayLog(DayLog):
    """A sorted set: token by time."""

    def __init__(self, redis: Any, key: str) -> None:
        self._redis, self.key = redis, f"{key}:day"

    def add(self, token: str, now: int) -> None:
        self._redis.zadd(self.key, {token: now})

    def discard(self, token: str) -> None:
        self._redis.zrem(self.key, token)

    def pull_back(self, now: int) -> None:
        pull_back_redis(self._redis, self.key, now)

    def trim(self) -> None:
        self._redis.zremrangebyrank(self.key, 0, -MOST_A_DAY - 1)

    def newest(self, number: int) -> int | None:
        found = self._redis.zrange(
            self.key, -number, -number, withscores=True, score_cast_func=lambda at: int(float(at))
        )
        return found[0][1] if found else None


def pull_back_redis(redis: Any, key: str, now: int) -> None:
    """Move a sorted set's creates of the future to now.

    :param redis: the server.
    :param key: of the set.
    :param now: epoch milliseconds.
    """
    early = redis.zrangebyscore(key, f"({now}", "+inf")
    if early:
        redis.zadd(key, dict.fromkeys(early, now))
