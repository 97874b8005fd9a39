"""Any interleaving of crashes, retries, clears, reordered lists, duplicates and wrong answers keeps the promises.

Airflow's part is played by attempts that share a store for each map index; KIE's by a transport that lies in every
known way and says what it was paid for. Either KIE makes a cover once for a song and each map index has a ledger of its
own, or KIE makes one for each create and all share the account's ledger.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_kie.client.errors import KieError, KieSpendingStopped
from airflow_kie.client.http import transport
from airflow_kie.client.operations.suno import COVER
from airflow_kie.client.rate_limiter.limiter import NO_CAPS, Cost, Permit
from airflow_kie.durable import requests
from airflow_kie.durable.task_state import TaskStateLedgerStore
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import OpenedLedger
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.lifecycle.ledger import Ledger
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.triggers.event import Outcome, event_of
from airflow_task import FakeTaskStateStore, TaskInstance, TaskRun, Variables, WorkerCrash
from ledgers import MemoryLedgerStore
from lying_kie import CREATES, READS, FakeKie
from paid_requests import POINTS, InMemory, InTaskState, become_old, dying_at

HOPELESS = "song-b"
"""KIE fails every cover of this song."""
SONGS = ("song-a", HOPELESS)
INDEXES = st.integers(0, len(SONGS) - 1)
CRASHES = st.sampled_from([*[None] * 8, *POINTS])


class Granted:
    """A limiter that always grants."""

    caps = NO_CAPS

    def acquire(self, patience: float, cost: Cost) -> Permit:
        """Grant."""
        return Permit(granted=True)

    def give_back(self, permit: Permit, *, sent: bool = True) -> None:
        """Take it back."""


class Covers(RuleBasedStateMachine):
    """Two songs, two map indexes, one KIE."""

    kie: FakeKie

    @initialize(once=st.booleans())
    def begin(self, once: bool) -> None:
        self.kie = CURRENT["kie"] = FakeKie(once=once)
        self.ledger = CURRENT["ledger"] = None if once else MemoryLedgerStore()
        self.order = list(SONGS)
        self.runs = [self._run(index) for index in range(len(SONGS))]
        self.waiting: dict[int, TaskDeferred] = {}
        self.known: dict[tuple[int, str], str] = {}
        self.returned: list[tuple[str, str]] = []

    def _run(self, index: int) -> TaskRun:
        def make() -> KieGenerateCoverOperator:
            return KieGenerateCoverOperator(
                task_id="generate_cover", music_task_id=self.order[index], deferrable=True, poll_interval=1.0
            )

        return TaskRun(make, FakeTaskStateStore(), TaskInstance(map_index=index))

    @rule(index=INDEXES, create=CREATES, read=READS, crash=CRASHES)
    def attempt(self, index: int, create: str, read: str, crash: str | None) -> None:
        """Start an attempt, the first one or a retry; one that waits is left by its lost worker."""
        self._attempt(index, create, read, crash)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), flag=st.sampled_from([1, 3]), create=CREATES, read=READS, crash=CRASHES)
    def end_and_wake(self, data: Any, flag: int, create: str, read: str, crash: str | None) -> None:
        """Let a cover that is waited for end, the triggerer see it and the worker go on."""
        self._wake(data.draw(st.sampled_from(sorted(self.waiting))), flag, create, read, crash)

    @rule(index=INDEXES)
    def go_on_without_faults(self, index: int) -> None:
        """Let a song go its way for a while, as Airflow's retries do."""
        for _ in range(5):
            if index in self.waiting:
                self._wake(index, 1)
            else:
                self._attempt(index)

    @rule(create=st.sampled_from(["honest", "failed one again"]))
    def fail_until_the_end(self, create: str) -> None:
        """Let KIE fail one cover of the hopeless song after the other, more often than the budget allows."""
        index = self.order.index(HOPELESS)
        for _ in range(8):
            if index in self.waiting:
                self._wake(index, 3, create)
            else:
                self._attempt(index, create)

    @rule(index=INDEXES)
    def clear(self, index: int) -> None:
        """Clear the task."""
        self.waiting.pop(index, None)
        self.runs[index] = self.runs[index].cleared()

    @rule(order=st.permutations(SONGS))
    def reorder(self, order: list[str]) -> None:
        """Let the list of songs come back in another order, with everything cleared."""
        self.order = list(order)
        self.waiting.clear()
        self.runs = [run.cleared() for run in self.runs]

    @rule(song=st.sampled_from(SONGS), flag=st.sampled_from([1, 1, 3]))
    def end_at_kie(self, song: str, flag: int) -> None:
        """Let KIE finish a song's cover, or fail, while nobody looks."""
        for cover in self.kie.covers.values():
            if cover.song == song:
                cover.flag = cover.flag or (3 if song == HOPELESS else flag)

    def _attempt(self, index: int, create: str = "honest", read: str = "honest", crash: str | None = None) -> None:
        self.runs[index] = self.runs[index].retried()
        self._begin(index, create, read)
        self._do(index, crash, self.runs[index].execute)

    def _wake(
        self, index: int, flag: int, create: str = "honest", read: str = "honest", crash: str | None = None
    ) -> None:
        deferred = self.waiting.pop(index)
        record = TaskRecord.from_json(deferred.trigger.serialize()[1]["record"])
        if record.task_id:
            cover = self.kie.covers[record.task_id]
            cover.flag = 3 if cover.song == HOPELESS else cover.flag or flag
            event = self.kie.watched(record)
        else:
            become_old(InMemory(self.ledger) if self.ledger else InTaskState(self.runs[index].store))
            event = event_of(Outcome.ASK_AGAIN, record)
        self._begin(index, create, read)
        kwargs = {**(deferred.kwargs or {}), "event": event}
        self._do(index, crash, lambda: self.runs[index].wake(deferred.method_name, kwargs))

    def _begin(self, index: int, create: str, read: str) -> None:
        place = (index, self.order[index])
        self.kie.begin(create, read, lambda: self._records().get(place, {}))

    def _do(self, index: int, crash: str | None, work: Callable[[], Any]) -> None:
        self.waiting.pop(index, None)
        ended: BaseException | None = None
        try:
            with dying_at(crash) if crash else nullcontext():
                self.returned.append((self.order[index], work()))
        except TaskDeferred as deferred:
            ended = self.waiting[index] = deferred
        except (KieError, WorkerCrash) as error:
            ended = error
        assert not isinstance(ended, KieSpendingStopped), "nothing was tried"
        if self.kie.owed and not isinstance(ended, WorkerCrash):
            assert [type(ended)] == self.kie.owed, ended

    def _records(self) -> dict[tuple[int, str], dict[str, Any]]:
        found = {}
        for index, run in enumerate(self.runs):
            for key in run.store.rows:
                if key.startswith("cover/"):
                    found[index, key.removeprefix("cover/")] = run.store.record(key)
        return found

    @invariant()
    def a_song_is_paid_once_unless_kie_failed_it(self) -> None:
        """A cover is free: where its answer may have been lost, it may be made once more."""
        for song in SONGS:
            paid = [cover for cover in self.kie.covers.values() if cover.song == song and cover.flag != 3]
            assert len(paid) <= 1 + self._repeated(song)
            assert self._repeated(song) <= (0 if self.kie.once else 1)

    def _repeated(self, song: str) -> int:
        if self.ledger is None:
            return 0
        digest = request_digest(COVER, {"taskId": song}, {})
        return sum(f"/{digest}/" in key and key.endswith(".repeated") for key in self.ledger.objects)

    @invariant()
    def at_most_two_new_tasks_follow_those_that_failed(self) -> None:
        for (_, song), record in self._records().items():
            assert len(record.get("failed_ids", [])) <= 3, song

    @invariant()
    def an_id_is_stored_before_kie_is_asked_anything_else(self) -> None:
        assert self.kie.asked_too_early == []

    @invariant()
    def a_failed_task_is_not_taken_up_again(self) -> None:
        for (_, song), record in self._records().items():
            failed = record.get("failed_ids", [])
            assert len(failed) == len(set(failed)), song

    @invariant()
    def a_stored_id_is_never_lost(self) -> None:
        for place, record in self._records().items():
            before, now = self.known.get(place), record.get("task_id")
            assert before in (None, now, *record.get("failed_ids", [])), (place, before, record)
            if now:
                self.known[place] = now

    @invariant()
    def a_record_never_holds_another_songs_cover(self) -> None:
        for (_, song), record in self._records().items():
            for cover in (record.get("task_id"), *record.get("failed_ids", [])):
                assert cover is None or self.kie.covers[cover].song == song

    @invariant()
    def what_is_returned_is_the_songs_own_finished_cover(self) -> None:
        for song, cover in self.returned:
            assert (self.kie.covers[cover].song, self.kie.covers[cover].flag) == (song, 1)


CURRENT: dict[str, Any] = {}


def account_ledger(hook: KieHook, otherwise: TaskStateLedgerStore) -> OpenedLedger:
    """Return the ledger that all runs share, or the one of this task instance."""
    return OpenedLedger(Ledger(CURRENT["ledger"] or otherwise, settle_seconds=0.0), "here")


@pytest.fixture(autouse=True)
def fake_transport(switch: Variables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the fake KIE behind every connection."""
    connection = {"conn_type": "kie", "password": "key", "extra": {"api": "dedicated"}}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS", "0")
    monkeypatch.setattr(transport, "shared_transport", lambda account: CURRENT["kie"])
    monkeypatch.setattr(KieHook, "limiter", lambda hook, **_: Granted())
    monkeypatch.setattr(requests, "open_ledger", account_ledger)


class TestCovers(Covers.TestCase):  # type: ignore[misc, valid-type]
    """Run the machine."""

    settings = settings(max_examples=70, stateful_step_count=20)
