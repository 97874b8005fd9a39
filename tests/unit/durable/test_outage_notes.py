"""An outage is told of once at its begin and once at its end, however many tasks meet it in the same moment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException

from airflow_kie.client.errors import KieOutOfCredits
from airflow_kie.durable.outage_backoff import Patience
from airflow_kie.durable.outages import Outage, Place
from airflow_task import FakeTaskStateStore
from memory_note import MemoryNote

BEGIN, END = "is held up, and everything that needs it waits", "works again after"


@dataclass
class Clock:
    """Seconds that a test moves."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Account:
    """An account whose balance is used up, and the tasks that need it."""

    note: MemoryNote = field(default_factory=MemoryNote)
    clock: Clock = field(default_factory=Clock)
    down: bool = True
    sleep: Callable[[float], None] = lambda seconds: None

    def ask(self) -> None:
        if self.down:
            raise KieOutOfCredits("nothing left")

    def task(self) -> Patience:
        place = Place("The account", self.note, self.ask, lambda error: isinstance(error, KieOutOfCredits))
        return Patience([place], FakeTaskStateStore(), pays=True, clock=self.clock, sleep=self.sleep)

    def put_back(self) -> None:
        with pytest.raises(AirflowRescheduleException):
            self.task().work(self.ask)


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[str], int]:
    caplog.set_level(logging.INFO, "airflow_kie.durable.outage_backoff")
    return lambda words: sum(words in record.getMessage() for record in caplog.records)


def test_tasks_that_meet_a_noted_outage_tell_nothing_more(account: Account, told: Callable[[str], int]) -> None:
    for _ in range(3):
        account.put_back()
    assert told(BEGIN) == 1


def test_of_two_tasks_that_note_an_outage_in_the_same_moment_one_tells_of_it(
    account: Account, told: Callable[[str], int]
) -> None:
    def other_notes(seconds: float) -> None:  # it had found no note either
        account.note.outage = Outage("out_of_credits", "met elsewhere", 1_000.5, 1_015.5)

    account.sleep = other_notes
    account.put_back()
    assert told(BEGIN) == 0


def test_a_task_whose_note_waited_for_a_locked_database_is_the_one_that_tells_of_it(
    account: Account, told: Callable[[str], int]
) -> None:
    locked = 5.0  # seconds: SQLite's own patience

    def other_notes(seconds: float) -> None:  # it had found no note either, and takes longer to write its own
        if seconds > locked:
            account.note.outage = Outage("out_of_credits", "met elsewhere", 1_000.5, 1_015.5)

    account.sleep = other_notes
    account.put_back()
    assert told(BEGIN) == 0


def test_a_task_tells_of_its_outage_though_another_one_has_probed_it_in_the_meantime(
    account: Account, told: Callable[[str], int]
) -> None:
    def other_probes(seconds: float) -> None:
        assert account.note.outage is not None
        account.note.outage = account.note.outage.next_probe(account.clock.now + seconds)

    account.sleep = other_probes
    account.put_back()
    assert told(BEGIN) == 1


def test_of_an_outage_that_ended_while_it_was_noted_nothing_is_told_after_its_end(
    account: Account, told: Callable[[str], int]
) -> None:
    def other_sees_the_end(seconds: float) -> None:
        account.note.outage = None

    account.sleep = other_sees_the_end
    account.put_back()
    assert told(BEGIN) == 0


def test_of_two_tasks_that_see_the_end_one_tells_of_it(account: Account, told: Callable[[str], int]) -> None:
    account.put_back()
    account.down, account.clock.now = False, 2_000.0
    other = account.task()

    def work() -> None:  # takes so long that another task is due, and is done first
        account.clock.now = 3_000.0
        other.work(account.ask)

    account.task().work(work)
    assert told(END) == 1


def test_a_new_outage_that_began_meanwhile_stays_noted(account: Account, told: Callable[[str], int]) -> None:
    account.put_back()
    account.down, account.clock.now = False, 2_000.0
    later = Outage("out_of_credits", "again", 2_500.0, 2_515.0)
    account.task().work(lambda: account.note.write(later))
    assert account.note.outage == later
    assert told(END) == 0


def test_a_probe_that_was_noted_by_a_clock_years_ahead_is_due_now(account: Account) -> None:
    account.note.outage = Outage("out_of_credits", "nothing left", 1e9, 2e9)
    account.down = False
    account.task().work(account.ask)
    assert account.note.outage is None
