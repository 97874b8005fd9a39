"""Outages are waited out instead of failing the task: an unusable account, or KIE or the bucket being down.

Each task backs off on its own: it is rescheduled without using up a retry, with growing random pauses, and remembers in
its own task state store since when. A task that would pay makes a free request first and pays only once that succeeds.
Nothing is shared between tasks; `kie_ops` finds outages by its own checks. Why a song waits is in its pending record.

While a person has stopped new paid tasks, a task that would make one is rescheduled too, however long that lasts: that
time does not count as an outage's, and an outage meanwhile fails nothing that is stopped anyway.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred

from airflow_kie import metrics, settings
from airflow_kie.client.errors import KieConnectionInvalid, KieError, KieRateLimited, KieSpendingStopped, Remedy, Scope
from airflow_kie.durable.defaults import optional
from airflow_kie.durable.task_state import TaskStateStore

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.song_folder import SongArchive

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_PAUSES = 40
"""The longest pause, in first ones: ten minutes where `[kie] outage_probe_seconds` is not set. The limit doubles."""
RATE_PAUSE = 10.0
"""Seconds: KIE counts new tasks in windows of this length."""
PASSING = 2
"""Server errors or missing answers in a row from which on a song's record says that it waits for an outage."""
LAST_DAY = 24 * 3600.0
"""Seconds before KIE deletes the files at which waiting ends: a person needs time to act."""
WAITED_OUT_FOR_PEOPLE = frozenset(
    {"maintenance", "unreachable", "not_sent", "rate_limited", "throttled", "limiter_unavailable"}
)
"""Reasons that are waited out in a person's own run too; other outages fail it at once."""
_STORE_KEY = "outage"


@dataclass(frozen=True)
class Wait:
    """How long a task has waited for an outage, or a stop of new paid tasks, to end.

    :param since: epoch seconds.
    :param attempts: how often it has met the outage; being over the rate, or stopped, is not counted.
    :param reason: the reason that the song's pending record gives for it; empty: it gives none.
    :param max_tries: the task instance's; it rises when a person clears the task, which starts a new wait.
    :param stopped: new paid tasks are stopped: this wait may last as long as they are.
    """

    since: float
    attempts: int
    reason: str
    max_tries: int
    stopped: bool = False


@dataclass(frozen=True)
class OutageBackoff:
    """Waits outages out for one task.

    :param store: the task state store.
    :param max_tries: the task instance's.
    :param own_run: a person started the run and waits for it: most outages fail it at once.
    :param probe: a free request that fails as long as the outage lasts; given by tasks that pay.
    :param check_spending: raises KieSpendingStopped if the task would pay and may not; given by tasks that pay.
    :param ends_at: epoch seconds at which waiting ends whatever happens: a day before KIE deletes the files.
    :param postpone: called with the seconds of each pause, so that deadlines move along.
    :param song: returns the song whose pending record says why it waits; None: there is none.
    :param clock: epoch seconds.
    """

    store: TaskStateStore
    max_tries: int
    own_run: bool
    probe: Callable[[], object] | None = None
    check_spending: Callable[[], object] = lambda: None
    ends_at: float | None = None
    postpone: Callable[[float], None] = lambda seconds: None
    song: Callable[[], SongArchive | None] = lambda: None
    clock: Callable[[], float] = time.time

    def run(self, attempt: Callable[[], T]) -> T:
        """Return what the attempt returns, or reschedule the task while an outage or a stop of new paid tasks lasts.

        :raises AirflowRescheduleException: while it lasts; no retry is used up.
        :raises KieError: what is not an outage, what a person waits for, and what lasts too long.
        """
        try:
            return self._run(attempt)
        except KieSpendingStopped as stopped:
            self._reschedule_while_stopped(stopped)

    def _run(self, attempt: Callable[[], T]) -> T:
        try:
            if self.probe and self._wait().attempts:
                self.probe()
            result = attempt()
        except KieSpendingStopped:
            raise
        except KieError as error:
            self._reschedule_if_outage(error)
            self._stop_waiting()
            raise
        except (TaskDeferred, AirflowRescheduleException):  # KIE has answered, and its task is waited for
            self._end()
            raise
        self._end()
        return result

    def _reschedule_if_outage(self, error: KieError) -> None:
        """Reschedule the task if the error is an outage to be waited out; return otherwise."""
        if error.scope is Scope.TASK or (self.own_run and error.reason not in WAITED_OUT_FOR_PEOPLE):
            return
        with contextlib.suppress(KieConnectionInvalid):  # the error at hand says so, or something else as well
            self.check_spending()
        wait = self._wait()
        if wait.stopped:
            wait = self._record_reason(Wait(self.clock(), 0, wait.reason, self.max_tries), "")
        if self._is_too_long(wait):
            return
        if isinstance(error, KieRateLimited):
            self._store(wait)
            pause = max(RATE_PAUSE, error.facts.retry_after or 0.0)
            self._reschedule(pause * random.uniform(1.0, 1.25), error)  # noqa: S311 - jitter, no secret
        wait = replace(wait, attempts=wait.attempts + 1)
        if error.remedy is Remedy.PERSON or wait.attempts >= PASSING:
            wait = self._record_reason(wait, error.reason)
        self._store(wait)
        self._reschedule(self._pause(wait.attempts, error.facts.retry_after or 0.0), error)

    def _reschedule_while_stopped(self, stopped: KieSpendingStopped) -> NoReturn:
        wait = self._wait()
        if not wait.stopped:
            wait = Wait(self.clock(), 0, wait.reason, self.max_tries, stopped=True)
        self._store(self._record_reason(wait, stopped.reason))
        pause = (stopped.facts.retry_after or _first_pause()) * random.uniform(1.0, 1.25)  # noqa: S311 - jitter
        self._reschedule(pause, stopped)

    def _pause(self, attempts: int, retry_after: float) -> float:
        first = _first_pause()
        longest = first * LONGEST_PAUSES
        limit = min(longest, first * 2.0 ** min(attempts - 1, 10))
        jittered = random.uniform(first / 5, limit)  # noqa: S311 - jitter: tasks that met it together part
        return max(jittered, min(retry_after, longest))

    def _is_too_long(self, wait: Wait) -> bool:
        now = self.clock()
        ends = wait.since + settings.number("outage_timeout_hours", 24.0) * 3600
        if self.ends_at is not None:
            ends = min(ends, max(wait.since, self.ends_at))
        return now > wait.since and now >= ends

    def _stop_waiting(self) -> None:
        """Say in the song's record that nothing is waited for; a retry of the task goes on counting."""
        wait = self._wait()
        if wait.reason:
            self._store(self._record_reason(wait, ""))

    def _end(self) -> None:
        """Forget the outage, if the task has waited for one."""
        if not self.store.get(_STORE_KEY):
            return
        wait = self._record_reason(self._wait(), "")
        self.store.set(_STORE_KEY, {})
        log.info("The task continues after waiting %.0f minutes.", (self.clock() - wait.since) / 60)

    def _record_reason(self, wait: Wait, reason: str) -> Wait:
        """Say in the song's pending record why it waits, or that it no longer does; return the wait with that."""
        if wait.reason == reason:
            return wait
        try:
            song = self.song()
            if song:
                expires_at = self.ends_at and datetime.fromtimestamp(self.ends_at + LAST_DAY, tz=UTC)
                song.set_waiting(reason, datetime.fromtimestamp(wait.since, tz=UTC), expires_at or None)
        except Exception as refused:  # noqa: BLE001 - the bucket may be what is down; the task does not fail for it
            log.info("The song's pending record could not be changed: %s", refused)
            return wait
        return replace(wait, reason=reason)

    def _wait(self) -> Wait:
        stored = self.store.get(_STORE_KEY)
        if isinstance(stored, dict) and stored.get("max_tries") == self.max_tries:
            return Wait(**stored)
        return Wait(self.clock(), 0, "", self.max_tries)

    def _store(self, wait: Wait) -> None:
        self.store.set(_STORE_KEY, asdict(wait))

    def _reschedule(self, pause: float, error: KieError) -> NoReturn:
        metrics.RESCHEDULED.add(reason=error.reason)
        self.postpone(pause)
        moment = datetime.fromtimestamp(self.clock() + pause, tz=UTC)
        log.info("Rescheduled until %s, which does not use a retry. %s", moment.isoformat(timespec="seconds"), error)
        raise AirflowRescheduleException(moment)  # type: ignore[no-untyped-call]


def run_with_outage_backoff(
    context: Context,
    attempt: Callable[[], T],
    *,
    probe: Callable[[], object] | None = None,
    check_spending: Callable[[], object] = lambda: None,
    expires_at: str | None = None,
    postpone: Callable[[float], None] = lambda seconds: None,
    song: Callable[[], SongArchive | None] = lambda: None,
) -> T:
    """Return what the attempt returns, or reschedule the task while an outage or a stop of new paid tasks lasts.

    Outside a DAG run (a task that is tried by hand) nothing can be rescheduled: errors are raised at once.

    :param context: the task's context.
    :param attempt: what the task does.
    :param probe: a free request that is made before the attempt after an outage; for tasks that pay.
    :param check_spending: raises KieSpendingStopped if the task would pay and may not; for tasks that pay.
    :param expires_at: ISO time at which KIE deletes the song's files, if known.
    :param postpone: called with the seconds of each pause.
    :param song: returns the song whose pending record says why it waits.
    """
    expires_at = optional(expires_at) or None  # a template may render to None
    try:
        if context.get("dag_run") is None:
            return attempt()
        backoff = OutageBackoff(
            context["task_state_store"],
            max_tries=context["ti"].max_tries,
            probe=probe,
            check_spending=check_spending,
            own_run=is_own_run(context),
            ends_at=last_moment(expires_at),
            postpone=postpone,
            song=song,
        )
        return backoff.run(attempt)
    except KieError as error:
        dated = error.with_facts(until=expires_at) if expires_at else error
        log.error("%s", dated)  # a line of its own: the log's traceback is cut off at the window's edge
        if dated is not error:
            raise dated from error
        raise


def _first_pause() -> float:
    """Return the seconds that the first pause lasts at most."""
    return settings.number("outage_probe_seconds", 15.0)


def is_own_run(context: Context) -> bool:
    """Return whether a person started this run and waits for it; schedules, events and the inbox do not mind."""
    run: Any = context.get("dag_run")
    return str(getattr(run, "run_type", "manual")).rpartition(".")[2].lower() == "manual"


def last_moment(expires_at: str | None) -> float | None:
    """Return the epoch seconds at which waiting out an outage must end: a day before KIE deletes the files.

    :param expires_at: ISO time, as :class:`~airflow_kie.sensors.suno.KieMusicSensor` returns it; None if unknown.
    """
    if not expires_at:
        return None
    try:
        return datetime.fromisoformat(expires_at).timestamp() - LAST_DAY
    except ValueError:
        return None
