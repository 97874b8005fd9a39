"""A long run: batches of songs, single ones, events and songs that cost credits, while the stack is disturbed."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx

from fault_suite.catalogue import GENERATE
from fault_suite.plan import Plan, SongPlan, batch_plan, songs_with_faults
from fault_suite.suite import Outcome, Suite
from local_stack.airflow_api import AirflowRefused
from long_run.disturber import Disturber
from long_run.stage import LongStage

BATCHES, SINGLES = 2, 3
"""Runs of 50 songs, and songs of which an event tells, that are under way at any time."""
FAULTS = 60
"""Faults that the songs of a batch meet."""
NOT_HERE = frozenset({"file redirected into nothing"})
"""Faults of loopback: where KIE is at another address, a file there is a stranger's, and is refused for good."""
EVERY = {"paid song": 75.0, "inbox": 90.0, "report": 60.0, "failed again": 20.0}
"""Seconds from one to the next."""


class LongSuite(Suite):
    """Feeds the stack with songs as long as it is disturbed, then reckons up.

    :param stage: the stack.
    :param seed: what the songs' faults are drawn from.
    :param say: reports progress to a person.
    :param disturber: disturbs it.
    """

    stage: LongStage

    def __init__(self, stage: LongStage, seed: int, say: Callable[[str], None], disturber: Disturber) -> None:
        super().__init__(stage, Plan(seed, (), (), (), ()), say)
        self.disturber = disturber
        self._songs_with_faults = _endless(random.Random(seed))
        self._paid = deque(GENERATE)
        self._open: list[str] = []
        self._next = dict.fromkeys(EVERY, 0.0)

    def run(self, seconds: float = 3600.0) -> Outcome:
        """Feed and disturb for so many seconds, wait until everything is archived, and return what came of it."""
        began = time.monotonic()
        with self.disturber:
            while time.monotonic() - began < seconds:
                try:
                    self._feed()
                except (httpx.HTTPError, AirflowRefused, TimeoutError) as error:
                    self.say(f"A song could not be sent: {error}")
                time.sleep(1.0)
            self.disturber.heal()
            self.say("The disturbances are over.")
            self._settle()
            outcome = self._reckon(began)
        outcome.kills, outcome.under_batches = self.disturber.kills, self.disturber.kills.total()
        outcome.missed = [f"{name}, {times} times" for name, times in self.disturber.missed.items()]
        outcome.faults.update(self.disturber.troubles)
        self.say(f"{self.stage.failed_by_outages} songs were left to a person in an outage, and archived later.")
        outcome.faults.update({f"requests that met: {name}": n for name, n in self.disturber.requests.items()})
        return outcome

    def _feed(self) -> None:
        self._open = [run for run in self._open if self._goes_on(run)]
        if len(self._open) < BATCHES:
            self._send_batch()
        self._under_way = [song for song in self._under_way if not self._archived(song)]
        if len(self._under_way) < SINGLES:
            self._under_way.append(self._send(next(self._songs_with_faults)))
        if self._is_due("paid song"):
            self._paid.rotate()
            self._send_paid()
        if self._is_due("inbox"):
            self.stage.look_into_inbox()
            self._not_made()
        if self._is_due("report"):
            self._tell(0)

    def _goes_on(self, run_id: str) -> bool:
        state = self.stage.ask(lambda: self.stage.airflow.run_state("music_cover", run_id))
        return state not in ("success", "failed")

    def _send_batch(self) -> None:
        songs: list[SongPlan] = []
        while sum(fault.strikes for song in songs for fault in song.faults) < FAULTS:
            songs.append(next(self._songs_with_faults))
        batch = batch_plan(len(self.killer.batches), songs, ())
        first, *others = self._make_others(batch)
        run_id = self.stage.start([first, *others], batch_size=1 + len(others))
        self.killer.batches[run_id] = others
        self._open.append(run_id)

    def _send_paid(self) -> None:
        """Have KIE make a song that costs credits; the answer to every other create is lost."""
        title = f"Paid song {len(self._generated) + 1}"
        if len(self._generated) % 2:
            self._arm(self._paid[0].name, self._paid[0], title)
        self._generated[title] = self.stage.generate(title)

    def _not_made(self) -> list[str]:
        """Return what was not made, and start again what has failed before anything was paid, or recorded."""
        left = super()._not_made()
        if self._is_due("failed again"):
            for title in left:
                self.stage.start_failed_again("music_generate", self._generated[title])
            for run_id in self.killer.batches:
                self.stage.start_failed_again("music_cover", run_id)
        return left

    def _is_due(self, name: str) -> bool:
        due = time.monotonic() >= self._next[name]
        if due:
            self._next[name] = time.monotonic() + EVERY[name]
        return due

    def _tell(self, waiting: int) -> None:
        kills, archived = self.disturber.kills.total(), sum(map(self._archived, self._all_songs()))
        self.say(
            f"{kills} kills, {self.disturber.troubles.total()} troubles, {self._struck().total()} spoilt requests; "
            f"{len(self.killer.batches)} runs of many, {archived} of {len(self._all_songs())} songs are archived."
        )


def _endless(rng: random.Random) -> Iterator[SongPlan]:
    while True:
        for song in songs_with_faults(rng, 500):
            yield replace(song, faults=tuple(fault for fault in song.faults if fault.name not in NOT_HERE))
