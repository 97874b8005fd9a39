"""The limiter on a real Postgres server: it counts as on a file, outlives restarts, and keeps passwords."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from airflow_kie.client.errors import KieConnectionInvalid, KieLimiterUnavailable
from airflow_kie.client.rate_limiter import store as stores
from capped_limiter import CreateLimiter
from integration.databases import PASSWORD, postgres_url  # noqa: F401 - fixtures

Make = Callable[..., CreateLimiter]
accounts = (f"account {number}" for number in itertools.count())


@pytest.fixture
def url(postgres_url: str) -> str:  # noqa: F811
    """Give the URL of the server."""
    return postgres_url


@pytest.fixture
def make() -> Make:
    """Give a maker of limiters with a daily cap; without an account they are for one that no other test has."""
    own = next(accounts)

    def make_limiter(store: str, account: str = own, **limits: Any) -> CreateLimiter:
        settings: dict[str, Any] = {"store": store, "seconds": 600.0, "per_day": 1000} | limits
        return CreateLimiter(account, **settings)

    return make_limiter


def granted(limiter: CreateLimiter, times: int) -> list[bool]:
    return [limiter.take().granted for _ in range(times)]


def test_a_server_counts_and_says_how_long_to_wait(make: Make, url: str) -> None:
    limiter = make(url, creates=2)
    assert granted(limiter, 3) == [True, True, False]
    refused = limiter.take()
    assert refused.over == "rate"
    assert 500 < refused.wait_seconds <= 601


def test_a_server_counts_the_day(make: Make, url: str) -> None:
    limiter = make(url, creates=20, per_day=2)
    assert granted(limiter, 1) == [True] and not limiter.cap_is_reached()
    assert granted(limiter, 2) == [True, False] and limiter.cap_is_reached()
    assert limiter.take().over == "day"


def test_two_limiters_of_an_account_count_together_and_another_account_alone(make: Make, url: str) -> None:
    assert granted(make(url, creates=2), 1) == [True]
    assert granted(make(url, creates=3, per_day=100), 3) == [True, True, False]
    assert granted(make(url, next(accounts), creates=2), 2) == [True, True]


def test_the_next_permit_comes_when_the_window_has_passed(make: Make, url: str) -> None:
    limiter = make(url, creates=1, seconds=0.1, margin=0.1)
    assert [limiter.acquire(30).granted for _ in range(3)] == [True, True, True]


def test_threads_of_a_process_share_a_limiter(make: Make, url: str) -> None:
    limiter, taken = make(url, creates=20), list[bool]()
    threads = [threading.Thread(target=lambda: taken.extend(granted(limiter, 10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), sum(taken)) == (40, 20)


def test_the_server_ends_the_sessions_and_the_limiter_goes_on(make: Make, url: str) -> None:
    limiter = make(url, creates=2)
    limiter.take()
    with psycopg.connect(url) as server:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert granted(limiter, 2) == [True, False]


def test_a_limiter_that_waits_holds_no_connection(make: Make, url: str) -> None:
    make(url).take()
    with psycopg.connect(url, autocommit=True) as server:
        clients = "SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        while server.execute(clients).fetchone() != (1,):  # the server ends those of before in its own time
            time.sleep(0.02)


@pytest.mark.parametrize("lock", ["LOCK TABLE kie_new_tasks IN SHARE MODE", "LOCK TABLE kie_new_tasks"])
def test_a_table_that_something_else_has_locked_is_waited_for_and_not_endlessly(
    make: Make, url: str, lock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = make(url, creates=1)
    limiter.cap_is_reached()
    with psycopg.connect(url) as server:
        server.execute(lock)
        threading.Timer(0.3, server.rollback).start()
        assert limiter.take().granted
    monkeypatch.setattr(stores, "LOCK_SECONDS", 0.2)
    with psycopg.connect(url) as server:
        server.execute(lock)
        with pytest.raises(KieLimiterUnavailable, match="timeout"):
            make(url, next(accounts)).take()


def test_another_accounts_lock_is_not_waited_for(make: Make, url: str) -> None:
    mine, other = make(url), make(f"{url}?application_name=another_process", next(accounts))
    with mine.store.locked(mine._account):
        assert other.take().granted


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_what_the_last_holder_wrote_is_seen_at_any_isolation_level_of_the_server(
    make: Make, url: str, level: str
) -> None:
    setting = f"?options=-c%20default_transaction_isolation%3D{level.replace(' ', '%5C%20')}"
    first, second = make(url, creates=1), make(url + setting, creates=1)
    second.cap_is_reached()
    taken = list[bool]()
    with first.store.locked(first._account) as (connection, now):
        waiting = threading.Thread(target=lambda: taken.append(second.take().granted))
        waiting.start()
        with psycopg.connect(url) as server:
            while server.execute("SELECT COUNT(*) FROM pg_locks WHERE NOT granted").fetchone() != (1,):
                server.rollback()
        connection.execute(stores.CREATE_LOG.insert().values(account=first._account, at_ms=now))
    waiting.join()
    assert taken == [False]


def test_sessions_with_different_time_zones_count_together(make: Make, url: str) -> None:
    zones = ["America/New_York", "Asia/Tokyo"]
    west, east = (make(f"{url}?options=-c%20timezone%3D{zone}", creates=1) for zone in zones)
    assert (west.take().granted, east.take().granted) == (True, False)


def test_a_url_with_a_driver_is_a_postgres_url(make: Make, url: str) -> None:
    assert make(url.replace("postgresql:", "postgresql+psycopg2:")).take().granted


def test_machines_whose_clocks_differ_count_by_the_clock_of_the_server(
    make: Make, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(url, creates=1).take()
    monkeypatch.setattr("airflow_kie.client.rate_limiter.store.time.time_ns", lambda: 0)
    assert not make(url, creates=1).take().granted


def test_processes_that_create_the_tables_at_the_same_time_do_not_fail(make: Make, url: str) -> None:
    with psycopg.connect(url) as server:
        server.execute("DROP TABLE IF EXISTS kie_new_tasks")
    taken = list[bool]()
    others = [make(f"{url}?application_name=process_{number}", next(accounts)) for number in range(8)]
    threads = [threading.Thread(target=lambda one=one: taken.append(one.take().granted)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [True] * 8


@pytest.mark.parametrize(
    "store",
    ["postgresql://me:se%2Fcret@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db?user=me&password=se%2Fcret"],
)
def test_a_server_that_is_not_there_is_named_without_its_password(make: Make, store: str) -> None:
    with pytest.raises(KieLimiterUnavailable, match="Nothing was sent") as raised:
        make(store).take()
    assert "127.0.0.1" in str(raised.value)
    assert "cret" not in repr(raised.value) + str(raised.value.to_event())
    assert raised.value.__cause__ is None  # whose text a log would print


def test_a_refused_password_is_not_repeated(make: Make, url: str) -> None:
    with pytest.raises(KieLimiterUnavailable) as raised:
        make(url.replace(PASSWORD, "wrong-word")).take()
    assert "wrong-word" not in str(raised.value)


@pytest.mark.parametrize(
    "store", ["postgresql://me:se%zzcret@h:port/", "postgresql:me:cret", "postgresql://me:se@cret@h/db"]
)
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(make: Make, store: str) -> None:
    with pytest.raises(KieConnectionInvalid) as raised:
        make(store)
    assert "cret" not in str(raised.value)


def test_options_that_the_server_refuses_are_an_error_without_the_password(make: Make, url: str) -> None:
    with pytest.raises(KieLimiterUnavailable) as raised:
        make(f"{url}?no_such_option={PASSWORD}").take()
    assert PASSWORD not in str(raised.value)
