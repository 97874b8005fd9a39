"""Any interleaving of answers, lost answers, crashes and repeats keeps the promises of the rules.

A KIE that misbehaves in every known way is driven through the rules as operators do: the record is stored directly
before a create and directly after its answer, and a crash goes on from what was stored last.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import (
    Answer,
    CreateAnswer,
    DetailsAnswer,
    Ended,
    Invisible,
    Lost,
    Unreadable,
    decode_create,
    decode_details,
)
from airflow_kie.client.errors import Remedy
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.lifecycle.record import Progress, TaskRecord
from airflow_kie.lifecycle.rules import Action, Done, Fail, Fetch, Rules, Send, Wait, next_action
from kie_answers import answer

SOURCE = {"taskId": "the-song"}
RULES = Rules()
START = 1_776_862_600.0

HONEST = "honest"
CREATES = st.sampled_from(
    [HONEST, HONEST, "refused", "out of credits", "never arrives", "answer lost", "gateway page after it was made",
     "success without id", "crash before it", "crash after it", "duplicate without id"]
)  # fmt: skip
READS = st.sampled_from(
    [HONEST, HONEST, HONEST, "not shown", "unreachable", "429", "gateway page", "no JSON", "unknown word", "no access",
     "refused 400", "refused 404", "refused 422", "refused 451", "refused 505", "another task",
     "success without files", "pending with a code", "another song", "callback exception"]
)  # fmt: skip


@dataclass
class FakeTask:
    """A task that the fake KIE made, and charged."""

    task_id: str
    state: str = "running"
    made_at: float = START
    said_failed_at: list[float] = field(default_factory=list)


@dataclass
class FakeKie:
    """KIE, lying as told. A create is paid when a task is made, and only then."""

    kind: str
    names_failed_again: bool
    tasks: list[FakeTask] = field(default_factory=list)

    @property
    def once(self) -> bool:
        return task_kind(self.kind).made_once

    def create(self, how: str, now: float) -> CreateAnswer:
        if how == "refused":
            return self._decoded(answer(None, 429, "too fast"))
        if how == "out of credits":
            return self._decoded(answer(None, 402, "no"))
        if how == "never arrives":
            return Lost(errors.KieUnreachable("reset before"))
        there = self.tasks[-1] if self.tasks else None
        if self.once and there and (there.state != "failed" or self.names_failed_again):
            nameless = how == "duplicate without id"
            made = answer(None if nameless else {"taskId": there.task_id}, 400, "exists")
        else:
            self.tasks.append(FakeTask(f"task-{len(self.tasks)}", made_at=now))
            made = answer({"taskId": self.tasks[-1].task_id})
        if how == "answer lost":
            return Lost(errors.KieUnreachable("reset after"))
        if how == "gateway page after it was made":
            return self._decoded(answer(None, 500, "oops", http=502))
        if how == "success without id":
            return self._decoded(answer({}))
        return self._decoded(made)

    def read(self, task_id: str, how: str, now: float) -> DetailsAnswer:
        task = next((task for task in self.tasks if task.task_id == task_id), None)
        if how == "not shown" or task is None:
            return Invisible()
        if how == "unreachable":
            return Unreadable(errors.KieUnreachable("timeout"))
        data = self._details(task, how, now)
        if how == "another task" and data is not None:
            data = data | {"taskId": "another-task"}
        refusals = {f"refused {refused}": refused for refused in (400, 404, 422, 451, 505)}
        code = ({"429": 429, "no access": 401, "gateway page": 502} | refusals).get(how, 200)
        return decode_details(task_kind(self.kind), task_id, answer(data if code == 200 else None, code, "words"))

    def _details(self, task: FakeTask, how: str, now: float) -> dict[str, Any]:
        state, code, parent = task.state, None, SOURCE["taskId"]
        if how == "unknown word":
            state = "unheard of"
        elif how == "success without files":
            state = "empty"
        elif how == "pending with a code":
            state, code = "running", 500
        elif how == "callback exception":
            state = "undelivered"
        elif how == "another song":
            parent = "another-song"
        if state == "failed" or (code and self.kind == "suno.music"):
            task.said_failed_at.append(now)
        files = ["https://h.example/1"] if task.state == "done" and state != "empty" else []
        common = {"taskId": task.task_id, "errorCode": code, "createTime": task.made_at * 1000}
        if self.kind == "suno.cover":
            flag = {"running": 0, "done": 1, "empty": 1, "failed": 3, "undelivered": 2}.get(state, 9)
            return common | {"successFlag": flag, "response": {"images": files}, "parentTaskId": parent}
        words = {"running": "PENDING", "done": "SUCCESS", "empty": "SUCCESS", "failed": "GENERATE_AUDIO_FAILED"}
        word = words.get(state, "CALLBACK_EXCEPTION" if state == "undelivered" else "UNHEARD_OF")
        return common | {"status": word, "response": {"sunoData": [{"audioUrl": url} for url in files]}}

    def _decoded(self, response: Any) -> CreateAnswer:
        return decode_create(task_kind(self.kind), SOURCE, response)


class Driven(RuleBasedStateMachine):
    """One song, its stored record, and the process that happens to work on it."""

    kind = ""

    @initialize(names_failed_again=st.booleans())
    def begin_song(self, names_failed_again: bool) -> None:
        self.kie = FakeKie(self.kind, names_failed_again)
        self.now = START
        self.action: Action | None = None
        self.stored = json.dumps(TaskRecord(self.kind, SOURCE, "kie").to_json())
        self.seen: set[str] = set()
        self.sent_from: list[Progress] = []

    def tasks(self) -> list[FakeTask]:
        return self.kie.tasks if hasattr(self, "kie") else []

    # --- what operators do

    def save(self, record: TaskRecord) -> None:
        self.stored = json.dumps(record.to_json())
        self.seen |= {record.task_id} if record.task_id else set()

    def record(self) -> TaskRecord:
        return TaskRecord.from_json(json.loads(self.stored))

    def move(self, record: TaskRecord, answered: Answer | None) -> None:
        self.action = next_action(record, self.now, answered, RULES)
        if isinstance(self.action, Wait):
            assert self.action.until > self.now
        if isinstance(self.action, Send):
            self.sent_from.append(record.progress)
            assert isinstance(answered, Ended | None)

    def end(self, action: Fail) -> None:
        """Store a failure and, where KIE itself says that the task failed, ask for a new one."""
        record, error = action.record, action.error
        self.save(record)
        if error.remedy is Remedy.NEW_TASK and record.task_id and record.task_id not in record.failed_ids:
            self.move(record, Ended(record.task_id, error))
        else:
            self.action = None

    def send(self, action: Send, how: str) -> None:
        self.save(action.record)
        if how == "crash before it":
            self.action = None
            return
        answered = self.kie.create(how, self.now)
        if how == "crash after it":
            self.action = None
            return
        self.move(action.record, answered)
        assert self.action is not None
        self.save(self.action.record)

    def read(self, action: Fetch | Wait, how: str) -> None:
        task_id = action.record.task_id
        assert task_id, "only a known task is read"
        self.move(action.record, self.kie.read(task_id, how, self.now))

    # --- what happens

    @rule()
    @precondition(lambda self: self.action is None)
    def an_attempt_begins(self) -> None:
        self.move(self.record(), None)

    @rule(how=CREATES)
    @precondition(lambda self: isinstance(self.action, Send))
    def it_sends(self, how: str) -> None:
        assert isinstance(self.action, Send)
        self.send(self.action, how)

    @rule(how=READS, in_time=st.booleans())
    @precondition(lambda self: isinstance(self.action, Fetch | Wait))
    def it_reads(self, how: str, in_time: bool) -> None:
        """A callback may wake it before its time."""
        assert isinstance(self.action, Fetch | Wait)
        if isinstance(self.action, Wait):
            self.now = self.action.until if in_time else self.now + 1
        self.read(self.action, how)

    @rule()
    @precondition(lambda self: isinstance(self.action, Fail | Done))
    def it_ends(self) -> None:
        if isinstance(self.action, Fail):
            self.end(self.action)
        elif isinstance(self.action, Done):
            self.save(self.action.record)
            self.action = None

    @rule(seconds=st.sampled_from([0, 5, 40, 600, 90_000]))
    @precondition(lambda self: self.action is not None)
    def it_is_killed(self, seconds: int) -> None:
        self.action = None
        self.now += seconds

    @rule()
    @precondition(lambda self: isinstance(self.action, Wait))
    def it_hands_over(self) -> None:
        """Defer or reschedule: the record is stored and another process goes on."""
        assert isinstance(self.action, Wait)
        self.save(self.action.record)
        self.now = self.action.until
        self.action = None

    @rule(state=st.sampled_from(["done", "failed"]))
    @precondition(lambda self: self.kie.tasks and self.kie.tasks[-1].state == "running")
    def kie_ends_the_task(self, state: str) -> None:
        self.kie.tasks[-1].state = state

    # --- what always holds

    @invariant()
    def a_second_task_is_paid_for_only_when_the_first_has_failed(self) -> None:
        """Where KIE makes a cover once, it has failed; elsewhere KIE said so in two reads that lie apart."""
        for task in self.tasks()[:-1]:
            if task_kind(self.kind).made_once:
                assert task.state == "failed"
            else:
                assert task.said_failed_at[-1] - task.said_failed_at[0] >= RULES.agree_after

    @invariant()
    def no_song_gets_more_new_tasks_than_the_rules_allow(self) -> None:
        if self.tasks():
            assert len(self.record().failed_ids) <= 1 + RULES.new_tasks
        if not task_kind(self.kind).made_once:
            assert len(self.tasks()) <= 1 + RULES.new_tasks

    @invariant()
    def no_id_that_was_stored_is_ever_lost(self) -> None:
        if hasattr(self, "stored"):
            record = self.record()
            assert self.seen <= {record.task_id, *record.failed_ids}

    @invariant()
    def only_what_kie_makes_once_is_sent_again_without_knowing(self) -> None:
        if not task_kind(self.kind).made_once:
            assert Progress.SENDING not in getattr(self, "sent_from", [])

    def teardown(self) -> None:
        """An honest KIE brings every song to its end, whatever happened before."""
        if not hasattr(self, "kie"):
            return
        for task in self.kie.tasks:
            task.state = "done" if task.state == "running" else task.state
        self.action = None
        self.now += 3600
        self.move(self.record(), None)
        for _ in range(40):
            action = self.action
            if isinstance(action, Send):
                self.send(action, HONEST)
                self.kie.tasks[-1].state = "done" if self.kie.tasks[-1].state == "running" else "failed"
            elif isinstance(action, Wait | Fetch):
                self.now = action.until if isinstance(action, Wait) else self.now
                self.read(action, HONEST)
            elif isinstance(action, Fail):
                self.end(action)
            if self.action is None or isinstance(self.action, Done):
                break
        else:
            raise AssertionError(f"The song did not end: {self.action}")
        self.a_second_task_is_paid_for_only_when_the_first_has_failed()
        self.no_song_gets_more_new_tasks_than_the_rules_allow()
        self.no_id_that_was_stored_is_ever_lost()


class Cover(Driven):
    kind = "suno.cover"


class Music(Driven):
    kind = "suno.music"


_SETTINGS = settings(max_examples=120, stateful_step_count=40)
TestCoverIsPaidForOnce = Cover.TestCase
TestCoverIsPaidForOnce.settings = _SETTINGS
TestMusicIsPaidForOnce = Music.TestCase
TestMusicIsPaidForOnce.settings = _SETTINGS
