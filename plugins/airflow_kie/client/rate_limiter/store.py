"""The database that all processes of an account share: an SQLite file on one machine, Postgres for several.

Every use is one short transaction under a named lock, on a connection of its own. So no connection outlives a fork, a
restart of the server or a deleted file, and a process that waits holds none. All tables are defined here. SQLAlchemy is
imported together with this module: only processes that create tasks import it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from airflow_kie.client.errors import KieConnectionInvalid, KieLimiterUnavailable

TABLES = sa.MetaData()

CREATE_LOG = sa.Table(
    "kie_new_tasks",
    TABLES,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("account", sa.String(16), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("refused", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("credits", sa.Float, nullable=False, server_default="0"),
    sa.Column("run", sa.String(64), nullable=False, server_default=""),
    sa.Column("request", sa.String(200), nullable=False, server_default=""),
    sa.Index("kie_new_tasks_by_time", "account", "at_ms"),
    sa.Index("kie_new_tasks_by_request", "account", "request"),
)
"""Requests for new tasks: a digest of the account's name, the time in epoch milliseconds of the store's clock, whether
KIE refused it, so that it counts against KIE's rate but not against the caps, the credits that it is quoted at or has
used, and a digest of the run and the request that it is for."""

PAID_REQUESTS = sa.Table(
    "kie_paid_requests",
    TABLES,
    sa.Column("key", sa.String(500), primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)
"""The ledger of paid requests, where S3 cannot keep it, and what is known of S3 services; rows are never changed."""

LEASES = sa.Table(
    "kie_leases",
    TABLES,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("holder", sa.String(1000), nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
)
"""Who sends many new tasks of an account now, and whether a single one waits; see ``turns.py``."""

LOCK_SECONDS = 5.0
"""How long to wait for a connection, for the lock and for each answer. A holder of the lock needs milliseconds."""

_POLL_SECONDS = 0.01
"""How often a waiting process asks whether an SQLite file is free; Postgres has a queue."""

_POSTGRES: dict[str, Any] = {
    "isolation_level": "READ COMMITTED",  # a snapshot from before the lock would miss what its last holder wrote
    "connect_args": {
        "connect_timeout": int(LOCK_SECONDS),
        "prepare_threshold": None,  # a pooler in between gives each transaction another session
        "tcp_user_timeout": int(LOCK_SECONDS * 1000),
        "keepalives_idle": int(LOCK_SECONDS),
        "keepalives_interval": 1,
        "keepalives_count": 3,
    },
}


class Locked(NamedTuple):
    """A transaction that holds a lock.

    :param connection: for statements of this transaction.
    :param now: epoch milliseconds, read while the lock is held: from this machine's clock for an SQLite file, else from
        the server's, so that machines whose clocks differ agree.
    """

    connection: sa.Connection
    now: int


class Store:
    """One database; threads may share it, and it can be used after a fork.

    :param url: ``sqlite:///<absolute path>`` or ``postgresql://…``. It may hold a password and is never shown.
    :raises KieConnectionInvalid: when it is neither, or cannot be read.
    """

    def __init__(self, url: str) -> None:
        kind, _, rest = url.partition(":")
        kind = kind.partition("+")[0].lower()
        self.local = kind == "sqlite"
        """Whether it is a file on this machine, which processes on other machines do not share."""
        if self.local:  # absolute: a relative path would name another file in every folder
            self._url = sa.URL.create("sqlite", database="/" + rest.lstrip("/"))
            self.shown = f"SQLite file {self._url.database}"
            """What a log may say: kind and file, or kind, host and port."""
        elif kind in ("postgresql", "postgres"):
            self._url = _postgres_url(rest)
            port = f":{self._url.port}" if self._url.port else ""
            self.shown = f"postgresql at {self._url.host or 'localhost'}{port}"
        else:
            raise KieConnectionInvalid(
                "The limiter's store must be sqlite or postgresql, as in postgresql://user:password@host:5432/database"
            )
        self._engine: sa.Engine | None = None
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[Locked]:
        """Run one transaction under a lock; it is committed at the end, or rolled back by an exception.

        Creates the tables where they are missing. In an SQLite file there is one lock for all names.

        :param name: of the lock: what may change meanwhile only by the holder.
        :raises KieLimiterUnavailable: when the store cannot be used, or the lock is not free within 5 s.
        :raises KieConnectionInvalid: when the database's library is not installed.
        """
        guard = self._guard
        if not guard.acquire(timeout=LOCK_SECONDS):
            raise KieLimiterUnavailable(f"{self.shown} (other threads of this process are waiting for it)")
        try:
            with self._ready().begin() as connection:
                self._lock(connection, name)
                yield Locked(connection, self._now(connection))
        except (SQLAlchemyError, OSError) as error:
            self._engine = None  # the tables may be missing: they are checked again
            raise KieLimiterUnavailable(f"{self.shown} ({self._cause(error)})") from None
        finally:
            guard.release()

    def _ready(self) -> sa.Engine:
        """Return the engine; the first time, create the tables that are missing."""
        if self._engine is None:
            engine = self._new_engine()
            with engine.begin() as connection:
                self._lock(connection, "tables")
                TABLES.create_all(connection)
            self._engine = engine
        return self._engine

    def _new_engine(self) -> sa.Engine:
        if self.local:
            Path(str(self._url.database)).parent.mkdir(parents=True, exist_ok=True)
            # Without an isolation level Python begins no transaction by itself: BEGIN IMMEDIATE takes the lock.
            settings: dict[str, Any] = {"connect_args": {"timeout": 0.1, "isolation_level": None}}
        else:
            settings = _POSTGRES
        try:
            return sa.create_engine(self._url, poolclass=sa.NullPool, hide_parameters=True, **settings)
        except ImportError:
            raise KieConnectionInvalid(
                f"The limiter's store is {self.shown}, but its library is not installed: "
                "pip install 'airflow-provider-kie-ai[postgres]'"
            ) from None

    def _lock(self, connection: sa.Connection, name: str) -> None:
        if self.local:
            self._lock_file(connection)
            return
        limit = str(int(LOCK_SECONDS * 1000))
        connection.execute(
            sa.select(*(sa.func.set_config(f"{kind}_timeout", limit, True) for kind in ("lock", "statement")))
        )
        digest = hashlib.sha256(f"airflow_kie {name}".encode()).digest()
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(int.from_bytes(digest[:8], "big", signed=True))))

    def _lock_file(self, connection: sa.Connection) -> None:
        """Begin a transaction as the file's only writer. SQLite's own waiting asks ever less often, and may starve."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except OperationalError as error:
                if "locked" not in str(error.orig) or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.5, 1.5) * _POLL_SECONDS)  # noqa: S311 - no secret

    def _now(self, connection: sa.Connection) -> int:
        if self.local:
            return time.time_ns() // 1_000_000
        return int(connection.execute(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))).scalar_one() * 1000)

    def _cause(self, error: BaseException) -> str:
        """Return the kind and first line of an error, or the kind alone where the line could hold a secret."""
        cause = getattr(error, "orig", None) or error
        line = (str(cause).splitlines() or [""])[0][:200]
        values = [self._url.password or "", *map(str, self._url.query.values())]
        withheld = any(secret in line for value in values if value for secret in (value, quote(value, safe="")))
        return type(cause).__name__ if withheld or not line else f"{type(cause).__name__}: {line}"


def _postgres_url(rest: str) -> sa.URL:
    try:
        url = sa.make_url(f"postgresql+psycopg:{rest}")
    except (ArgumentError, ValueError):  # their texts repeat parts of the URL
        url = None
    if url is None or "@" in (url.host or ""):  # then it is part of the password
        raise KieConnectionInvalid(
            "The limiter's store is a Postgres URL that cannot be read; a password must be percent-encoded"
        )
    return url


def store_at(url: str) -> Store:
    """Return this process's store at a URL.

    :param url: see :class:`Store`; empty for the file that :func:`default_store` names.
    """
    return _store_at(url or default_store())


@cache
def _store_at(url: str) -> Store:
    _follow_forks()
    store = Store(url)
    _STORES.append(store)
    return store


def default_store() -> str:
    """Return the URL of the SQLite file in Airflow's home that is used where no store is named."""
    home = os.environ.get("AIRFLOW_HOME") or "~/airflow"
    return f"sqlite:///{Path(home).expanduser().resolve()}/kie/creates.db"


_STORES: list[Store] = []
_HELD_FOR_FORK: list[threading.Lock] = []


def _before_fork() -> None:
    """Wait until no thread is within a store: the child would inherit the libraries' locks, and nobody to free them."""
    for store in list(_STORES):
        guard = store._guard
        if guard.acquire(timeout=2 * LOCK_SECONDS):  # otherwise its thread keeps it: the store does not answer
            _HELD_FOR_FORK.append(guard)


def _after_fork_in_parent() -> None:
    held = _HELD_FOR_FORK[::-1]  # the first one last: from then on another thread may fork
    _HELD_FOR_FORK.clear()
    for guard in held:
        guard.release()


def _after_fork_in_child() -> None:
    _HELD_FOR_FORK.clear()
    for store in _STORES:
        store._guard, store._engine = threading.Lock(), None


@cache
def _follow_forks() -> None:
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
