"""The limiter of an account, on an SQLite file within one process."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_kie.client.errors import KieConnectionInvalid, KieLimiterUnavailable
from airflow_kie.client.rate_limiter import stores
from airflow_kie.client.rate_limiter.limiter import CreateLimiter, Permit, default_store, shared_limiter, store_is_local

Make = Callable[..., CreateLimiter]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the path of the store's file, in a folder that does not exist yet."""
    return tmp_path / "new" / "creates.db"


@pytest.fixture
def make(file: Path) -> Iterator[Make]:
    """Give a maker of limiters on that file, for the account ``mine`` and windows that outlast the test."""
    made: list[CreateLimiter] = []

    def make_limiter(account: str = "mine", **limits: Any) -> CreateLimiter:
        settings: dict[str, Any] = {"store": f"sqlite:///{file}", "seconds": 600.0} | limits
        made.append(CreateLimiter(account, **settings))
        return made[-1]

    yield make_limiter
    for limiter in made:
        limiter.close()


def granted(limiter: CreateLimiter, times: int) -> list[bool]:
    return [limiter.take().granted for _ in range(times)]


def age(file: Path, seconds: float) -> None:
    """Make all counted creates older."""
    connection = sqlite3.connect(file)
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        connection.execute(f"UPDATE {table} SET item_timestamp = item_timestamp - ?", (int(seconds * 1000),))
    connection.commit()
    connection.close()


def rows(file: Path) -> int:
    connection = sqlite3.connect(file)
    (table,) = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchone()
    count = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
    connection.close()
    return int(count)


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
    assert rows(file) == 2


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


def test_whether_the_day_is_full_is_known_without_counting_anything(make: Make, file: Path) -> None:
    assert (make().day_is_full(), make(per_day=0).day_is_full()) == (False, True)
    limiter = make(creates=20, per_day=2)
    assert [limiter.day_is_full() for _ in range(3)] == [False] * 3
    granted(limiter, 2)
    assert (limiter.day_is_full(), make(creates=20, per_day=3).day_is_full()) == (True, False)
    age(file, 25 * 3600)
    assert not limiter.day_is_full()


def test_a_connection_without_a_daily_cap_keeps_the_creates_that_another_counts_by_the_day(
    make: Make, file: Path
) -> None:
    granted(make(creates=5, seconds=1.0), 3)
    age(file, 3600)
    assert make(creates=5, seconds=1.0).take().granted
    assert granted(make(creates=4, seconds=1.0, per_day=5), 2) == [True, False]


def test_creates_that_have_left_the_window_are_deleted_from_its_table(make: Make, file: Path) -> None:
    granted(make(creates=5), 4)
    age(file, 25 * 3600)
    make(creates=5).take()
    assert rows(file) == 1


def test_acquire_waits_for_the_next_permit(make: Make) -> None:
    limiter = make(creates=1, seconds=0.05, margin=0.05)
    assert [limiter.acquire(30).granted for _ in range(3)] == [True, True, True]


def test_acquire_does_not_sleep_when_the_next_permit_is_beyond_its_patience(
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
        CreateLimiter("mine", store=f"sqlite:///{path}").take()
    assert str(path) in str(raised.value)


def test_a_file_that_is_no_database_is_an_error_that_names_it(make: Make, file: Path) -> None:
    file.parent.mkdir()
    file.write_text("notes " * 1000)
    with pytest.raises(KieLimiterUnavailable, match="not a database") as raised:
        make().take()
    assert str(file) in str(raised.value)


def test_a_lock_that_another_process_never_frees_is_an_error_and_no_endless_wait(
    make: Make, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    monkeypatch.setattr(stores, "LOCK_SECONDS", 0.05)
    file.parent.mkdir()
    with FileLock(f"{file}.lock"), pytest.raises(KieLimiterUnavailable, match="lock"):
        make().take()


def test_a_store_whose_connection_broke_is_opened_again(make: Make) -> None:
    limiter = make(creates=2)
    limiter.take()
    assert limiter._store is not None
    limiter._store.bucket.conn.close()  # type: ignore[attr-defined]
    assert granted(limiter, 2) == [True, False]


def test_a_closed_limiter_opens_its_store_again(make: Make) -> None:
    limiter = make(creates=2)
    limiter.take()
    limiter.close()
    assert granted(limiter, 2) == [True, False]


@pytest.mark.parametrize("url", ["mysql://me:secret@host/db", "me:secret@host", "secret"])
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


def test_a_process_has_one_limiter_for_an_account_and_its_limits(file: Path) -> None:
    store = f"sqlite:///{file}"
    assert shared_limiter("mine", store) is shared_limiter("mine", store)
    assert shared_limiter("mine", store) is not shared_limiter("other", store)
    assert shared_limiter("mine", store) is not shared_limiter("mine", store, per_day=5)


def test_without_a_store_the_file_stands_in_airflows_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    limiter = CreateLimiter("mine")
    assert limiter.take().granted
    limiter.close()
    assert default_store() == f"sqlite:///{tmp_path}/kie/creates.db"
    assert (tmp_path / "kie" / "creates.db").exists()


@pytest.mark.parametrize(
    ("store", "local"),
    [("", True), ("sqlite:////a/b.db", True), ("redis://h/0", False), ("rediss://h", False), ("postgresql://h", False)],
)
def test_only_a_file_is_local(store: str, local: bool) -> None:
    assert store_is_local(store) is local


def test_threads_of_a_process_share_a_limiter(make: Make) -> None:
    import threading

    limiter, taken = make(creates=20), list[bool]()
    threads = [threading.Thread(target=lambda: taken.extend(granted(limiter, 10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), sum(taken)) == (40, 20)


def test_importing_the_limiter_loads_none_of_the_stores_libraries() -> None:
    code = (
        "import sys, airflow_kie.client.rate_limiter.limiter; "
        "print(sorted({'airflow', 'pyrate_limiter', 'filelock', 'redis', 'psycopg'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_create_is_counted_at_the_time_of_its_permit_and_not_before_the_lock(
    make: Make, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from filelock import FileLock

    monkeypatch.setattr(stores, "LOCK_SECONDS", 120.0)
    limiter = make(creates=1)
    limiter.take()
    age(file, 3600)
    lock = FileLock(f"{file}.lock")
    lock.acquire()
    thread = threading.Thread(target=limiter.take)
    thread.start()
    time.sleep(0.05)  # in which a time that is taken before the lock would be taken
    freed = time.time()
    lock.release()
    thread.join()
    connection = sqlite3.connect(file)
    (table,) = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchone()
    counted = connection.execute(f"SELECT MAX(item_timestamp) FROM {table}").fetchone()[0]
    connection.close()
    assert counted >= int(freed * 1000)
