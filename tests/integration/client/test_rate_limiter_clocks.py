"""A clock that is wrong for a moment neither blocks creates nor lifts the daily cap, in a file and in Postgres."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_kie.client.rate_limiter import limiter as limiters_module
from airflow_kie.client.rate_limiter.store import Store
from capped_limiter import CreateLimiter
from integration.databases import postgres_url  # noqa: F401 - a fixture

TWO_DAYS = 2 * 24 * 3600.0
TWO_YEARS = 2 * 365 * 24 * 3600.0
accounts = (f"account {number}" for number in itertools.count())


class Clock:
    """The store's clock, which a test can set.

    :param shift: seconds by which it is ahead.
    """

    shift = 0.0


@pytest.fixture(params=["sqlite", "postgres_url"])
def limiters(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Callable[..., CreateLimiter], Clock]:
    """Give a maker of limiters for one account in each store, and the clock that the store goes by."""
    clock, real = Clock(), Store._now
    monkeypatch.setattr(Store, "_now", lambda store, connection: real(store, connection) + int(clock.shift * 1000))
    file = f"sqlite:///{tmp_path}/creates.db"
    url = file if request.param == "sqlite" else str(request.getfixturevalue(request.param))
    account = next(accounts)

    def make(**limits: Any) -> CreateLimiter:
        return CreateLimiter(account, **({"store": url, "seconds": 0.01, "margin": 0.0, "creates": 20} | limits))

    return make, clock


def granted(limiter: CreateLimiter, times: int) -> list[bool]:
    return [limiter.acquire(5).granted for _ in range(times)]


@pytest.mark.parametrize("ahead", [1.0, TWO_DAYS, TWO_YEARS])
def test_creates_of_a_clock_that_was_ahead_block_no_longer_than_a_window(limiters: Any, ahead: float) -> None:
    make, clock = limiters
    limiter = make(creates=2, seconds=60.0)
    clock.shift = ahead
    assert granted(limiter, 2) == [True, True]
    clock.shift = 0.0
    refused = limiter.take()
    assert (refused.granted, refused.over) == (False, "rate")
    assert refused.wait_seconds <= 60.001
    clock.shift = 61.0
    assert limiter.take().granted


@pytest.mark.parametrize("ahead", [TWO_DAYS, TWO_YEARS])
def test_a_clock_that_was_ahead_for_a_moment_does_not_lift_the_daily_cap(limiters: Any, ahead: float) -> None:
    make, clock = limiters
    assert granted(make(per_day=3), 4) == [True, True, True, False]
    clock.shift = ahead
    assert make(per_day=10).take().granted
    clock.shift = 0.0
    after = make(per_day=4)
    assert after.cap_is_reached(), "three before and the one of the wrong moment are counted"
    assert (after.take().granted, after.take().over) == (False, "day")


def test_creates_of_a_clock_that_was_ahead_count_for_one_day_from_then_on(limiters: Any) -> None:
    make, clock = limiters
    limiter = make(per_day=2)
    clock.shift = TWO_DAYS
    assert granted(limiter, 2) == [True, True]
    clock.shift = 0.0
    refused = limiter.take()
    assert (refused.over, refused.wait_seconds <= 24 * 3600) == ("day", True)
    clock.shift = 24 * 3600 + 1.0
    assert granted(limiter, 3) == [True, True, False]


def test_the_store_keeps_of_creates_older_than_a_month_as_many_as_a_day_can_hold(
    limiters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiters_module, "MOST_A_DAY", 5)
    monkeypatch.setattr(limiters_module, "_TRIM_EVERY", 1)
    monkeypatch.setattr(limiters_module, "MONTH_MS", -1)
    make, _ = limiters
    assert all(granted(make(), 8))
    monkeypatch.setattr(limiters_module, "MOST_A_DAY", 100)
    monkeypatch.setattr(limiters_module, "MONTH_MS", 30 * limiters_module.DAY_MS)
    assert make(per_day=6).take().granted, "five were left"
    assert make(per_day=7).cap_is_reached() is False
    assert make(per_day=6).cap_is_reached() is True


def test_a_create_that_kie_refused_is_given_back_to_the_day_and_not_to_the_window(limiters: Any) -> None:
    make, _ = limiters
    limiter = make(creates=3, seconds=600.0, per_day=2)
    for _ in range(2):
        permit = limiter.take()
        assert permit.granted
        limiter.give_back(permit)
    assert not limiter.cap_is_reached()
    assert limiter.take().granted
    assert limiter.take().over == "rate"


def test_giving_back_twice_or_what_was_refused_gives_nothing(limiters: Any) -> None:
    make, _ = limiters
    limiter = make(per_day=2)
    first = limiter.acquire(5)
    assert limiter.acquire(5).granted
    limiter.give_back(limiter.take())
    assert limiter.cap_is_reached()
    limiter.give_back(first)
    limiter.give_back(first)
    assert granted(limiter, 2) == [True, False]
