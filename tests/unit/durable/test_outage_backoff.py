"""KIE down, or an account without credits, for a day: the song waits, spends no retry, and goes on by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException

from airflow_kie.client.errors import KieError, KieMaintenance, KieOutOfCredits, KieUnreachable
from airflow_kie.durable.outage_backoff import Patience
from airflow_kie.durable.outages import Place
from airflow_task import FakeTaskStateStore
from memory_note import MemoryNote

HOUR = 3600.0


@dataclass
class Song:
    """A song's paying task, on a clock that its own pauses move.

    :param error: what KIE says while it is down.
    :param down_hours: for how long.
    """

    error: type[KieError]
    down_hours: float
    own_run: bool = False
    now: float = 0.0
    asked: int = 0
    store: FakeTaskStateStore = field(default_factory=FakeTaskStateStore)
    note: MemoryNote = field(default_factory=MemoryNote)

    def ask(self) -> str:
        self.asked += 1
        if self.now < self.down_hours * HOUR:
            raise self.error("not now")
        return "made"

    def run(self) -> str:
        """Work until it is done or failed, as Airflow does: a task that is put back comes again at its time."""
        place = Place("The account", self.note, self.ask, lambda error: isinstance(error, self.error))
        patience = Patience(
            [place], self.store, pays=True, own_run=self.own_run, clock=lambda: self.now, sleep=lambda seconds: None
        )
        while True:
            try:
                return patience.work(self.ask)
            except AirflowRescheduleException as later:
                self.now = max(self.now + 1.0, later.reschedule_date.timestamp())


@pytest.fixture(params=[KieMaintenance, KieUnreachable, KieOutOfCredits], ids=lambda error: str(error.reason))
def song(request: pytest.FixtureRequest) -> Callable[..., Song]:
    return lambda down_hours, **options: Song(request.param, down_hours, **options)


def test_an_outage_of_almost_a_day_fails_nothing_and_ends_by_itself(song: Callable[..., Song]) -> None:
    it = song(23.0)
    assert it.run() == "made"
    assert it.now - 23 * HOUR < 0.12 * HOUR, "it went on within minutes of the end"
    assert it.note.outage is None


def test_a_day_of_outage_costs_a_request_every_five_minutes(song: Callable[..., Song]) -> None:
    it = song(23.0)
    it.run()
    assert it.asked <= 23 * 12 + 12


def test_what_lasts_longer_than_patience_is_told(song: Callable[..., Song]) -> None:
    it = song(48.0)
    with pytest.raises(it.error):
        it.run()
    assert 24 * HOUR <= it.now < 24.2 * HOUR


def test_a_person_who_waits_is_told_of_missing_credits_at_once() -> None:
    it = Song(KieOutOfCredits, 23.0, own_run=True)
    with pytest.raises(KieOutOfCredits):
        it.run()
    assert (it.now, it.asked) == (0.0, 1)
