"""Carry a task's record along: do what the rules say, store, ask again. For code that may block."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from airflow_kie.client.answers.decode import CreateAnswer, Created, DetailsAnswer, Ended, Lost, Refused, Unreadable
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.errors import KieError, KieSpendingStopped, KieWaitTimeout, Remedy
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.lifecycle.crash_points import reached
from airflow_kie.lifecycle.ledger import Claimed, PaidRequest
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Action, Done, Fail, Fetch, Rules, Send, Wait, next_action


class Reader(Protocol):
    """What is asked of KIE here: a task's details."""

    def details(self, kind: TaskOperation, task_id: str, source: Mapping[str, Any] | None = None) -> DetailsAnswer:
        """Read a task; never raises for what KIE answers."""


Create = Callable[[TaskRecord, str], CreateAnswer]
"""Sends a create; the second argument is the attempt's nonce, which travels in the callback URL."""
Pause = Callable[[TaskRecord, float], None]
Save = Callable[[TaskRecord], None]


@dataclass(frozen=True)
class DriveResult:
    """Where following a task has led.

    :param record: what is known, as stored.
    :param details: its details, None where nobody waited for the end.
    """

    record: TaskRecord
    details: TaskDetails | None = None


@dataclass(frozen=True)
class TaskDriver:
    """Follows one task to its end.

    :param kie: where it is.
    :param save: stores the record.
    :param pause: spends the time until then (epoch seconds): sleeps, or leaves by an exception (defer, reschedule).
        The record is stored by then: a later leg knows what this one has read.
    :param paid: the request in the ledger; None for a caller that only waits and must never pay.
    :param create: sends it.
    :param permit: called before a request is claimed; raises when it may not be sent now.
    :param give_back: returns the permit of a request that was not sent.
    :param deadline: epoch seconds at which waiting ends.
    :param rules: how doubtful answers are decided.
    :param clock: epoch seconds.
    """

    kie: Reader
    save: Save
    pause: Pause
    paid: PaidRequest | None = None
    create: Create | None = None
    permit: Callable[[], None] = lambda: None
    give_back: Callable[[], None] = lambda: None
    deadline: float | None = None
    rules: Rules = field(default_factory=Rules)
    clock: Callable[[], float] = time.time

    def follow(self, record: TaskRecord, answer: Ended | None = None, *, to_the_end: bool = True) -> DriveResult:
        """Follow a task until it has its files.

        :param record: what is known.
        :param answer: how the trigger saw it end, if it failed.
        :param to_the_end: False: only until KIE has named the task.
        :raises KieError: why it has none; the record is stored by then.
        """
        action = self._begin(record, answer)
        unread: KieError | None = None
        while True:
            match action:
                case Send(record, repeated):
                    action = self._send(record, repeated)
                case Fetch(record) | Wait(record) if record.task_id and not to_the_end:
                    self.save(record)
                    return DriveResult(record)
                case Fetch(record):
                    answered = self.kie.details(task_kind(record.kind), record.task_id or "", record.source)
                    unread = answered.error if isinstance(answered, Unreadable) else None
                    action = next_action(record, self.clock(), answered, self.rules)
                case Wait(record, until):
                    action = self._wait(record, until, unread)
                case Done(record, details):
                    self.save(record)
                    return DriveResult(record, details)
                case Fail(record, error):
                    action = self._failed(record, error)

    def _begin(self, record: TaskRecord, answer: Ended | None) -> Action:
        if self.paid is not None and record.unrecorded and record.task_id:
            self.paid.record_task(record.number, record.task_id)
            record = replace(record, unrecorded=False)
        if answer is not None and answer.task_id == record.task_id:
            return Fail(record, answer.error)
        return next_action(record, self.clock(), None, self.rules)

    def _send(self, record: TaskRecord, repeated: int | None) -> Action:
        """Claim the request and send it; what the ledger knows already is followed instead, permit or not."""
        if self.paid is None or self.create is None:
            raise AssertionError("Only a caller that may pay can be told to send.")
        try:
            self.permit()
        except KieError:
            known = self.paid.find()
            if known is None or repeated:
                raise
            return next_action(record, self.clock(), known, self.rules)
        if repeated:
            self.paid.record(repeated, "repeated")
        claim = self.paid.claim()
        if not isinstance(claim, Claimed):
            self.give_back()
            return next_action(record, self.clock(), claim, self.rules)
        failed_ids = tuple(dict.fromkeys((*record.failed_ids, *claim.failed_ids)))
        record = replace(record, number=claim.number, failed_ids=failed_ids)
        return next_action(record, self.clock(), self._post(record, claim), self.rules)

    def _post(self, record: TaskRecord, claim: Claimed) -> CreateAnswer | None:
        """Send a claimed request and record what came back; None: it came too late to be sent."""
        assert self.paid is not None and self.create is not None  # noqa: S101 - for the type checker
        reached("before post")
        if self.clock() >= claim.intent.not_after:  # the process stood still: others count this attempt as in doubt
            self.paid.record(claim.number, "refused", reason="too_late")
            self.give_back()
            return None
        try:
            answered = self.create(record, claim.intent.nonce)
        except KieSpendingStopped:
            self.paid.record(claim.number, "refused", reason=KieSpendingStopped.reason)
            self.give_back()
            raise
        reached("after post")
        match answered:
            case Created(task_id):
                # The id is stored here first: a bucket that fails now must not lose what is paid.
                try:
                    self.save(replace(record, task_id=task_id, adopted=answered.duplicate, unrecorded=True))
                finally:  # where one of the two cannot be written, the other one brings the id back
                    self.paid.record_task(claim.number, task_id)
            case Refused(error):
                self.paid.record(claim.number, "refused", reason=error.reason)
            case Lost(error):
                self.paid.record(claim.number, "unanswered", reason=error.reason)
        return answered

    def _wait(self, record: TaskRecord, until: float, unread: KieError | None) -> Action:
        self.save(record)
        ends_at = None if self.deadline is None else end_of_wait(record, self.deadline, self.rules)
        if ends_at is not None and self.clock() >= ends_at:
            raise timed_out(record, unread)
        self.pause(record, until if ends_at is None else min(until, ends_at))
        return next_action(record, self.clock(), None, self.rules)

    def _failed(self, record: TaskRecord, error: KieError) -> Action:
        """Record KIE's own failure, and ask for a new task where the rules allow one; otherwise leave by the error."""
        if self.paid is not None and error.remedy is Remedy.NEW_TASK and record.task_id:
            if record.number:
                self.paid.record(record.number, "failed", task_id=record.task_id, reason=error.reason)
            return next_action(record, self.clock(), Ended(record.task_id, error), self.rules)
        self.save(record)
        raise error


def end_of_wait(record: TaskRecord, deadline: float, rules: Rules) -> float:
    """Return the epoch seconds at which a wait ends: a doubt that comes near the deadline is settled first.

    :param record: the task.
    :param deadline: epoch seconds.
    :param rules: how doubtful answers are decided.
    """
    if record.doubt_at is None:
        return deadline
    # Answers that differ each time are not waited for without end.
    return min(max(deadline, record.doubt_at + rules.agree_after), deadline + 2 * rules.agree_after)


def timed_out(record: TaskRecord, unread: KieError | None = None) -> KieError:
    """Return the error of a wait that has reached its deadline, naming the task and its last state.

    :param record: the task.
    :param unread: why the last read failed, if it did: a KIE that is down says nothing about the task. What only a
        person can fix is not the reason: one read alone is not believed.
    """
    error = unread or KieWaitTimeout()
    if error.remedy is Remedy.PERSON:
        error = KieWaitTimeout(f"the last read was refused: {error.facts.message}", code=error.facts.code)
    return error.with_facts(
        kind=record.kind, task_id=record.task_id, source_id=record.source_id, last_state=record.last_state
    )
