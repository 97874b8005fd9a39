"""Where the creates of a KIE account are counted: an SQLite file, Redis or Postgres, each with a lock and a clock.

The counting of KIE's rate window is pyrate-limiter's (its *buckets*), that of the daily cap is `day_log`'s. What is
added here is that a create gets its time while the lock is held: pyrate-limiter's own blocking limiter stamps an item
before it waits for the lock, and then let 22 creates pass in a window for 20. Before anything is counted, creates that
lie in the future are moved to now: a clock that was ahead for a moment must not block an account until that time has
come. The libraries are imported where they are used: most processes never create a task.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow_kie.client.errors import KieConnectionInvalid, KieLimiterUnavailable
from airflow_kie.client.rate_limiter.day_log import (
    DayLog,
    PostgresDayLog,
    RedisDayLog,
    SQLiteDayLog,
    pull_back_redis,
    pull_back_sqlite,
)

if TYPE_CHECKING:
    from pyrate_limiter import AbstractBucket, Rate

LOCK_SECONDS = 5.0
"""How long to wait for the store's lock or an answer. A holder needs milliseconds."""

POLL_SECONDS = 0.01
"""How often a waiting process looks whether the lock is free (SQLite and Redis; Postgres queues)."""

LEASE_SECONDS = 2.0
"""After this Redis frees the lock of a process that died with it; the others release it themselves."""

UNUSED_MS = 30 * 24 * 60 * 60 * 1000
"""After this Redis drops an account that nobody uses; long, since a server's clock that is ahead ends it early."""


@dataclass(frozen=True)
class Counted:
    """Whether a create was counted.

    :param token: by which it can be given back; empty when it was not counted.
    :param over: the limit that stood in the way.
    :param wait_ms: milliseconds after which asking again can help; None: the store was busy and could not say.
    """

    token: str = field(default="", repr=False)
    over: Literal["rate", "day", ""] = ""
    wait_ms: int | None = None


@dataclass(frozen=True)
class StoreAddress:
    """A store's URL, taken apart so that its password stays out of every text.

    :param url: as the person wrote it; never shown.
    """

    url: str = field(repr=False)

    @property
    def scheme(self) -> str:
        """The kind of store, without a driver: ``postgresql+psycopg2`` is ``postgresql``."""
        return self.url.partition(":")[0].partition("+")[0].lower()

    @property
    def shown(self) -> str:
        """What may stand in a log: kind and file, or kind, host and port."""
        if self.scheme == "sqlite":
            return f"SQLite file {self.path}"
        try:
            parts = urlsplit(self.url)
            port = f":{parts.port}" if parts.port else ""
            return f"{self.scheme} at {parts.hostname}{port}"
        except ValueError:  # the text of that error repeats what stands in the URL
            return f"{self.scheme} at an unreadable address"

    @property
    def path(self) -> Path:
        """The SQLite file: always absolute, since a relative one would be another file in every folder."""
        return Path("/" + self.url.partition(":")[2].lstrip("/"))

    def cause(self, error: BaseException) -> str:
        """Return the error's kind and its first line, or the kind alone where the line could hold a secret."""
        line = (str(error).splitlines() or [""])[0][:200]
        try:
            parts = urlsplit(self.url)
            credentials = parts.netloc.rpartition("@")[0].partition(":")[2]
        except ValueError:
            return type(error).__name__
        secrets = [credentials, unquote(credentials), *(value for _, value in parse_qsl(parts.query))]
        withheld = not line or any(secret and secret in line for secret in secrets)
        return type(error).__name__ if withheld else f"{type(error).__name__}: {line}"


class CreateStore(ABC):
    """The creates of one account in one store.

    :param address: where the store is.
    :param name: the bucket's name; it comes from the account alone, so that connections with different limits for
        one account count together.
    :param window: what KIE allows.
    """

    failures: tuple[type[BaseException], ...] = (OSError,)
    """What the store's library raises when the store cannot be used."""
    bucket: AbstractBucket
    """The creates of KIE's rate window."""
    day: DayLog
    """The creates that count against the daily cap."""

    def __init__(self, address: StoreAddress, name: str, window: Rate) -> None:
        self.address, self.name, self.rates = address, name, [window]

    @abstractmethod
    def open(self) -> None:
        """Connect and make the tables where there are none."""

    @abstractmethod
    def held(self) -> contextlib.AbstractContextManager[None]:
        """Hold the store's lock: no other process counts meanwhile."""

    @abstractmethod
    def now(self) -> int:
        """Return the milliseconds of the clock that the store goes by."""

    @abstractmethod
    def pull_back_window(self, now: int) -> None:
        """Move creates of the window that lie in the future to now."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    def put(self, per_day: int | None) -> Counted:
        """Count one create, stamped under the lock, if the rate and the daily cap allow it.

        :param per_day: the daily cap; None for none.
        """
        from pyrate_limiter import Decision, RateItem

        with self.held():
            now = self._now_after_all()
            if wait := self.day.wait_ms(now, per_day):
                return Counted(over="day", wait_ms=wait)
            decision = cast(Decision, self.bucket.put_decision(RateItem("create", now)))
            if not decision.allowed:
                return Counted(over="rate", wait_ms=decision.retry_after_ms)
            token = secrets.token_hex(8)
            self.day.add(token, now)
            return Counted(token)

    def give_back(self, token: str) -> None:
        """Take a create out of the daily count; KIE's window has seen the request and keeps it."""
        with self.held():
            self.day.discard(token)

    def day_is_full(self, per_day: int) -> bool:
        """Return whether the daily cap refuses the next create."""
        with self.held():
            return self.day.wait_ms(self._now_after_all(), per_day) > 0

    def clear_out(self) -> None:
        """Delete what no longer counts."""
        with self.held():
            self.bucket.leak(self.now())
            self.day.trim()

    def _now_after_all(self) -> int:
        """Return the time, with no create after it."""
        now = self.now()
        self.pull_back_window(now)
        self.day.pull_back(now)
        return now


class SQLiteStore(CreateStore):
    """A file, and beside it a lock file that the system frees when its holder dies."""

    def open(self) -> None:
        from filelock import FileLock
        from pyrate_limiter import SQLiteBucket, SQLiteQueries

        # NotImplementedError: the file system has no locks. The substitute would outlive its holder's death.
        self.failures = (OSError, sqlite3.Error, NotImplementedError)
        path = self.address.path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(
            f"{path}.lock",
            timeout=LOCK_SECONDS,
            poll_interval=POLL_SECONDS,
            fallback_to_soft=False,
            preserve_lock_file=True,
        )
        with self._lock:
            connection = sqlite3.connect(path, timeout=LOCK_SECONDS, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute(SQLiteQueries.CREATE_BUCKET_TABLE.format(table=self.name))
                index = {"index_name": f"{self.name}_time", "table_name": self.name}
                connection.execute(SQLiteQueries.CREATE_INDEX_ON_TIMESTAMP.format(**index))
                connection.commit()
                self.day = SQLiteDayLog(connection, self.name)
            except sqlite3.Error:
                connection.close()
                raise
        self._connection = connection
        self.bucket = SQLiteBucket(self.rates, connection, table=self.name, lock=self._lock)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            yield

    def now(self) -> int:
        return int(self.bucket.now())  # type: ignore[no-untyped-call]

    def pull_back_window(self, now: int) -> None:
        pull_back_sqlite(self._connection, self.name, now)

    def close(self) -> None:
        self.bucket.close()


class RedisStore(CreateStore):
    """Two sorted sets, by the Redis server's clock, under a lock with a lease."""

    day: RedisDayLog

    def open(self) -> None:
        from pyrate_limiter import RedisBucket
        from redis import Redis, RedisError

        self.failures = (RedisError, OSError)
        self._redis: Any = Redis.from_url(
            self.address.url, socket_timeout=LOCK_SECONDS, socket_connect_timeout=LOCK_SECONDS
        )
        self._key = f"airflow_kie:{self.name}"
        self._lock = self._redis.lock(
            f"{self._key}:lock", timeout=LEASE_SECONDS, sleep=POLL_SECONDS, blocking_timeout=LOCK_SECONDS
        )
        self.bucket = RedisBucket.init(self.rates, self._redis, self._key)
        self.day = RedisDayLog(self._redis, self._key)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        from redis.exceptions import LockError, LockNotOwnedError

        if not self._lock.acquire():
            raise LockError(f"the lock was not free within {LOCK_SECONDS:.0f} s")
        try:
            yield
        finally:
            with contextlib.suppress(LockNotOwnedError):  # this process stood still for longer than the lease
                self._lock.release()

    def now(self) -> int:
        # Not this host's clock: the bucket does not count creates that are stamped later than its own "now".
        seconds, microseconds = self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def pull_back_window(self, now: int) -> None:
        pull_back_redis(self._redis, self._key, now)

    def put(self, per_day: int | None) -> Counted:
        counted = super().put(per_day)
        if counted.token:
            for key in (self._key, self.day.key):
                self._redis.pexpire(key, UNUSED_MS)  # an account that is no longer used leaves nothing behind
        return counted

    def close(self) -> None:
        self._redis.close()


class PostgresStore(CreateStore):
    """Two tables, by the server's clock, under a lock that ends with the transaction or with its connection."""

    def open(self) -> None:
        import psycopg
        from pyrate_limiter import PostgresBucket

        self.failures = (psycopg.Error, OSError)
        digest = hashlib.sha256(self.name.encode()).digest()
        self._lock_id = int.from_bytes(digest[:8], "big", signed=True)
        try:
            self._connection = psycopg.connect(
                "postgresql:" + self.address.url.partition(":")[2],
                autocommit=True,
                connect_timeout=int(LOCK_SECONDS),
                prepare_threshold=None,  # a pooler in between hands each transaction to another session
            )
        except psycopg.ProgrammingError as error:
            raise ValueError from error  # libpq's text quotes what it cannot read
        try:
            with self.held():
                self.bucket = PostgresBucket(cast(Any, self), self.name, self.rates)
                self.day = PostgresDayLog(self._connection, self.name)
        except psycopg.Error:
            self._connection.close()
            raise

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        """Give the one connection within a transaction: all that the bucket asks of a pool, without its threads."""
        from psycopg import Rollback
        from psycopg.pq import TransactionStatus

        with self._connection.transaction() as transaction:
            yield self._connection
            if self._connection.info.transaction_status is TransactionStatus.INERROR:
                raise Rollback(transaction)  # the bucket met a table that something else has locked, and says no

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        with self._connection.transaction():
            # The bucket's column has no time zone: two sessions with different ones would not see each other's rows.
            self._connection.execute("SET LOCAL TIME ZONE 'UTC'")
            self._connection.execute(f"SET LOCAL lock_timeout = {int(LOCK_SECONDS * 1000)}")
            self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (self._lock_id,))
            yield

    def now(self) -> int:
        return int(self.bucket.now())  # type: ignore[no-untyped-call]

    def pull_back_window(self, now: int) -> None:
        from psycopg import sql

        table, seconds = sql.Identifier(f"ratelimit___{self.name}"), (now / 1000,)
        later = sql.SQL("SELECT 1 FROM {} WHERE item_timestamp > TO_TIMESTAMP(%s) LIMIT 1").format(table)
        if self._connection.execute(later, seconds).fetchone():  # an update would wait for who has locked the table
            update = sql.SQL("UPDATE {} SET item_timestamp = TO_TIMESTAMP(%s) WHERE item_timestamp > TO_TIMESTAMP(%s)")
            self._connection.execute(update.format(table), seconds * 2)

    def close(self) -> None:
        self._connection.close()


_STORES: dict[str, tuple[type[CreateStore], str]] = {
    "sqlite": (SQLiteStore, ""),
    "redis": (RedisStore, "redis"),
    "rediss": (RedisStore, "redis"),
    "postgresql": (PostgresStore, "postgres"),
    "postgres": (PostgresStore, "postgres"),
}
"""By the URL's scheme: the store, and the extra that installs its library."""


def open_store(address: StoreAddress, name: str, window: Rate) -> CreateStore:
    """Open the store that an address names.

    :raises KieConnectionInvalid: if the address names no store, or its library is not installed.
    :raises KieLimiterUnavailable: if the store cannot be reached or written.
    """
    kind, extra = _STORES.get(address.scheme, (None, ""))
    if kind is None:
        raise KieConnectionInvalid(
            f"The limiter's store has to be one of {', '.join(_STORES)}, as in redis://host:6379/0"
        )
    store = kind(address, name, window)
    try:
        store.open()
    except ImportError:
        raise KieConnectionInvalid(
            f"The limiter's store is {address.shown}, and its library is not installed: "
            f"pip install 'airflow-provider-kie-ai[{extra}]'"
        ) from None
    except ValueError as error:  # the libraries' texts about a malformed URL repeat parts of it
        raise KieConnectionInvalid(
            f"The limiter's store is {address.shown}, and its URL cannot be read ({type(error).__name__})"
        ) from None
    except store.failures as error:
        raise unavailable(address, error) from None
    return store


def unavailable(address: StoreAddress, error: BaseException) -> KieLimiterUnavailable:
    """Return the typed error for what a store's library raised; it names the host and no password."""
    return KieLimiterUnavailable(f"{address.shown} ({address.cause(error)})")
