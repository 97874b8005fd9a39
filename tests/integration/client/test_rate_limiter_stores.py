"""The limiter on real Redis and Postgres servers: it counts as on a file, outlives restarts, and keeps passwords."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import redis

from airflow_kie.client.errors import KieConnectionInvalid, KieLimiterUnavailable
from airflow_kie.client.rate_limiter.limiter import CreateLimiter
from integration.databases import PASSWORD, postgres_url, redis_url  # noqa: F401 - fixtures

Make = Callable[..., CreateLimiter]
accounts = (f"account {number}" for number in itertools.count())


@pytest.fixture(params=["redis_url", "postgres_url"])
def url(request: pytest.FixtureRequest) -> str:
    """Give the URL of each server in turn."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def make() -> Iterator[Make]:
    """Give a maker of limiters; without an account they are for one that no other test has."""
    made: list[CreateLimiter] = []
    own = next(accounts)

    def make_limiter(store: str, account: str = own, **limits: Any) -> CreateLimiter:
        settings: dict[str, Any] = {"store": store, "seconds": 600.0} | limits
        made.append(CreateLimiter(account, **settings))
        return made[-1]

    yield make_limiter
    for limiter in made:
        limiter.close()


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
    assert granted(limiter, 1) == [True] and not limiter.day_is_full()
    assert granted(limiter, 2) == [True, False] and limiter.day_is_full()
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


def test_redis_forgets_its_scripts_and_the_limiter_goes_on(make: Make, redis_url: str) -> None:  # noqa: F811
    limiter = make(redis_url, creates=2)
    limiter.take()
    with redis.Redis.from_url(redis_url) as server:
        server.script_flush()
    assert granted(limiter, 2) == [True, False]


def test_postgres_ends_the_session_and_the_limiter_goes_on(make: Make, postgres_url: str) -> None:  # noqa: F811
    limiter = make(postgres_url, creates=2)
    limiter.take()
    with psycopg.connect(postgres_url) as server:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert granted(limiter, 2) == [True, False]


def test_a_table_that_something_else_has_locked_is_a_short_wait_and_no_error(
    make: Make,
    postgres_url: str,  # noqa: F811
) -> None:
    limiter = make(postgres_url, creates=2)
    limiter.take()
    with psycopg.connect(postgres_url) as server:
        server.execute(f"LOCK TABLE ratelimit___{limiter._name} IN SHARE MODE")
        refused = limiter.take()
    assert (refused.granted, refused.over) == (False, "rate")
    assert refused.wait_seconds < 1
    assert granted(limiter, 2) == [True, False]


def test_sessions_with_different_time_zones_count_together(make: Make, postgres_url: str) -> None:  # noqa: F811
    zones = ["America/New_York", "Asia/Tokyo"]
    west, east = (make(f"{postgres_url}?options=-c%20timezone%3D{zone}", creates=1) for zone in zones)
    assert (west.take().granted, east.take().granted) == (True, False)


def test_a_url_with_a_driver_is_a_postgres_url(make: Make, postgres_url: str) -> None:  # noqa: F811
    assert make(postgres_url.replace("postgresql:", "postgresql+psycopg2:")).take().granted


def test_hosts_whose_clocks_differ_count_by_the_clock_of_redis(
    make: Make,
    redis_url: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make(redis_url, creates=1).take()
    monkeypatch.setattr("pyrate_limiter.buckets.redis_bucket.time_ns", lambda: 0)
    assert not make(redis_url, creates=1).take().granted


def test_redis_drops_an_account_that_is_no_longer_used(make: Make, redis_url: str) -> None:  # noqa: F811
    limiter = make(redis_url)
    granted(limiter, 2)
    with redis.Redis.from_url(redis_url) as server:
        for key in (f"airflow_kie:{limiter._name}", f"airflow_kie:{limiter._name}:day"):
            assert 0 < server.pttl(key) <= 30 * 24 * 3600 * 1000


@pytest.mark.parametrize(
    "store",
    [
        "redis://:se%2Fcret@127.0.0.1:1/0",
        "rediss://me:se%2Fcret@127.0.0.1:1/0",
        "postgresql://me:se%2Fcret@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=se%2Fcret",
    ],
)
def test_a_server_that_is_not_there_is_named_without_its_password(make: Make, store: str) -> None:
    with pytest.raises(KieLimiterUnavailable, match="Nothing was sent") as raised:
        make(store).take()
    assert "127.0.0.1:1" in str(raised.value)
    assert "cret" not in repr(raised.value) + str(raised.value.to_event())
    assert raised.value.__cause__ is None  # whose text a log would print


def test_a_refused_password_is_not_repeated(make: Make, url: str) -> None:
    with pytest.raises(KieLimiterUnavailable) as raised:
        make(url.replace(PASSWORD, "wrong-word")).take()
    assert "wrong-word" not in str(raised.value)


@pytest.mark.parametrize("store", ["redis://me:se%zzcret@h:port/", "postgresql://me:se%zzcret@h/db"])
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(make: Make, store: str) -> None:
    with pytest.raises(KieConnectionInvalid) as raised:
        make(store).take()
    assert "cret" not in str(raised.value)
