"""When a task is read: not before it can have ended, densely near the typical end, never faster than KIE allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS
from airflow_kie.client.operations.suno import COVER, MUSIC
from airflow_kie.lifecycle.polling import LONGEST, READS_PER_SECOND, SHORTEST, seconds_to_next_read

KINDS = [row for row in OPERATIONS.values() if isinstance(row, TaskOperation)]
JITTER = 1.15


@given(
    kind=st.sampled_from(KINDS),
    age=st.floats(-1e6, 1e6),
    seed=st.text(max_size=40),
    waiting=st.integers(0, 5000),
    interval=st.none() | st.floats(0, 3600),
)
def test_the_pause_is_bounded_below_and_above(
    kind: TaskOperation, age: float, seed: str, waiting: int, interval: float | None
) -> None:
    pause = seconds_to_next_read(kind.timing, age, seed=seed, waiting=waiting, interval=interval)
    longest = max(LONGEST, kind.timing.first_read, interval or 0, waiting / READS_PER_SECOND)
    assert SHORTEST <= pause <= longest * JITTER


def test_a_new_task_is_first_read_near_the_time_at_which_it_can_show_something() -> None:
    pause = seconds_to_next_read(COVER.timing, 0, seed="c")
    assert 0.8 * COVER.timing.first_read <= pause <= 1.2 * COVER.timing.first_read


def test_reads_are_dense_near_the_typical_end_and_rare_long_after_it() -> None:
    def pause(age: float) -> float:
        return seconds_to_next_read(MUSIC.timing, age, seed="m", interval=None)

    assert pause(MUSIC.timing.typical) < 15
    assert pause(20 * MUSIC.timing.typical) > 20


def test_tasks_made_together_are_not_read_together() -> None:
    pauses = {seconds_to_next_read(COVER.timing, 0, seed=f"cover-{n}") for n in range(50)}
    assert len(pauses) == 50
    assert max(pauses) - min(pauses) > 1


def test_the_same_task_at_the_same_age_waits_equally_long() -> None:
    assert seconds_to_next_read(COVER.timing, 12, seed="c") == seconds_to_next_read(COVER.timing, 12, seed="c")


@pytest.mark.parametrize("waiting", [10, 100, 1000])
def test_all_waiting_tasks_together_stay_within_the_accounts_budget(waiting: int) -> None:
    pauses = [seconds_to_next_read(MUSIC.timing, 120, seed=f"m{n}", waiting=waiting) for n in range(waiting)]
    assert sum(1 / pause for pause in pauses) <= READS_PER_SECOND * 1.2


def test_an_interval_of_the_user_is_kept_from_the_first_read_on() -> None:
    assert 8.5 <= seconds_to_next_read(MUSIC.timing, 0, seed="m", interval=10) <= 11.5


def test_an_interval_below_kies_limit_is_raised() -> None:
    assert seconds_to_next_read(MUSIC.timing, 50, seed="m", interval=0.01) >= SHORTEST
    assert 1 / SHORTEST <= 3


def test_a_clock_that_runs_ahead_does_not_lengthen_the_pause() -> None:
    assert seconds_to_next_read(COVER.timing, -7200, seed="c") <= COVER.timing.first_read * JITTER
