"""The limiter of an account, on an SQLite file within one process."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_kie.client.errors import KieConnectionInvalid, KieLimiterUnavailable
from airflow_kie.client.rate_limiter import store as stores
from airflow_kie.client.rate_limiter.limiter import Caps, Cost, Permit
from airflow_kie.client.rate_limiter.store import Store, default_store, store_at
from capped_limiter import CreateLimiter

Make = Callable[..., CreateLimiter]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the path of the store's file, in a folder that does not exist yet."""
    return tmp_path / "new" / "creates.db"


@pytest.fixture
def make(file: Path) -> Make:
    """Give a maker of limiters on that file, for the account ``mine`` and windows that outlast the test."""

    def make_limiter(account: str = "mine", **limits: Any) -> CreateLimiter:
        settings: dict[str, Any] = {"store": f"sqlite:///{file}", "seconds": 600.0} | limits
        return CreateLimiter(account, **settings)

    return make_limiter


def granted(limiter: CreateLimiter, times: int) -> list[bool]:
    return [limiter.take().granted for _ in range(times)]


def query(file: Path, statement: str, *values: object) -> Any:
    """Run a statement on the store's file and return the first value of its answer."""
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        return (connection.execute(statement, values).fetchone() or [None])[0]


def age(file: Path, seconds: float) -> None:
    """Make all counted creates older."""
    query(file, "UPDATE kie_new_tasks SET at_ms = at_ms - ?", int(seconds * 1000))


def test_it_grants_what_a_window_allows_and_then_says_how_long_to_wait(make: Make) -> None:
    limiter = make(creates=3)
    assert granted(limiter, 3) == [True, True, True]
    refused = limiter.take()
    assert (refused.granted, refused.over) == (False, "rate")
    assert 0 < refused.wait_seconds <= 600.4 + 0.001


def test_a_granted_permit_names_no_wait_and_no_limit(make: Make) -> None:
    assert make().take() == Permit(granted=True, wait_seconds=0.0, over="")


def test_the_window_is_longer_than_kies_by_the_margin(make: Make, file: Path) -> None:
    limiter = make(creates=1, seconds=600.0, margin=300.0)
    limiter.take()
    age(file, 700.0)
    assert not limiter.take().granted
    age(file, 300.0)
    assert limiter.take().granted


def test_only_what_is_granted_counts(make: Make, file: Path) -> None:
    granted(make(creates=2), 10)
    assert query(file, "SELECT COUNT(*) FROM kie_new_tasks") == 2


def test_two_accounts_do_not_count_together(make: Make) -> None:
    assert granted(make("mine", creates=1), 2) == [True, False]
    assert granted(make("other", creates=1), 2) == [True, False]


def test_connections_with_different_limits_for_one_account_count_together(make: Make) -> None:
    granted(make(creates=2), 2)
    assert granted(make(creates=3, per_day=50), 2) == [True, False]


def test_the_daily_cap_refuses_and_names_itself(make: Make, file: Path) -> None:
    limiter = make(creates=2, per_day=3)
    granted(limiter, 2)
    age(file, 3600)
    assert granted(limiter, 2) == [True, False]
    refused = limiter.take()
    assert refused.over == "day"
    assert 22 * 3600 < refused.wait_seconds <= 23 * 3600


def test_a_daily_cap_below_the_windows_limit_holds(make: Make) -> None:
    limiter = make(creates=20, per_day=2)
    assert granted(limiter, 3) == [True, True, False]
    assert limiter.take().over == "day"


def test_a_daily_cap_that_the_window_can_never_reach_changes_nothing(make: Make) -> None:
    assert granted(make(creates=1, per_day=1_000_000), 2) == [True, False]


def test_a_daily_cap_of_zero_grants_nothing(make: Make) -> None:
    assert make(per_day=0).take() == Permit(False, 86_400.0, "day")


def test_whether_the_cap_is_reached_is_known_without_counting_anything(make: Make, file: Path) -> None:
    assert (make().cap_is_reached(), make(per_day=0).cap_is_reached()) == (False, True)
    limiter = make(creates=20, per_day=2)
    assert [limiter.cap_is_reached() for _ in range(3)] == [False] * 3
    granted(limiter, 2)
    assert (limiter.cap_is_reached(), make(creates=20, per_day=3).cap_is_reached()) == (True, False)
    age(file, 25 * 3600)
    assert not limiter.cap_is_reached()


def test_a_connection_without_a_daily_cap_keeps_the_creates_that_another_counts_by_the_day(
    make: Make, file: Path
) -> None:
    granted(make(creates=5, seconds=1.0), 3)
    age(file, 3600)
    assert make(creates=5, seconds=1.0).take().granted
    assert granted(make(creates=4, seconds=1.0, per_day=5), 2) == [True, False]


def test_acquire_waits_for_the_next_permit(make: Make) -> None:
    limiter = make(creates=1, seconds=0.05, margin=0.05)
    assert [limiter.acquire(30).granted for _ in range(3)] == [True, True, True]


def test_acquire_does_not_sleep_when_the_next_permit_is_further_away(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = make(creates=1)
    limiter.take()
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    refused = limiter.acquire(5)
    assert (refused.granted, refused.over, slept) == (False, "rate", [])


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "creates.db"
    with pytest.raises(KieLimiterUnavailable, match="Nothing was sent") as raised:
        CreateLimiter("mine", store=f"sqlite:///{path}", per_day=5).take()
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_a_database_is_an_error_that_names_it(make: Make, file: Path) -> None:
    file.parent.mkdir()
    file.write_text("notes " * 1000)
    with pytest.raises(KieLimiterUnavailable, match="not a database") as raised:
        make(per_day=5).take()
    assert str(file) in str(raised.value)


def held(file: Path) -> sqlite3.Connection:
    """Hold the store's lock as another process would."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_with_a_daily_cap_a_lock_that_is_never_freed_is_an_error_and_no_endless_wait(
    make: Make, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LOCK_SECONDS", 0.05)
    file.parent.mkdir()
    with contextlib.closing(held(file)), pytest.raises(KieLimiterUnavailable, match="locked"):
        make(per_day=5).take()
    assert make(per_day=1).take().granted, "what was not granted was not counted"


def test_without_a_daily_cap_a_store_that_cannot_be_used_stops_nobody(
    make: Make, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stores, "LOCK_SECONDS", 0.05)
    file.parent.mkdir()
    limiter = make(creates=1)
    with contextlib.closing(held(file)):
        permits = [limiter.take() for _ in range(2)]
    assert [permit.granted for permit in permits] == [True, True]
    assert "so it is not counted" in caplog.text and "Nothing was sent" not in caplog.text
    limiter.give_back(permits[0])
    assert granted(limiter, 2) == [True, False]


@pytest.mark.parametrize("sent", [True, False])
def test_a_permit_that_was_not_used_leaves_the_rate_window_and_one_that_kie_has_refused_does_not(
    make: Make, sent: bool
) -> None:
    limiter = make(creates=1)
    limiter.give_back(limiter.take(), sent=sent)
    assert limiter.take().granted is not sent


def test_threads_do_not_wait_endlessly_for_one_that_is_within_the_store(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LOCK_SECONDS", 0.05)
    limiter = make(per_day=5)
    with limiter.store.locked("another thread"), pytest.raises(KieLimiterUnavailable, match="threads"):
        limiter.take()


def test_a_store_whose_file_was_deleted_is_made_again(make: Make, file: Path) -> None:
    limiter = make(creates=2, per_day=5)
    assert granted(limiter, 2) == [True, True]
    file.unlink()
    with pytest.raises(KieLimiterUnavailable, match="no such table"):
        limiter.take()
    assert granted(limiter, 3) == [True, True, False]


def test_an_exception_within_a_transaction_takes_back_what_it_wrote(file: Path) -> None:
    store = store_at(f"sqlite:///{file}")
    with pytest.raises(ZeroDivisionError), store.locked("account") as (connection, now):
        connection.execute(stores.CREATE_LOG.insert().values(account="account", at_ms=now))
        raise ZeroDivisionError
    assert query(file, "SELECT COUNT(*) FROM kie_new_tasks") == 0


def test_a_create_is_counted_at_the_time_of_its_permit_and_not_before_the_lock(
    make: Make, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LOCK_SECONDS", 120.0)
    limiter = make(creates=1)
    limiter.take()
    age(file, 3600)
    with contextlib.closing(held(file)):
        thread = threading.Thread(target=limiter.take)
        thread.start()
        time.sleep(0.05)  # in which a time that is taken before the lock would be taken
        freed = time.time()
    thread.join()
    assert query(file, "SELECT MAX(at_ms) FROM kie_new_tasks") >= int(freed * 1000)


def test_a_process_has_one_store_for_a_url(file: Path) -> None:
    assert store_at(f"sqlite:///{file}") is store_at(f"sqlite:///{file}")
    assert store_at(f"sqlite:///{file}") is not store_at(f"sqlite:///{file}2")


@pytest.mark.parametrize("url", ["mysql://me:secret@host/db", "redis://:secret@host/0", "me:secret@host", "secret"])
def test_an_address_that_names_no_store_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(KieConnectionInvalid) as raised:
        CreateLimiter("mine", store=url).take()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "wrong",
    [{"account": ""}, {"creates": 0}, {"seconds": 0.0}, {"seconds": 1e9}, {"margin": -1.0}, {"per_day": -1}],
    ids=str,
)
def test_impossible_limits_are_refused(make: Make, wrong: dict[str, Any]) -> None:
    with pytest.raises(KieConnectionInvalid):
        make(**wrong)


def test_without_a_store_the_file_is_in_airflows_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    limiter = CreateLimiter("mine")
    assert limiter.take().granted
    assert default_store() == f"sqlite:///{tmp_path}/kie/creates.db"
    assert (tmp_path / "kie" / "creates.db").exists()


@pytest.mark.parametrize(
    ("url", "local", "shown"),
    [
        ("sqlite:////a/b.db", True, "SQLite file /a/b.db"),
        ("postgresql://me:secret@h:5/db", False, "postgresql at h:5"),
        ("postgres://me:secret@h/db?sslmode=require", False, "postgresql at h"),
        ("postgresql+psycopg2://me:secret@h/db", False, "postgresql at h"),
    ],
)
def test_only_a_file_is_local_and_a_store_is_named_without_its_password(url: str, local: bool, shown: str) -> None:
    store = Store(url)
    assert (store.local, store.shown) == (local, shown)


def test_threads_of_a_process_share_a_limiter(make: Make) -> None:
    limiter, taken = make(creates=20), list[bool]()
    threads = [threading.Thread(target=lambda: taken.extend(granted(limiter, 10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), sum(taken)) == (40, 20)


@pytest.mark.parametrize(("cap", "waits"), [("request", False), ("run", False), ("day", True), ("month", True)])
def test_each_cap_refuses_what_exceeds_it_and_only_the_days_and_the_months_are_worth_waiting_for(
    make: Make, cap: str, waits: bool
) -> None:
    limiter = make(caps=Caps(**{cap: 10.0}))
    assert limiter.take(Cost(10.0, "run 1")).granted
    refused = limiter.take(Cost(10.1, "run 1"))
    assert (refused.granted, refused.over, refused.wait_seconds > 0) == (False, cap, waits)
    assert limiter.acquire(600, Cost(10.1, "run 1")).over == cap
    assert limiter.take(Cost(0.0, "run 1")).granted, "what costs nothing is under no cap"


def test_a_run_has_its_own_cap_and_the_account_counts_all_runs(make: Make) -> None:
    limiter = make(caps=Caps(run=10.0, day=25.0))
    assert [limiter.take(Cost(10.0, f"run {n}")).over for n in range(3)] == ["", "", "day"]
    assert limiter.take(Cost(1.0, "run 0")).over == "run"


def test_what_is_reserved_becomes_what_was_used(make: Make) -> None:
    limiter = make(caps=Caps(day=100.0))
    for number in range(2):
        limiter.name(limiter.take(Cost(50.0)), f"suno.music/{number}")
    assert limiter.cap_is_reached()
    limiter.settle("suno.music/0", 12.0)
    limiter.settle("suno.music/1", 0.0)
    limiter.settle("suno.music/of another Airflow", 1000.0)
    assert not limiter.cap_is_reached()
    assert limiter.take(Cost(88.0)).granted
    assert limiter.cap_is_reached()


def test_a_month_counts_what_a_day_no_longer_does(make: Make, file: Path) -> None:
    limiter = make(caps=Caps(day=10.0, month=25.0))
    assert limiter.take(Cost(10.0)).granted
    age(file, 25 * 3600)
    assert limiter.take(Cost(10.0)).granted
    assert limiter.take(Cost(6.0)).over == "day"
    age(file, 25 * 3600)
    assert limiter.take(Cost(6.0)).over == "month"
    age(file, 30 * 24 * 3600)
    assert limiter.take(Cost(6.0)).granted


def test_eight_threads_never_reserve_more_than_a_cap(make: Make) -> None:
    limiter, taken = make(creates=1000, caps=Caps(day=10.0)), list[bool]()
    threads = [threading.Thread(target=lambda: taken.append(limiter.take(Cost(3.0)).granted)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), sum(taken)) == (8, 3)


def test_one_that_sends_many_leaves_a_part_of_the_rate_while_a_single_one_waits(make: Make, file: Path) -> None:
    single, bulk = make(creates=10), make(creates=10, bulk_share=0.7)
    assert granted(bulk, 11) == [True] * 10 + [False]  # nobody else wants any of it
    assert not single.take().granted
    age(file, 601.0)
    assert granted(bulk, 8) == [True] * 7 + [False]
    assert granted(single, 4) == [True] * 3 + [False]


def test_one_holder_has_the_create_turn_until_it_is_given_back_or_its_time_is_over(make: Make) -> None:
    first, second = make().turn("first"), make().turn("second")
    assert first.take(60.0) == 0.0
    assert 0 < second.take(60.0) <= 60.0
    assert first.take(0.0) == 0.0  # it keeps its turn for this long
    assert second.take(60.0) == 0.0
    second.give_back()
    assert make("another account").turn("third").take(60.0) == first.take(60.0) == 0.0
