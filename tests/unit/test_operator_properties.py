"""Any interleaving of crashes, retries, clears, reordered lists, duplicates and wrong answers keeps the promises.

Airflow's part is played by attempts that share a store for each map index; KIE's by a transport that lies in every
known way and says what it was paid for.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_kie.client import transport
from airflow_kie.client.account import KieAccount
from airflow_kie.client.answers import Read, decode_details
from airflow_kie.client.envelope import Response
from airflow_kie.client.errors import KieError, KieNotSent, KieUnreachable
from airflow_kie.client.limiter import Permit
from airflow_kie.client.registry import COVER
from airflow_kie.client.requests import Request
from airflow_kie.client.step import Done, Fail, TaskRecord, next_action
from airflow_kie.events import Outcome, event_of
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.settings import rules
from airflow_task import FakeTaskStateStore, TaskInstance, TaskRun, WorkerCrash
from kie_answers import answer, cover_data, raw

HOPELESS = "song-b"
"""KIE fails every cover of this song."""
SONGS = ("song-a", HOPELESS)
INDEXES = st.integers(0, len(SONGS) - 1)
CREATES = st.sampled_from(
    [*["honest"] * 8, "not sent", "failed one again", "reset before", "reset after", "page before", "page after",
     "no JSON after", "429", "500", "out of credits", "refused", "no id after", "crash before", "crash after",
     "duplicate without id"]
)  # fmt: skip
READS = st.sampled_from(
    [*["honest"] * 8, "null", "reset", "page", "429", "455", "unknown state", "no files",
     "pending with an error", "another song", "callback exception"]
)  # fmt: skip
CRASHES = st.sampled_from([*[None] * 6, ("sending", "after"), ("sent", "before"), ("sent", "after")])
PAGE = b"<html><body>502 Bad gateway</body></html>"
SPOILT_READS: dict[str, Callable[[], Response]] = {
    "page": lambda: raw(PAGE, 502, content_type="text/html"),
    "429": lambda: answer(code=429, msg="Too frequent"),
    "455": lambda: answer(code=455, msg="Maintenance"),
    "null": lambda: answer(None),
}
SPOILT_CREATES: dict[str, Callable[[], Response]] = {
    "page": lambda: raw(PAGE, 502, content_type="text/html"),
    "no JSON": lambda: raw(b'{"code":200,"msg":"succ'),
    "no id": lambda: answer({}),
    "429": lambda: answer(code=429, msg="Too frequent"),
    "500": lambda: answer(code=500, msg="Server exception"),
    "out of credits": lambda: answer(code=402, msg="Credits insufficient"),
    "refused": lambda: answer(code=422, msg="Not like this"),
}


@dataclass
class Cover:
    """A cover task that the fake KIE made, and charged."""

    task_id: str
    song: str
    flag: int = 0


@dataclass
class FakeKie:
    """A KIE that makes one cover per song, and answers as it is told to."""

    account: KieAccount = field(default_factory=lambda: KieAccount("key"))
    closed: bool = False
    covers: dict[str, Cover] = field(default_factory=dict)
    create: str = "honest"
    read: str = "honest"
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def send(self, request: Request) -> Response:
        """Answer a request of the operator."""
        if request.json is not None:
            how, self.create = self.create, "honest"
            return self._create(str(request.json["taskId"]), *how.rpartition(" ")[::2])
        how, self.read = self.read, "honest"
        return self._details(request.params["taskId"], how)

    def _create(self, song: str, what: str, when: str) -> Response:
        how = what if when in ("before", "after") else f"{what} {when}".strip()
        if how in ("429", "500", "out of credits", "refused") or when == "before":
            return self._spoilt(how)
        if how == "not sent":
            raise KieNotSent("refused")
        failed = [cover.task_id for cover in self.covers.values() if cover.song == song and cover.flag == 3]
        if how == "failed one again" and failed:
            return answer({"taskId": failed[-1]}, code=400, msg="already generated")
        made = self._made(song, named=how != "duplicate without id")
        return made if when != "after" else self._spoilt(how)

    def _spoilt(self, how: str) -> Response:
        if how == "crash":
            raise WorkerCrash
        if how == "reset":
            raise KieUnreachable("reset")
        return SPOILT_CREATES[how]()

    def _made(self, song: str, *, named: bool) -> Response:
        for cover in self.covers.values():
            if cover.song == song and cover.flag != 3:
                return answer({"taskId": cover.task_id} if named else None, code=400, msg="already generated")
        cover = Cover(f"cover-{next(self.numbers)}-of-{song}", song)
        self.covers[cover.task_id] = cover
        return answer({"taskId": cover.task_id})

    def _details(self, task_id: str, how: str) -> Response:
        if how == "reset":
            raise KieUnreachable("reset")
        if how in SPOILT_READS:
            return SPOILT_READS[how]()
        cover = self.covers[task_id]
        told: dict[str, Any] = {"taskId": task_id, "parentTaskId": cover.song, "createTime": None}
        images = [f"https://tempfile.aiquickdraw.com/{task_id}.png"] if cover.flag == 1 else None
        lies: dict[str, tuple[Any, Any, dict[str, Any]]] = {
            "unknown state": (7, None, {}),
            "no files": (1, [], {}),
            "pending with an error": (0, None, {"errorCode": 413, "errorMessage": "Matches existing work"}),
            "another song": (cover.flag, images, {"parentTaskId": "a-stranger"}),
            "callback exception": ("CALLBACK_EXCEPTION", images, {}),
        }
        flag, shown, more = lies.get(how, (cover.flag, images, {}))
        failed = {"errorCode": 501, "errorMessage": "Generation failed"} if flag == 3 else {}
        return answer(cover_data(flag, shown, **{**told, **failed, **more}))

    def watched(self, record: TaskRecord) -> dict[str, Any]:
        """Return the event of a trigger that reads honest answers of a task that has ended."""
        read = decode_details(COVER, str(record.task_id), self._details(str(record.task_id), "honest"))
        assert isinstance(read, Read)
        action = next_action(record, time.time(), read, rules())
        again = next_action(action.record, time.time() + 60, read, rules())
        match again:
            case Done(ended):
                return event_of(Outcome.DONE, ended)
            case Fail(ended, error):
                return event_of(Outcome.FAILED, ended, error)
        raise AssertionError(f"{record.task_id} has not ended")


class Granted:
    """A limiter that always grants."""

    def acquire(self, patience: float) -> Permit:
        """Grant."""
        return Permit(granted=True)


class Covers(RuleBasedStateMachine):
    """Two songs, two map indexes, one KIE."""

    kie: FakeKie

    @initialize()
    def begin(self) -> None:
        self.kie = CURRENT["kie"] = FakeKie()
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
    def attempt(self, index: int, create: str, read: str, crash: tuple[str, str] | None) -> None:
        """Start an attempt, the first one or a retry; one that waits is left by its lost worker."""
        self._attempt(index, create, read, crash)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), flag=st.sampled_from([1, 3]), create=CREATES, read=READS, crash=CRASHES)
    def end_and_wake(self, data: Any, flag: int, create: str, read: str, crash: tuple[str, str] | None) -> None:
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

    def _attempt(
        self, index: int, create: str = "honest", read: str = "honest", crash: tuple[str, str] | None = None
    ) -> None:
        self.kie.create, self.kie.read = create, read
        self.runs[index] = self.runs[index].retried()
        self._do(index, crash, self.runs[index].execute)

    def _wake(
        self, index: int, flag: int, create: str = "honest", read: str = "honest", crash: tuple[str, str] | None = None
    ) -> None:
        deferred = self.waiting.pop(index)
        record = TaskRecord.from_json(deferred.trigger.serialize()[1]["record"])
        cover = self.kie.covers[str(record.task_id)]
        cover.flag = 3 if cover.song == HOPELESS else cover.flag or flag
        self.kie.create, self.kie.read = create, read
        event = self.kie.watched(record)
        self._do(index, crash, lambda: self.runs[index].wake(deferred.method_name, {"event": event}))

    def _do(self, index: int, crash: tuple[str, str] | None, work: Callable[[], Any]) -> None:
        store = self.runs[index].store
        store.crash = lambda key, value, when: (value.get("progress"), when) == crash
        self.waiting.pop(index, None)
        try:
            self.returned.append((self.order[index], work()))
        except TaskDeferred as deferred:
            self.waiting[index] = deferred
        except (KieError, WorkerCrash):
            pass
        finally:
            store.crash = lambda key, value, when: False

    def _records(self) -> dict[tuple[int, str], dict[str, Any]]:
        found = {}
        for index, run in enumerate(self.runs):
            for key in run.store.rows:
                if key.startswith("cover/"):
                    found[index, key.removeprefix("cover/")] = run.store.record(key)
        return found

    @invariant()
    def a_song_is_paid_once_unless_kie_failed_it(self) -> None:
        for song in SONGS:
            paid = [cover for cover in self.kie.covers.values() if cover.song == song and cover.flag != 3]
            assert len(paid) <= 1

    @invariant()
    def at_most_two_new_tasks_follow_those_that_failed(self) -> None:
        for (_, song), record in self._records().items():
            assert len(record.get("failed_ids", [])) <= 3, song

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


CURRENT: dict[str, FakeKie] = {}


@pytest.fixture(autouse=True)
def fake_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the fake KIE behind every connection."""
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", '{"conn_type": "kie", "password": "key"}')
    monkeypatch.setenv("AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS", "0")
    monkeypatch.setattr(transport, "shared_transport", lambda account: CURRENT["kie"])
    monkeypatch.setattr(KieHook, "limiter", lambda hook: Granted())


class TestCovers(Covers.TestCase):  # type: ignore[misc, valid-type]
    """Run the machine."""

    settings = settings(
        max_examples=70, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
