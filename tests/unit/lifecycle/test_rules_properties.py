"""Any interleaving of two runs, answers, lost answers, crashes and repeats pays for a request once.

A KIE that misbehaves in every known way is driven by the real driver against the real ledger, whose objects are in
memory. Two runs ask for the same thing; each can die at every named point, and the other one can act at any of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import (
    CreateAnswer,
    Created,
    DetailsAnswer,
    Invisible,
    Lost,
    Read,
    Unreadable,
    decode_create,
    decode_details,
)
from airflow_kie.client.answers.inline import kept_details, kept_under
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.lifecycle import crash_points
from airflow_kie.lifecycle.claims import Intent, RequestId
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.ledger import Ledger, PaidRequest
from airflow_kie.lifecycle.many import follow_many
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Rules
from kie_answers import answer
from kie_forms import FORMS
from ledgers import MemoryLedgerStore

SOURCE = {"taskId": "the-song"}
RULES = Rules()
START = 1_776_862_600.0

HONEST = "honest"
CREATES = st.sampled_from(
    [HONEST, HONEST, HONEST, "refused", "out of credits", "never arrives", "answer lost",
     "gateway page after it was made", "error code after it was made", "success without id", "duplicate without id",
     "answered at once"]
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
    form: str
    names_failed_again: bool
    once: bool
    tasks: list[FakeTask] = field(default_factory=list)

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
        if how == "error code after it was made" and not self._row.free:  # what is free may be asked for again
            return self._decoded(answer(None, 500, "oops"))
        if how == "success without id":
            return self._decoded(answer({}))
        if how == "answered at once" and self.tasks[-1] is not there:
            self.tasks[-1].state = "done"
            return self._decoded(answer({"resultUrls": ["https://h.example/1"]}))
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
        return decode_details(self._row, task_id, answer(data if code == 200 else None, code, "words"))

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
        if self.form == "unified":
            return self._record(task, state, code, parent, files)
        common = {"taskId": task.task_id, "errorCode": code, "createTime": task.made_at * 1000}
        if self.kind == "suno.cover":
            flag = {"running": 0, "done": 1, "empty": 1, "failed": 3, "undelivered": 2}.get(state, 9)
            return common | {"successFlag": flag, "response": {"images": files}, "parentTaskId": parent}
        words = {"running": "PENDING", "done": "SUCCESS", "empty": "SUCCESS", "failed": "GENERATE_AUDIO_FAILED"}
        word = words.get(state, "CALLBACK_EXCEPTION" if state == "undelivered" else "UNHEARD_OF")
        return common | {"status": word, "response": {"sunoData": [{"audioUrl": url} for url in files]}}

    def _record(self, task: FakeTask, state: str, code: int | None, parent: str, files: list[str]) -> dict[str, Any]:
        words = {"running": "generating", "done": "success", "empty": "success", "failed": "fail"}
        made = {"resultUrls": files} if self.kind == "suno.cover" else {"data": [{"audio_url": url} for url in files]}
        return {
            "taskId": task.task_id,
            "model": self._row.model,
            "state": words.get(state, "unheard of"),
            "param": json.dumps({"model": self._row.model, "input": json.dumps({"task_id": parent})}),
            "resultJson": json.dumps(made) if files else "",
            "failCode": str(code) if code else None,
            "createTime": task.made_at * 1000,
        }

    @property
    def _row(self) -> TaskOperation:
        return task_kind(self.kind, self.form)

    def _decoded(self, response: Any) -> CreateAnswer:
        return decode_create(self._row, SOURCE, response)


STEPS = ("intent", "post", "answer", "task", "refused", "unanswered", "repeated", "failed")
"""Everything that is written, and the request itself."""
POINTS = tuple(f"{moment} {step}" for step in STEPS for moment in ("before", "after"))


class Killed(BaseException):
    """The worker's process ends here."""


class Store(MemoryLedgerStore):
    """The ledger's objects; for a while no id can be written."""

    fails = False

    def create(self, key: str, body: bytes) -> bool:
        if self.fails and ".task." in key:
            raise errors.KieLimiterUnavailable("the disk is full")
        return super().create(key, body)


class Left(Exception):
    """The leg ends: the task is deferred or rescheduled."""


@dataclass
class Worker:
    """A run that wants the song, with its task state store."""

    stored: str | None = None
    outcome: str = ""


@dataclass
class Leg:
    """What happens in one leg of a worker.

    :param worker: which of the two.
    :param create: how KIE answers its create.
    :param read: how KIE answers its reads.
    :param dies_at: the point at which it is killed.
    :param meets: the point at which the other worker acts.
    :param stalls: seconds that its process stands still at that point.
    :param unwritable: what cannot be written: the worker's own ``state``, the ``ledger``.
    """

    worker: int
    create: str = HONEST
    read: str = HONEST
    dies_at: str | None = None
    meets: str | None = None
    stalls: int = 0
    unwritable: str = ""


LEGS = st.builds(
    Leg,
    worker=st.integers(0, 1),
    create=CREATES,
    read=READS,
    dies_at=st.sampled_from([None, None, None, *POINTS]),
    meets=st.sampled_from([None, None, *POINTS]),
    stalls=st.sampled_from([0, 0, 40, 200]),
    unwritable=st.sampled_from(["", "", "", "state", "ledger"]),
)


class Driven(RuleBasedStateMachine):
    """One request, its folder in the ledger, and two runs that ask for it.

    :param many: the driver for many carries it along, and not the one for one.
    """

    kind = ""
    form = ""
    many = False

    @initialize(names_failed_again=st.booleans(), once=st.booleans(), calls_back=st.booleans())
    def begin(self, names_failed_again: bool, once: bool, calls_back: bool) -> None:
        self.kie = FakeKie(
            self.kind, self.form, names_failed_again, once and bool(task_kind(self.kind).duplicate_codes)
        )
        self.now = START
        self.calls_back = calls_back
        self.store = Store()
        self.ledger = Ledger(self.store, lambda: self.now)
        self.request = RequestId("kie", self.kind, "0" * 32)
        self.workers = [Worker(), Worker()]
        self.callbacks: list[tuple[int, str]] = []

    # --- what operators do

    def new_intent(self, now: float, form: str) -> Intent:
        return Intent.made_at(now, form or self.form, callback_by=now + 200 if self.calls_back else None)

    def run_leg(self, leg: Leg, inner: Leg | None = None) -> None:
        worker = self.workers[leg.worker]
        self.store.fails = leg.unwritable == "ledger"
        self.stood_still = 0  # seconds that the process of this leg did not run
        if leg.dies_at:
            crash_points.at(leg.dies_at, _raise_killed)
        if inner and leg.meets and leg.meets != leg.dies_at:
            crash_points.at(leg.meets, lambda: self._other(leg, inner))
        record = (
            TaskRecord.from_json(json.loads(worker.stored))
            if worker.stored
            else TaskRecord(self.kind, SOURCE, "kie", digest=self.request.digest)
        )
        try:
            kie = _Reads(self.kie, leg.read, lambda: self.now, self._kept)
            if self.many:
                asyncio.run(_one_of_many(self._driver(worker, leg), record, kie))
            else:
                self._driver(worker, leg).follow(record, kie, self._pause)
            worker.outcome = "done"
        except Left:
            pass
        except Killed:
            worker.outcome = "killed"
        except errors.KieError as error:
            worker.outcome = error.reason
        finally:
            self.store.fails = False
            for point in POINTS:
                crash_points.at(point, None)

    def _kept(self, number: int) -> bytes | None:
        return self.ledger.kept_answers.read(self.request, number)

    def _pause(self, record: TaskRecord, until: float) -> None:
        assert until > self.now - self.stood_still
        raise Left

    def _other(self, leg: Leg, inner: Leg) -> None:
        for point in POINTS:
            crash_points.at(point, None)
        self.now += leg.stalls
        self.run_leg(replace(inner, worker=1 - leg.worker))
        self.store.fails = leg.unwritable == "ledger"
        self.stood_still = leg.stalls
        if leg.dies_at:
            crash_points.at(leg.dies_at, _raise_killed)

    def _driver(self, worker: Worker, leg: Leg) -> TaskDriver:
        def save(record: TaskRecord) -> None:
            if leg.unwritable == "state":
                raise Left
            worker.stored = json.dumps(record.to_json())
            if record.task_id and not record.unrecorded:  # no id is in one place alone for longer than a step
                known = {task_id for attempt in self.ledger.attempts(self.request) for task_id in attempt.task_ids}
                assert record.task_id in known

        def create(record: TaskRecord, nonce: str) -> CreateAnswer:
            before = len(self.kie.tasks)
            answered = self.kie.create(leg.create, self.now)
            named = not (isinstance(answered, Created) and answered.answer)
            for task in self.kie.tasks[before:] if named else ():
                self.callbacks.append((record.number, task.task_id))
            return answered

        return TaskDriver(
            save=save,
            paid=PaidRequest(lambda: self.ledger, self.request, self.new_intent),
            create=create,
            rules=RULES,
            clock=lambda: self.now,
        )

    # --- what happens

    @rule(leg=LEGS, inner=LEGS)
    def a_worker_runs_a_leg(self, leg: Leg, inner: Leg) -> None:
        self.run_leg(leg, inner)

    @rule(seconds=st.sampled_from([1, 5, 31, 40, 130, 600, 90_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(worker=st.integers(0, 1))
    def a_task_state_store_is_emptied(self, worker: int) -> None:
        self.workers[worker].stored = None

    @rule(state=st.sampled_from(["done", "failed"]))
    def kie_ends_the_task(self, state: str) -> None:
        for task in self.kie.tasks[-1:]:
            task.state = state if task.state == "running" else task.state

    @rule()
    def a_callback_comes(self) -> None:
        """The receiver records the id for the attempt that the signed callback URL names."""
        if self.calls_back and self.callbacks:
            self.ledger.record_task(self.request, *self.callbacks.pop(0), by="callback")

    # --- what always holds

    @invariant()
    def what_costs_credits_is_paid_again_only_when_kie_said_twice_that_the_first_has_failed(self) -> None:
        if not hasattr(self, "kie") or task_kind(self.kind).free:
            return
        for task in self.kie.tasks[:-1]:
            assert task.said_failed_at and task.said_failed_at[-1] - task.said_failed_at[0] >= RULES.agree_after

    @invariant()
    def what_is_free_is_made_again_once_at_most_for_a_lost_answer(self) -> None:
        if not hasattr(self, "kie") or not task_kind(self.kind).free:
            return
        living = [task for task in self.kie.tasks if not task.said_failed_at]
        assert len(living) <= 1 + sum(key.endswith(".repeated") for key in self.store.objects)
        assert sum(key.endswith(".repeated") for key in self.store.objects) <= 1

    @invariant()
    def no_request_gets_more_tasks_than_the_rules_allow(self) -> None:
        if hasattr(self, "kie"):
            assert len([task for task in self.kie.tasks if task.said_failed_at]) <= 3 + task_kind(self.kind).free

    def teardown(self) -> None:
        """An honest KIE brings every request to an end that says what became of it, whatever happened before."""
        if not hasattr(self, "kie"):
            return
        for _ in range(40):
            for task in self.kie.tasks:
                task.state = "done" if task.state == "running" else task.state
            self.now += 3600
            self.workers[0].outcome = ""
            self.run_leg(Leg(0))
            if self.workers[0].outcome:
                break
        ends = {"done", "create_in_doubt", "failed_for_good", "duplicate_without_id"}
        assert self.workers[0].outcome in ends, self.workers[0].outcome
        self.what_costs_credits_is_paid_again_only_when_kie_said_twice_that_the_first_has_failed()
        self.what_is_free_is_made_again_once_at_most_for_a_lost_answer()


def _raise_killed() -> None:
    raise Killed


@dataclass
class _Reads:
    kie: FakeKie
    how: str
    clock: Callable[[], float]
    kept: Callable[[int], bytes | None]

    def details(self, kind: TaskOperation, task_id: str) -> DetailsAnswer:
        if under := kept_under(task_id):
            body = self.kept(under[1])
            assert body is not None
            return Read(kept_details(kind, task_id, body))
        return self.kie.read(task_id, self.how, self.clock())


@dataclass
class _AsyncReads:
    reads: _Reads

    async def details(self, kind: TaskOperation, task_id: str) -> DetailsAnswer:
        return self.reads.details(kind, task_id)


async def _one_of_many(driver: TaskDriver, record: TaskRecord, reads: _Reads) -> None:
    async for outcome in follow_many({"it": record}, lambda _: driver, _AsyncReads(reads), waits=False):
        if outcome.error is not None:
            raise outcome.error
        if outcome.result is None or outcome.result.details is None:
            raise Left


def _machine(kind: str, form: str, *, many: bool) -> type[Any]:
    """Return the tests of one operation in one form."""
    name = f"{kind.title().replace('.', '')}{form.title()}{'OfMany' if many else ''}"
    tests: type[Any] = type(name, (Driven,), {"kind": kind, "form": form, "many": many}).TestCase  # type: ignore[attr-defined]
    tests.settings = settings(max_examples=40 if many else 120, stateful_step_count=20 if many else 30)
    return tests


for _form in FORMS:
    for _kind in ("suno.cover", "suno.music"):
        for _many in (False, True):
            _tests = _machine(_kind, _form, many=_many)
            globals()[f"Test{_tests.__name__}"] = _tests
