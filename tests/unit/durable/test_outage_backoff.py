"""KIE down, or an account without credits: each task waits by itself, spends no retry, pays nothing, and goes on."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred
from airflow.triggers.base import BaseTrigger
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_kie.client.errors import (
    KieContentRejected,
    KieError,
    KieLimiterUnavailable,
    KieMaintenance,
    KieNotSent,
    KieOutOfCredits,
    KieRateLimited,
    KieServerError,
    KieSpendingCap,
    KieSpendingStopped,
    KieThrottled,
    KieUnauthorized,
    KieUnreachable,
)
from airflow_kie.durable.outage_backoff import OutageBackoff, last_moment
from airflow_task import FakeTaskStateStore

HOUR = 3600.0
LONGEST = 600.0


@dataclass
class Record:
    """A song whose pending record says why it waits."""

    written: list[str] = field(default_factory=list)
    refuses: type[Exception] | None = None

    def set_waiting(self, reason: str, since: datetime, expires_at: datetime | None = None) -> None:
        if self.refuses:
            raise self.refuses("the bucket is down")
        self.written.append(reason)


@dataclass
class Song:
    """A song's paying task, on a clock that its own pauses move.

    :param error: what KIE says while it is down.
    :param down_until: epoch seconds at which that ends.
    :param stopped_until: epoch seconds until which a person has stopped new paid tasks.
    """

    error: type[KieError]
    down_until: float
    own_run: bool = False
    now: float = 1_000_000.0
    max_tries: int = 5
    stopped_until: float = 0.0
    ends_at: float | None = None
    calls: list[tuple[str, float]] = field(default_factory=list)
    record: Record = field(default_factory=Record)
    store: FakeTaskStateStore = field(default_factory=FakeTaskStateStore)

    def ask(self, what: str) -> str:
        self.calls.append((what, self.now))
        if self.now < self.down_until:
            raise self.error("not now")
        if what == "create":
            self.check_spending()
        return "made"

    def check_spending(self) -> None:
        if self.now < self.stopped_until:
            raise KieSpendingStopped("jane has stopped it", retry_after=300.0)

    def work(self, attempt: Callable[[], str] | None = None) -> str:
        """Run one leg of the task."""
        backoff = OutageBackoff(
            self.store,
            max_tries=self.max_tries,
            probe=lambda: self.ask("probe"),
            check_spending=self.check_spending,
            own_run=self.own_run,
            ends_at=self.ends_at,
            song=lambda: self.record,  # type: ignore[arg-type,return-value]
            clock=lambda: self.now,
        )
        return backoff.run(attempt or (lambda: self.ask("create")))

    def leg(self) -> bool:
        """Run one leg; return whether the task is done, and move its clock to where Airflow runs it again."""
        try:
            self.work()
        except AirflowRescheduleException as later:
            assert later.reschedule_date.timestamp() > self.now
            self.now = later.reschedule_date.timestamp()
            return False
        return True

    def run(self) -> None:
        """Work until it is done or has failed, as Airflow does."""
        while not self.leg():
            pass


def down(error: type[KieError], hours: float, **options: object) -> Song:
    return Song(error, 1_000_000.0 + hours * HOUR, **options)  # type: ignore[arg-type]


WAITED_FOR = [KieMaintenance, KieUnreachable, KieOutOfCredits, KieUnauthorized, KieServerError, KieSpendingCap]


@settings(max_examples=30)
@given(
    st.sampled_from(WAITED_FOR),
    st.floats(60, 5 * HOUR),
    st.lists(st.floats(0, 2 * HOUR), min_size=1, max_size=12),
)
def test_of_tasks_that_wait_in_an_outage_none_fails_none_pays_and_each_goes_on_by_itself_after_it_ends(
    error: type[KieError], lasts: float, arrivals: list[float]
) -> None:
    ends = 1_000_000.0 + lasts
    songs = [Song(error, ends, now=1_000_000.0 + at) for at in arrivals]
    due = [(song.now, number) for number, song in enumerate(songs)]
    heapq.heapify(due)
    while due:
        _, number = heapq.heappop(due)
        if not songs[number].leg():  # raises what a task fails with
            heapq.heappush(due, (songs[number].now, number))
    for song in songs:
        *before, (last, paid_at) = song.calls
        assert last == "create" and paid_at >= ends
        assert paid_at <= max(ends + LONGEST, 1_000_000.0 + 2 * HOUR)
        assert [what for what, _ in before].count("create") <= 1, "only the first met it unprobed; it was refused"
        assert song.store.get("outage") in (None, {})


def test_tasks_that_meet_an_outage_together_do_not_come_back_together() -> None:
    songs = [down(KieMaintenance, 5) for _ in range(20)]
    for song in songs:
        song.leg()
    assert len({song.now for song in songs}) == 20


def test_pauses_grow_to_ten_minutes_so_that_a_day_costs_a_free_request_every_few_minutes() -> None:
    song = down(KieMaintenance, 23)
    song.run()
    times = [at for _, at in song.calls]
    assert max(later - at for at, later in itertools.pairwise(times)) <= LONGEST
    assert len(times) < 23 * 20


def test_what_lasts_longer_than_a_day_fails_and_a_retry_does_not_wait_another_day() -> None:
    song = down(KieMaintenance, 48)
    for _ in range(2):
        with pytest.raises(KieMaintenance):
            song.run()
        assert 24 * HOUR <= song.now - 1_000_000.0 < 24 * HOUR + LONGEST
    song.max_tries += 6  # a person has cleared it
    assert song.leg() is False


def test_a_song_whose_files_kie_deletes_is_not_waited_for_into_its_last_day() -> None:
    song = down(KieUnauthorized, 48, ends_at=1_000_000.0 + 3 * HOUR)
    with pytest.raises(KieUnauthorized):
        song.run()
    assert song.now - 1_000_000.0 < 3 * HOUR + LONGEST


def test_waiting_ends_a_day_before_kie_deletes_the_files() -> None:
    assert last_moment("2026-01-15T12:00:00+00:00") == datetime(2026, 1, 14, 12, tzinfo=UTC).timestamp()


def test_a_person_who_waits_learns_of_missing_credits_at_once_and_kie_being_down_is_waited_out() -> None:
    song = down(KieOutOfCredits, 23, own_run=True)
    with pytest.raises(KieOutOfCredits):
        song.run()
    assert [what for what, _ in song.calls] == ["create"]
    assert down(KieMaintenance, 23, own_run=True).leg() is False


@pytest.mark.parametrize("error", [KieUnreachable, KieNotSent, KieRateLimited, KieThrottled, KieLimiterUnavailable])
def test_what_passes_by_itself_is_waited_out_for_a_person_too(error: type[KieError]) -> None:
    assert down(error, 23, own_run=True).leg() is False


def test_a_task_over_the_rate_limit_waits_for_kies_next_window() -> None:
    song = down(KieRateLimited, 1)
    song.leg()
    assert 10.0 <= song.now - 1_000_000.0 <= 12.5


def test_what_is_wrong_with_the_song_alone_fails_at_once() -> None:
    with pytest.raises(KieContentRejected):
        down(KieContentRejected, 1).run()


def test_why_a_song_waits_is_written_once_when_it_begins_and_removed_when_it_ends() -> None:
    song = down(KieUnauthorized, 5)
    song.run()
    assert song.record.written == ["unauthorized", ""]


def test_a_server_error_that_passes_is_not_written_and_one_that_lasts_is() -> None:
    passing, lasting = down(KieServerError, 1 / HOUR), down(KieServerError, 1)
    passing.run()
    lasting.leg()
    assert lasting.record.written == []
    lasting.leg()
    assert lasting.record.written == ["server_error"]
    lasting.run()
    assert (passing.record.written, lasting.record.written) == ([], ["server_error", ""])


@pytest.mark.parametrize("refusal", [KieMaintenance, ValueError])
def test_a_bucket_that_takes_no_record_changes_nothing_but_the_record(refusal: type[Exception]) -> None:
    song = down(KieUnauthorized, 1)
    song.record.refuses = refusal
    song.run()
    assert song.calls[-1][0] == "create"


def test_a_task_that_fails_in_the_end_is_not_said_to_wait() -> None:
    song = down(KieUnauthorized, 48)
    with pytest.raises(KieUnauthorized):
        song.run()
    assert song.record.written == ["unauthorized", ""]


@pytest.mark.parametrize(
    "leaves",
    [
        TaskDeferred(trigger=type("Trigger", (BaseTrigger,), {"serialize": None, "run": None})(), method_name="m"),
        AirflowRescheduleException(datetime.now(UTC)),
    ],
    ids=["deferred", "rescheduled by a sensor"],
)
def test_a_task_that_waits_for_kie_as_usual_has_left_the_outage_behind(leaves: BaseException) -> None:
    song = down(KieUnauthorized, 1)
    song.leg()
    song.now = song.down_until

    def attempt() -> str:
        raise leaves

    with pytest.raises(type(leaves)):
        song.work(attempt)
    assert (song.store.get("outage"), song.record.written) == ({}, ["unauthorized", ""])


def stopped(hours: float, error: type[KieError] = KieMaintenance, down_hours: float = 0.0, **options: object) -> Song:
    return down(error, down_hours, stopped_until=1_000_000.0 + hours * HOUR, **options)


@pytest.mark.parametrize("own_run", [False, True])
def test_a_stop_of_new_paid_tasks_fails_nothing_however_long_it_lasts(own_run: bool) -> None:
    song = stopped(24 * 3, own_run=own_run, ends_at=1_000_000.0 + HOUR)
    song.run()
    assert song.stopped_until <= song.now < song.stopped_until + 2 * 300
    assert song.record.written == ["spending_stopped", ""]


def test_an_outage_while_new_paid_tasks_are_stopped_fails_nothing_and_begins_to_count_after_the_stop() -> None:
    song = stopped(48, KieMaintenance, down_hours=200)
    with pytest.raises(KieMaintenance):
        song.run()
    assert 24 * HOUR <= song.now - song.stopped_until < 24 * HOUR + LONGEST + 2 * 300
    assert song.record.written == ["spending_stopped", "", "maintenance", ""]


def test_an_outage_that_has_lasted_too_long_fails_nothing_that_is_stopped_meanwhile() -> None:
    song = down(KieMaintenance, 200)
    while song.now < 1_000_000.0 + 23 * HOUR:
        song.leg()
    song.stopped_until = 1_000_000.0 + 30 * HOUR
    while song.now < song.stopped_until:
        assert song.leg() is False
    with pytest.raises(KieMaintenance):
        song.run()
    assert song.now - song.stopped_until >= 24 * HOUR


def test_after_a_stop_the_bucket_being_down_too_is_not_waited_for_without_end() -> None:
    song = stopped(1, KieMaintenance, down_hours=200)
    song.leg()
    song.record.refuses = KieMaintenance
    with pytest.raises(KieMaintenance):
        song.run()
    assert song.now - song.stopped_until < 24 * HOUR + LONGEST + 2 * 300
