"""Thousands of courses of a world in which everything goes wrong that can, each replayed exactly by its schedule.

The real rules, drivers, ledger, S3 store, limiter and trigger run against a KIE, an S3 service and an Airflow in memory
(``tests/simulated``). Requests get lost, come late or twice, processes die at any of them, people clear tasks; in the
end KIE's books and the ledger must agree. Hypothesis prints a schedule that fails, as short as it can make it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings

from simulated.runs import play
from simulated.schedule import SCHEDULES, Fault, Schedule, Worker

EACH = 250
"""Courses of one test: even on a machine that is busy with other things it ends within pytest's timeout."""
COURSES = int(os.environ.get("KIE_SIMULATED_SCHEDULES", "2000"))
"""4,000 with ``./run test --full``."""


ENDED_SAYS_KIE = Schedule(
    seed=7,
    operation="suno.music",
    form="unified",
    workers=(Worker("poke", request=0, starts=0, skew=0, second_try_beside=False),),
    endings=("done",),
    faults=tuple(Fault("kie.read", nth, "no files", seconds=1) for nth in range(2)),
    events=(),
    conditions=True,
    calls_back=False,
    once=False,
    capped=False,
)
"""KIE says twice that a task has ended without files, while it is still at work: no client can know better."""


@pytest.fixture(autouse=True, scope="module")
def no_log() -> Iterator[None]:
    """Write no log: a world has its own, which an error shows."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("part", range(-(-COURSES // EACH)))
@settings(max_examples=min(EACH, COURSES))
@example(schedule=ENDED_SAYS_KIE)
@given(schedule=SCHEDULES)
def test_whatever_happens_a_request_is_paid_for_once_and_comes_to_an_end(part: int, schedule: Schedule) -> None:
    play(schedule)


@settings(max_examples=5)
@given(schedule=SCHEDULES)
def test_a_schedule_is_replayed_exactly(schedule: Schedule) -> None:
    assert play(schedule).log == play(schedule).log
