"""Where the creates of a KIE account are counted: an SQLite file, Redis or Postgres, each with a lock and a clock.

The counting is pyrate-limiter's (its *buckets*). What is added here is that a create gets its time while the lock is
held: pyrate-limiter's own blocking limiter stamps an item before it waits for the lock, and then let 22 creates pass
in a window for 20. The libraries are imported where they are used: most processes never create a task.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow_kie.client.errors import KieConnectionInvalid, KieLimiterUnavailable

if TYPE_CHECKING:
    from pyrate_limiter import AbstractBucket, Decision, Rate

LOCK_SECONDS = 5.0
"""How long to wait for the store's lock or an answer. A holder needs milliseconds."""

POLL_SECONDS = 0.01
"""How often a waiting process looks whether the lock is free (SQLite and Redis; Postgres queues)."""

LEASE_SECONDS = 2.0
"""After this Redis frees the lock of a process that died with it; the others release it themselves."""

DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class StoreAddress:
    """A store's URL, taken apart so that its password stays out of every text.

    :param url: as the person wrote it; never shown.
    """

    url: str

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
    :param rates: what is allowed, shortest window first.
    """

    failures: tuple[type[BaseException], ...] = (OSError,)
    """What the store's library raises when the store cannot be used."""
    bucket: AbstractBucket

    def __init__(self, address: StoreAddress, name: str, rates: list[Rate]) -> None:
        self.address, self.name, self.rates = address, name, rates

    @abstractmethod
    def open(self) -> None:
        """Connect and make the table where there is none."""

    @abstractmethod
    def held(self) -> contextlib.AbstractContextManager[None]:
        """Hold the store's lock: no other process counts meanwhile."""

    @abstractmethod
    def now(self) -> int:
        """Return the milliseconds of the clock that the store goes by."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    def put(self) -> Decision:
        """Count one create, stamped under the lock, if the rates allow it."""
        from pyrate_limiter import Decision, RateItem

        with self.held():
            return cast(Decision, self.bucket.put_decision(RateItem("create", self.now())))

    def leak(self) -> None:
        """Delete creates that are older than a day: another connection of the account may count by the day."""
        with self.held():
            self._forget_before_a_day()

    def of_a_day(self) -> int:
        """Return how many creates were counted within a day; the lock is held by who asks."""
        self._forget_before_a_day()
        return int(cast(int, self.bucket.count()))

    def _forget_before_a_day(self) -> None:
        self.bucket.leak(self.now() - DAY_MS + self.rates[-1].interval)


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
            except sqlite3.Error:
                connection.close()
                raise
        self.bucket = SQLiteBucket(self.rates, connection, table=self.name, lock=self._lock)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            yield

    def now(self) -> int:
        return int(self.bucket.now())  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self.bucket.close()


class RedisStore(CreateStore):
    """A sorted set, by the Redis server's clock, under a lock with a lease."""

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

    def put(self) -> Decision:
        decision = super().put()
        if decision.allowed:
            self._redis.pexpire(self._key, 2 * DAY_MS)  # an account that is no longer used leaves nothing behind
        return decision

    def close(self) -> None:
        self._redis.close()


class PostgresStore(CreateStore):
    """A table, by the server's clock, under a lock that ends with the transaction or with its connection."""

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


def open_store(address: StoreAddress, name: str, rates: list[Rate]) -> CreateStore:
    """Open the store that an address names.

    :raises KieConnectionInvalid: if the address names no store, or its library is not installed.
    :raises KieLimiterUnavailable: if the store cannot be reached or written.
    """
    kind, extra = _STORES.get(address.scheme, (None, ""))
    if kind is None:
        raise KieConnectionInvalid(
            f"The limiter's store has to be one of {', '.join(_STORES)}, as in redis://host:6379/0"
        )
    store = kind(address, name, rates)
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
