"""Drives tasks to their end: applies the rules, stores the record, reads again; one task or many, blocking or async.

A task's steps are defined once, as a generator (:meth:`TaskDriver.steps`). :meth:`TaskDriver.follow` runs
them in blocking code, :meth:`TaskDriver.afollow` in an event loop, and `many` does so for many tasks at a time.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from airflow_kie.client.answers.decode import CreateAnswer, Created, DetailsAnswer, Ended, Lost, Refused, Unreadable
from airflow_kie.client.errors import KieError, KieSpendingStopped, Remedy, naming
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.lifecycle.claims import AlreadyMade, Claim, Claimed, InDoubt, Known
from airflow_kie.lifecycle.crash_points import reached
from airflow_kie.lifecycle.deadline import WaitEnded, end_of_wait, timed_out
from airflow_kie.lifecycle.ledger import PaidRequest
from airflow_kie.lifecycle.log_line import log_read, log_unknown_shape, says_failed
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Action, Done, Fail, Fetch, Rules, Send, Wait, crosses, next_action
from airflow_kie.lifecycle.steps import Do, DriveResult, HeldPermit, Read, Sleep, Step, Steps, sender, thrower


class Reader(Protocol):
    """Reads a task's details from KIE, in blocking code."""

    def details(self, kind: TaskOperation, task_id: str) -> DetailsAnswer:
        """Read a task; never raises for what KIE answers."""


class AsyncReader(Protocol):
    """The same in an event loop."""

    async def details(self, kind: TaskOperation, task_id: str) -> DetailsAnswer:
        """Read a task; never raises for what KIE answers."""


Create = Callable[[TaskRecord, str], CreateAnswer]
"""Sends a create; the second argument is the attempt's nonce, which travels in the callback URL."""
Pause = Callable[[TaskRecord, float], None]
Save = Callable[[TaskRecord], None]


@dataclass(frozen=True)
class TaskDriver:
    """Drives one task to its end.

    :param save: stores the record; None if it is not stored.
    :param paid: the request in the ledger; None for a caller that only waits and must never pay.
    :param create: sends the request.
    :param permit: called before a request is claimed; raises if it cannot be sent now.
    :param give_back: returns the permit of a request that was not sent.
    :param settle: called with the credits that a task paid for here has used; 0 if it has failed.
    :param deadline: epoch seconds at which waiting ends.
    :param rules: how doubtful answers are decided.
    :param waiting: returns how many tasks of the account wait in this process; with more, each is read less often.
    :param quiet: log changes of the task's state at debug level.
    :param clock: epoch seconds.
    """

    save: Save | None = None
    paid: PaidRequest | None = None
    create: Create | None = None
    permit: Callable[[], None] = lambda: None
    give_back: Callable[[], None] = lambda: None
    settle: Callable[[TaskRecord, float | None], None] = lambda record, used: None
    deadline: float | None = None
    rules: Rules = field(default_factory=Rules)
    waiting: Callable[[], int] | None = None
    quiet: bool = False
    clock: Callable[[], float] = time.time

    def follow(
        self, record: TaskRecord, kie: Reader, pause: Pause, answer: Ended | None = None, *, to_the_end: bool = True
    ) -> DriveResult:
        """Follow a task until it has its files, in blocking code.

        :param record: what is known.
        :param kie: where it is.
        :param pause: spends the time until then (epoch seconds): sleeps, or leaves by an exception (defer, reschedule).
        :param answer: the failure that the trigger saw, if any.
        :param to_the_end: False: only until KIE has named the task.
        :raises KieError: why it has none; the record is stored by then.
        """
        steps = self.steps(record, answer, to_the_end=to_the_end)
        resume: Callable[[], Step] = lambda: next(steps)  # noqa: E731 - it changes with each step
        while True:
            try:
                step = resume()
            except StopIteration as end:
                result: DriveResult = end.value
                return result
            except WaitEnded as ended:
                raise ended.error from None
            value: Any = None
            try:
                match step:
                    case Do(call):
                        value = call()
                    case Read(record):
                        value = kie.details(task_kind(record.kind, record.form), record.task_id or "")
                    case Sleep(record, until):
                        pause(record, until)
            except BaseException as error:  # noqa: BLE001 - the generator's own handlers decide
                resume = thrower(steps, error)
            else:
                resume = sender(steps, value)

    async def afollow(
        self, record: TaskRecord, kie: AsyncReader, answer: Ended | None = None, *, waits: bool = True, **upto: bool
    ) -> DriveResult:
        """Follow a task in an event loop: what may block runs in a thread. Parameters as in :meth:`follow`.

        :param waits: False: only until it has to be waited for.
        :param upto: `to_the_end`.
        :raises KieError: why it has no files.
        :raises WaitEnded: at the deadline.
        """
        steps = self.steps(record, answer, **upto)
        resume: Callable[[], Step] = lambda: next(steps)  # noqa: E731
        while True:
            try:
                step = resume()
            except StopIteration as end:
                result: DriveResult = end.value
                return result
            value: Any = None
            try:
                match step:
                    case Do(call):
                        value = await asyncio.to_thread(call)  # `asyncio.run` waits for it: what is sent is recorded
                    case Read(record):
                        value = await kie.details(task_kind(record.kind, record.form), record.task_id or "")
                    case Sleep(record, _) if not waits:
                        return DriveResult(record)
                    case Sleep(_, until):
                        await asyncio.sleep(max(0.0, until - self.clock()))
            except BaseException as error:  # noqa: BLE001 - the generator's own handlers decide
                resume = thrower(steps, error)
            else:
                resume = sender(steps, value)

    def steps(self, record: TaskRecord, answer: Ended | None = None, *, to_the_end: bool = True) -> Steps:
        """Yield what is to be done, one step at a time; returns where it has led.

        :raises KieError: why the task has no files; the record is stored by then.
        """
        action = yield from self._begin(record, answer)
        unread: KieError | None = None
        while True:
            match action:
                case Send(record, repeated):
                    action = yield from self._send(record, repeated)
                case Fetch(record) | Wait(record) if record.task_id and not to_the_end:
                    yield from self._save(record)
                    return DriveResult(record)
                case Fetch(record):
                    answered = yield Read(record)
                    unread = answered.error if isinstance(answered, Unreadable) else None
                    action = self._next(record, answered)
                    log_read(record, action.record, unread, quiet=self.quiet)
                case Wait(record, until):
                    action = yield from self._wait(record, until, unread)
                case Done(record, details):
                    log_unknown_shape(record, details)
                    yield from self._save(record)
                    yield from self._settle(record, details.credits_consumed)
                    return DriveResult(record, details)
                case Fail(record, error):
                    action = yield from self._failed(record, error)

    def _next(self, record: TaskRecord, answer: Any = None) -> Action:
        rules = replace(self.rules, waiting=self.waiting()) if self.waiting else self.rules
        return next_action(record, self.clock(), answer, rules)

    def _save(self, record: TaskRecord) -> Generator[Step, Any, None]:
        if self.save is not None:
            yield Do(functools.partial(self.save, record))

    def _settle(self, record: TaskRecord, used: float | None) -> Generator[Step, Any, None]:
        if self.paid is not None and record.number:
            yield Do(lambda: self.settle(record, used))

    def _begin(self, record: TaskRecord, answer: Ended | None) -> Generator[Step, Any, Action]:
        if self.paid is not None and record.unrecorded and record.task_id:
            paid, known = self.paid, record
            yield Do(lambda: paid.record_task(known.number, known.task_id or ""))
            record = replace(record, unrecorded=False)
        if answer is not None and answer.task_id == record.task_id:
            return Fail(record, answer.error)
        return self._next(record)

    def _send(self, record: TaskRecord, repeated: int | None) -> Generator[Step, Any, Action]:
        """Claim the request and send it; what the ledger knows already is followed instead, permit or not."""
        paid = self.paid
        if paid is None or self.create is None:
            raise AssertionError("Only a caller that may pay can send.")
        yield Do(lambda: paid.ledger)  # a ledger that cannot be opened uses up no permit
        with HeldPermit(self.permit, self.give_back) as permit:
            try:
                yield Do(permit.take)
            except KieError:
                known = yield Do(paid.find)
                if known is None or repeated:
                    raise
                return (yield from self._follow_claim(paid, record, known))
            # One step: between the claim, the request and its record nothing else of this process runs, and no error
            # of another request's ends it: it would be in doubt, although nothing was sent.
            claim, sending, answered, at = yield Do(lambda: self._claim_and_post(permit, paid, record, repeated))
        if not isinstance(claim, Claimed):
            return (yield from self._follow_claim(paid, record, claim))
        return next_action(sending, at, answered, self.rules)

    def _claim_and_post(
        self, permit: HeldPermit, paid: PaidRequest, record: TaskRecord, repeated: int | None
    ) -> tuple[Claim, TaskRecord, CreateAnswer | None, float]:
        permit.use()
        try:
            if repeated:
                paid.record(repeated, "repeated")
            claim = paid.claim(record.form)
        except BaseException:  # nothing is sent: the permit, and what it counts against the caps, is another one's
            self.give_back()
            raise
        if not isinstance(claim, Claimed):
            self.give_back()
            return claim, record, None, self.clock()
        failed_ids = tuple(dict.fromkeys((*record.failed_ids, *claim.failed_ids)))
        sending = replace(
            record, number=claim.number, form=claim.intent.form, failed_ids=failed_ids, repeated=bool(repeated)
        )
        return claim, sending, *self._post(paid, sending, claim)

    def _follow_claim(self, paid: PaidRequest, record: TaskRecord, known: Known) -> Generator[Step, Any, Action]:
        if isinstance(known, AlreadyMade):
            yield Do(functools.partial(paid.adopted, known))
        action = self._next(record, known)
        if isinstance(known, InDoubt) and isinstance(action, Fail):
            known = replace(known, balance=(yield Do(paid.balance)))
            yield Do(functools.partial(paid.record_doubt, known))
            action = self._next(record, known)
        return action

    def _post(self, paid: PaidRequest, record: TaskRecord, claim: Claimed) -> tuple[CreateAnswer | None, float]:
        """Send a claimed request and record what came back and when; None: it was too late to send it.

        While it is not known what came of one that costs credits, it is among those that can be in doubt.
        """
        if task_kind(record.kind, record.form).free:
            return self._answer(paid, record, claim)
        paid.ledger.expect_doubt(paid.request, claim.number)
        answered, at = self._answer(paid, record, claim)
        if not isinstance(answered, Lost):
            paid.ledger.expect_no_doubt(paid.request, claim.number)
        return answered, at

    def _answer(self, paid: PaidRequest, record: TaskRecord, claim: Claimed) -> tuple[CreateAnswer | None, float]:
        assert self.create is not None  # noqa: S101 - for the type checker
        reached("before post")
        if self.clock() >= claim.intent.not_after:  # the process was frozen: others count this attempt as in doubt
            paid.record(claim.number, "refused", why="it was too late to send it")
            self.give_back()
            return None, self.clock()
        try:
            answered = self.create(record, claim.intent.nonce)
        except KieSpendingStopped:
            paid.record(claim.number, "refused", reason=KieSpendingStopped.reason)
            self.give_back()
            raise
        at = self.clock()
        reached("after post")
        if isinstance(answered, Created) and answered.answer is not None:
            with naming(paid="KIE answered with the result itself, and may have charged for it"):
                answered = replace(answered, task_id=paid.keep_answer(claim, answered.answer))
        match answered:
            case Created(task_id):
                try:
                    if self.save is not None:
                        self.save(
                            replace(record, task_id=task_id, adopted=answered.duplicate, known_at=at, unrecorded=True)
                        )
                finally:  # where one of the two cannot be written, the other one brings the id back
                    with naming(paid=f"KIE task {task_id} exists and is not paid for again"):
                        paid.record_task(claim.number, task_id)
            case Refused(error):
                paid.record(claim.number, "refused", reason=error.reason)
            case Lost(error):
                with naming(paid="KIE may have created and charged one task"):
                    paid.record(claim.number, "unanswered", reason=error.reason, code=error.facts.code)
        return answered, at

    def _wait(self, record: TaskRecord, until: float, unread: KieError | None) -> Generator[Step, Any, Action]:
        yield from self._save(record)
        ends_at = None if self.deadline is None else end_of_wait(record, self.deadline, self.rules)
        if ends_at is not None and self.clock() >= ends_at:
            raise WaitEnded(timed_out(record, unread))
        yield Sleep(record, until if ends_at is None else min(until, ends_at))
        return self._next(record)

    def _failed(self, record: TaskRecord, error: KieError) -> Generator[Step, Any, Action]:
        """Record KIE's own failure, and ask for a new task where the rules allow one; otherwise leave by the error."""
        paid = self.paid
        again = error.remedy is Remedy.NEW_TASK or crosses(record, error, self.rules)
        if paid is not None and again and record.task_id:
            if record.number:
                facts = {"task_id": record.task_id, "reason": error.reason}
                yield Do(functools.partial(paid.record, record.number, "failed", **facts))
                yield from self._settle(record, 0.0)  # KIE gives the credits of failed tasks back
            return self._next(record, Ended(record.task_id, error))
        yield from self._save(record)
        if says_failed(record):
            yield from self._settle(record, 0.0)
        raise error
