"""The rules of one paid task, as a pure function: what to do next, given what is known and what KIE just answered.

Operator, sensor and trigger carry out the same rules and only move the record along, so whatever crashes in between,
the next one continues from what was stored. Time comes in as an argument and nothing here does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from airflow_kie.client import errors
from airflow_kie.client.answers.decode import (
    Answer,
    Created,
    Ended,
    Invisible,
    Lost,
    Read,
    Refused,
    Unreadable,
    failure_of,
)
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.errors import KieError, Remedy, Scope
from airflow_kie.client.operations.operation import Form, State, TaskOperation
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.lifecycle.claims import AlreadyMade, BeingSent, FailedTooOften, InDoubt, Known
from airflow_kie.lifecycle.ledger import MOST_FAILED
from airflow_kie.lifecycle.polling import seconds_to_next_read
from airflow_kie.lifecycle.record import TaskRecord

ASK_LEDGER = 30.0
"""Seconds after which waiting for another one's request asks the ledger again: a callback wakes its sender alone."""
RATE_WINDOW = 10.0
"""Seconds of KIE's rate limit window (docs.kie.ai getting-started): a read that hit the limit waits it out."""


@dataclass(frozen=True)
class Rules:
    """How doubtful answers are decided.

    :param visible_after: seconds in which KIE may not show a task yet.
    :param agree_after: seconds that two reads must lie apart for a failure to be believed.
    :param interval: seconds between reads; None: dense near the typical end.
    :param timeout: seconds that a task which replaces a failed one may take, whatever is left of the wait.
    :param api: the one API variant in which the connection is asked; empty: none is named.
    :param waiting: how many tasks of this account wait in this process.
    :param connections: every Airflow connection that may be used, to be named where one does not know a task.
    """

    visible_after: float = 60.0
    agree_after: float = 30.0
    interval: float | None = None
    timeout: float = 0.0
    api: str = ""
    waiting: int = 1
    connections: tuple[str, ...] = ()


@dataclass(frozen=True)
class Send:
    """Claim the request in the ledger and, where it is free, send it.

    :param repeated: the attempt whose answer was lost, where an operation that costs nothing is sent once more.
    """

    record: TaskRecord
    repeated: int | None = None


@dataclass(frozen=True)
class Fetch:
    """Read the details now."""

    record: TaskRecord


@dataclass(frozen=True)
class Wait:
    """Nothing to do until then (epoch seconds)."""

    record: TaskRecord
    until: float


@dataclass(frozen=True)
class Done:
    """The task has its files."""

    record: TaskRecord
    details: TaskDetails


@dataclass(frozen=True)
class Fail:
    """The task has failed, or nothing more can be known in this attempt; the error says what helps."""

    record: TaskRecord
    error: KieError


Action = Send | Fetch | Wait | Done | Fail


def next_action(
    record: TaskRecord, now: float, answer: Answer | Known | None = None, rules: Rules | None = None
) -> Action:
    """Return what to do next for a task.

    :param record: what is known, as stored.
    :param now: epoch seconds.
    :param answer: what KIE just answered or the ledger knows, None when an attempt begins or a wait is over.
    :param rules: how doubtful answers are decided.
    """
    turn = _Transition(task_kind(record.kind, record.form), record, now, rules or Rules())
    match answer:
        case None:
            return turn.begin()
        case Created():
            return turn.created(answer)
        case Refused(error):
            return Send(turn.in_other_form()) if crosses(record, error, turn.rules) else turn.fail(error)
        case Lost():
            return turn.begin()  # the ledger says when it is in doubt
        case AlreadyMade() | BeingSent() | InDoubt() | FailedTooOften():
            return turn.known(answer)
        case Read(details):
            return turn.read(details)
        case Invisible():
            return turn.invisible()
        case Unreadable(error):
            return turn.unreadable(error)
        case Ended(task_id, error):
            return turn.believed(error) if task_id == record.task_id else turn.begin()


@dataclass(frozen=True)
class _Transition:
    """One application of the rules."""

    kind: TaskOperation
    record: TaskRecord
    now: float
    rules: Rules

    def begin(self) -> Action:
        if self.record.task_id:
            return Fetch(self.record)
        return Send(self.record)

    def known(self, known: Known) -> Action:
        """Follow the ledger: what is made is adopted, what is in doubt is never sent again if it costs credits."""
        match known:
            case AlreadyMade(number, task_id, _, form):
                same = number == self.record.number
                record = replace(self.record, number=number, task_id=task_id, adopted=not same, known_at=None)
                return Fetch(replace(record, form=form))
            case BeingSent(until):
                return Wait(self.record, min(until, self.now + ASK_LEDGER))
            case FailedTooOften(task_ids):
                failed = f"{len(task_ids)} tasks failed: {', '.join(task_ids)}"
                reason = f"request {self.kind.name}/{self.record.digest}: {failed}"
                return self.fail(errors.KieFailedForGood(reason), replace(self.record, failed_ids=task_ids))
            case InDoubt(number, intent, repeated) as doubt:
                if self.kind.free and not repeated:
                    return Send(self.record, repeated=number)
                who = ", ".join(f"{name} {value}" for name, value in sorted(intent.owner.items()))
                request = f"request {self.kind.name}/{self.record.digest}, attempt {number}"
                free = "It costs nothing, and was already sent twice" if self.kind.free else None
                return self.fail(errors.KieCreateInDoubt(f"{request}{who and f' ({who})'}{doubt.hint}", paid=free))

    def created(self, answer: Created) -> Action:
        if answer.task_id in self.record.failed_ids:
            again = f"a new request was answered with the failed task {answer.task_id}"
            return self.fail(errors.KieFailedForGood(again, task_id=answer.task_id), self._sent(answer))
        record = self._sent(answer)
        return Fetch(record) if answer.duplicate or answer.answer is not None else self._wait(record)

    def read(self, details: TaskDetails) -> Action:
        made_at = min(details.created_at.timestamp(), self.now) if details.created_at else self.now
        known_at = self.record.known_at if self.record.known_at is not None else made_at
        record = replace(self.record, last_state=details.word or None, known_at=known_at, form=details.form.value)
        parent, source = details.parent_id, self.record.parent_id
        if parent and source and self.kind.parent_path and parent != source:
            return self._doubt(errors.KieWrongParent(f"KIE says that it belongs to song {parent}"), record)
        if details.complete and details.state is not State.RUNNING:
            if self._expired(details):
                return self.fail(errors.KieResultsExpired(), record)
            return Done(replace(record, doubt=None, doubt_at=None), details)
        if self._says_failed(details):
            action = self._doubt(failure_of(self.kind, details), record)
            if isinstance(action, Fail) and details.state is State.SUCCEEDED and not self.kind.shape_known:
                return Done(action.record, details.with_answer())  # paid and finished: nothing is made again
            return action
        return self._wait(replace(record, doubt=None, doubt_at=None))

    def invisible(self) -> Action:
        if self.record.adopted and self.record.form and self.kind.both_forms and not self.rules.api:
            return Fetch(replace(self.record, form=""))  # made before, perhaps in the other form: reading is free
        known_at = self.record.known_at if self.record.known_at is not None else self.now
        record = replace(self.record, known_at=known_at)
        unknown = errors.KieTaskUnknown(self._asked_under())
        if self.now - known_at >= self.rules.visible_after:
            return self._doubt(unknown, record)
        # The first such read counts: a task that KIE never shows fails when the time of grace is over.
        doubted = record.doubt == _failure_signature(unknown) and record.doubt_at is not None
        return self._wait(record if doubted else replace(record, doubt=_failure_signature(unknown), doubt_at=self.now))

    def _asked_under(self) -> str:
        """Return under which connection a task was read, and under which not: nobody else's key is tried."""
        mine = self.record.connection
        others = [name for name in self.rules.connections if name != mine]
        form, both = self.record.form, self.kind.both_forms
        way = f"in the {form} API variant" if form else "in both API variants, or in the one that `api` selects"
        reason = f"it was read under {mine}{f' {way}' if both else ''}" if mine else ""
        return f"{reason}; `kie_conn_ids` also names {', '.join(others)}" if mine and others else reason

    def unreadable(self, error: KieError) -> Action:
        """A read that failed says nothing about the task: it is repeated, and what only a person can fix is doubted.

        That holds for every code of KIE, those about the account too (401): a gateway sends any of them for a moment.
        """
        if error.scope is Scope.SERVICE or error.remedy is not Remedy.PERSON:
            window = RATE_WINDOW if isinstance(error, errors.KieRateLimited) else 0.0
            return self._wait(self.record, pause=max(error.facts.retry_after or 0.0, window))
        if error.facts.code is None:  # our own finding, such as a connection without host: KIE was not asked
            return self.fail(error)
        return self._doubt(error, self.record)

    def believed(self, error: KieError) -> Action:
        """Start a new task where that helps, the rules allow it, and KIE would make one."""
        again = crosses(self.record, error, self.rules)
        if not (again or error.remedy is Remedy.NEW_TASK) or not self.record.task_id:
            return self.fail(_of_a_read(error, self.record))
        failed_ids = tuple(dict.fromkeys((*self.record.failed_ids, self.record.task_id)))
        record = replace(self.record, failed_ids=failed_ids)
        if again:
            return Send(replace(self.in_other_form(), failed_ids=failed_ids))
        if len(failed_ids) >= MOST_FAILED:
            request, last = f"request {self.kind.name}/{self.record.digest}", error.facts.message or "no message"
            reason = f"{request}: {len(failed_ids)} tasks failed, the last one with: {last}"
            return self.fail(errors.KieFailedForGood(reason, code=error.facts.code), record)
        return Send(replace(record, task_id=None, form="", adopted=False, known_at=None, doubt=None, doubt_at=None))

    def in_other_form(self) -> TaskRecord:
        """Return the record of a request that goes to the other API variant, as its source is not known in this one."""
        other = Form(self.record.form).other.value
        empty = replace(self.record, task_id=None, adopted=False, known_at=None, doubt=None, doubt_at=None)
        return replace(empty, form=other, crossed=True, last_state=None)

    def fail(self, error: KieError, record: TaskRecord | None = None) -> Fail:
        record = record or self.record
        known = {name: getattr(record, name) for name in ("kind", "task_id", "source_id", "last_state")}
        return Fail(record, error.with_facts(**{key: value for key, value in known.items() if value}))

    def _sent(self, answer: Created) -> TaskRecord:
        return replace(
            self.record,
            task_id=answer.task_id,
            known_at=self.now,
            adopted=answer.duplicate,
            last_state=None,
        )

    def _expired(self, details: TaskDetails) -> bool:
        """Return whether a request that every run shares was made before, by another one, and its files are gone."""
        shared = self.kind.parent is not None and self.record.adopted and self.record.digest and details.urls
        return bool(shared and details.expires_at and self.now >= details.expires_at.timestamp())

    def _says_failed(self, details: TaskDetails) -> bool:
        if details.state is not State.RUNNING:
            return True
        return self.kind.running_errors and bool(details.error_code or details.error_message)

    def _doubt(self, error: KieError, record: TaskRecord) -> Action:
        """Believe what ends a task when two reads that lie far enough apart tell the same; a retry asks twice again."""
        signature = _failure_signature(error)
        if record.doubt == signature and record.doubt_at is not None and record.doubt_at <= self.now:
            since = self.now - record.doubt_at  # after a clock that was ahead it begins again
            if since >= self.rules.agree_after:
                return self.fail(_of_a_read(error, record), replace(record, doubt=None, doubt_at=None))
            return Wait(record, self.now + self.rules.agree_after - since)
        record = replace(record, doubt=signature, doubt_at=self.now)
        return Wait(record, self.now + self.rules.agree_after)

    def _wait(self, record: TaskRecord, pause: float = 0.0) -> Wait:
        age = self.now - (record.known_at if record.known_at is not None else self.now)
        seconds = seconds_to_next_read(
            self.kind.timing,
            age,
            seed=record.task_id or "",
            waiting=self.rules.waiting,
            interval=self.rules.interval,
        )
        return Wait(record, self.now + pause + seconds)


def crosses(record: TaskRecord, error: KieError, rules: Rules) -> bool:
    """Return whether a request is sent once more, in the other API variant: an unknown source costs nothing.

    :param record: the task, in the API variant in which it was requested.
    :param error: KIE's refusal, or how the task failed.
    :param rules: whether the connection sets one API variant.
    """
    free = isinstance(error, errors.KieNoRecord) and bool(record.form) and not record.crossed and not rules.api
    return free and task_kind(record.kind).both_forms


def _of_a_read(error: KieError, record: TaskRecord) -> KieError:
    """Return the error of reads that agree: a task that KIE has named to us is there, although it is not shown."""
    not_shown = isinstance(error, errors.KieTaskUnknown | errors.KieInvalidRequest) and error.facts.last_state is None
    if record.created_here and not_shown and not isinstance(error, errors.KieFormGone):
        return errors.KieTaskNotShown(error.facts.message, code=error.facts.code)
    return error


def _failure_signature(error: KieError) -> str:
    """Return what two reads must both tell for a failure to be believed."""
    return f"{error.reason}:{error.facts.code}:{error.facts.last_state}"
