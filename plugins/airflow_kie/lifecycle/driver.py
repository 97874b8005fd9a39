"""Carry a task's record along: do what the rules say, store, ask again. For code that may block."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from airflow_kie.client.answers.decode import CreateAnswer, DetailsAnswer, Ended, Unreadable
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.errors import KieError, KieSpendingStopped, KieWaitTimeout, Remedy
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Action, Done, Fail, Fetch, Rules, Send, Wait, next_action


class Reader(Protocol):
    """What is asked of KIE here: a task's details."""

    def details(self, kind: TaskOperation, task_id: str) -> DetailsAnswer:
        """Read a task; never raises for what KIE answers."""


Create = Callable[[TaskRecord], CreateAnswer]
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
    :param save: stores the record; called directly before a create is sent and directly after its answer.
    :param pause: spends the time until then (epoch seconds): sleeps, or leaves by an exception (defer, reschedule).
        The record is stored by then: a later leg knows what this one has read.
    :param create: sends the create; None for one who only waits and must never pay.
    :param permit: called directly before a create is noted and sent; raises when it may not be sent now.
    :param deadline: epoch seconds at which waiting ends.
    :param rules: how doubtful answers are decided.
    :param clock: epoch seconds.
    """

    kie: Reader
    save: Save
    pause: Pause
    create: Create | None = None
    permit: Callable[[], None] = lambda: None
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
                case Send(sending):
                    action = self._send(record, sending)
                case Fetch(record) | Wait(record) if not to_the_end:
                    return DriveResult(record)
                case Fetch(record):
                    answered = self.kie.details(task_kind(record.kind), record.task_id or "")
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
        if answer is not None and self.create is None and answer.task_id == record.task_id:
            return Fail(record, answer.error)
        return next_action(record, self.clock(), answer, self.rules)

    def _send(self, before: TaskRecord, record: TaskRecord) -> Action:
        """Send a create; one that is stopped before it is sent leaves what was known before."""
        if self.create is None:
            raise AssertionError("Only one who may pay can be told to send.")
        self.permit()
        self.save(record)
        try:
            answered = self.create(record)
        except KieSpendingStopped:
            self.save(before)
            raise
        action = next_action(record, self.clock(), answered, self.rules)
        self.save(action.record)
        return action

    def _wait(self, record: TaskRecord, until: float, unread: KieError | None) -> Action:
        self.save(record)
        ends_at = None if self.deadline is None else end_of_wait(record, self.deadline, self.rules)
        if ends_at is not None and self.clock() >= ends_at:
            raise timed_out(record, unread)
        self.pause(record, until if ends_at is None else min(until, ends_at))
        return next_action(record, self.clock(), None, self.rules)

    def _failed(self, record: TaskRecord, error: KieError) -> Action:
        """Ask the rules for a new task, where KIE's own failure allows one; otherwise leave by the error."""
        may_renew = self.create is not None and error.remedy is Remedy.NEW_TASK
        if may_renew and record.task_id:
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
