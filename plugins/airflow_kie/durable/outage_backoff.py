"""An outage is waited out, not failed: an account that cannot be used, KIE or the bucket being down.

The first task that meets one notes it, for the whole account (or bucket), in an Airflow Variable, where a person sees
it too. Every task that would meet it is put back without using up a retry and asks again with growing pauses; each
time one of them is the first to be due, it probes with a free request, and the rest go on waiting. When a probe
succeeds the note is deleted and work resumes by itself.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred

from airflow_kie import metrics, settings
from airflow_kie.client.errors import KieError, KieRateLimited, Remedy, Scope
from airflow_kie.durable.outages import LONGEST_PAUSES, ONLY_NEW_TASKS, Outage, Place, first_pause
from airflow_kie.durable.task_state import TaskStateStore

if TYPE_CHECKING:
    from airflow.sdk import Context


log = logging.getLogger(__name__)

T = TypeVar("T")

RATE_PAUSE = 10.0
"""Seconds: KIE counts new tasks in windows of this length."""
PASSING = 2
"""How often in a row a task meets a server error or no answer before that is called an outage."""
SAME_MOMENT = 8.0
"""Seconds within which tasks that meet an outage together have noted it: one may have found no note just before another
wrote one, and its own write may wait 5 s for a database that is locked."""
LAST_DAY = 24 * 3600.0
"""Seconds before KIE deletes the files at which patience ends: a person needs time to act."""
_FOR_PEOPLE_TOO = frozenset(
    {"maintenance", "unreachable", "not_sent", "rate_limited", "throttled", "limiter_unavailable"}
)
"""Reasons that are waited out in a person's own run too; other outages are told at once."""
_STORE_KEY = "patience"


@dataclass(frozen=True)
class Patience:
    """Waits outages out for one task.

    :param places: what the task needs.
    :param store: the task state store: since when this task is held up.
    :param pays: the task makes new tasks; one that only reads or archives goes on while credits are short.
    :param own_run: a person started the run and waits for it: most outages are told at once.
    :param ends_at: epoch seconds at which patience ends whatever happens: a day before KIE deletes the files.
    :param postpone: called with the seconds of each pause, so that deadlines move along.
    :param song: the music task id, for the log.
    :param clock: epoch seconds.
    :param sleep: waits for so many seconds.
    """

    places: Sequence[Place]
    store: TaskStateStore
    pays: bool = False
    own_run: bool = False
    ends_at: float | None = None
    postpone: Callable[[float], None] = lambda seconds: None
    song: str = ""
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def work(self, attempt: Callable[[], T]) -> T:
        """Return what the attempt returns, or put the task back while an outage lasts.

        :raises AirflowRescheduleException: while it lasts; no retry is used up.
        :raises KieError: what is no outage, what a person waits for, and what lasts longer than patience.
        """
        held_up = self._held_up()
        for place, outage in held_up:
            self._probe(place, outage)
        try:
            result = attempt()
        except KieError as error:
            self._met(error)
            raise
        except TaskDeferred:  # the task was made, or read, and waits for its end now
            self._went_well(held_up)
            raise
        self._went_well(held_up)
        return result

    def _held_up(self) -> list[tuple[Place, Outage]]:
        """Return the outages that this task would meet; what only refuses new tasks does not hold up what is paid."""
        if self.own_run:
            return []
        noted = [(place, place.note.read()) for place in self.places]
        return [(place, it) for place, it in noted if it and (self.pays or it.reason not in ONLY_NEW_TASKS)]

    def _probe(self, place: Place, outage: Outage) -> None:
        """Put the task back unless it is the one that is due, and then only go on if a free request succeeds."""
        now = self.clock()
        if now < outage.probe_at and not outage.is_of_the_future(now):
            self._put_back(outage.probe_at - now, outage.reason, f"{place.title} is held up: {outage.message}")
        later = outage.next_probe(now)
        place.note.write(later)  # the others see a later probe and leave this one to us
        try:
            place.probe()
        except KieError as error:
            if error.scope is Scope.TASK:
                raise
            self._give_up_if_too_long(error)
            self._put_back(later.pause, error.reason, f"{place.title} is still held up: {error}")

    def _went_well(self, held_up: Sequence[tuple[Place, Outage]]) -> None:
        if self.store.get(_STORE_KEY):
            self.store.set(_STORE_KEY, {})
        for place, outage in held_up:
            noted = place.note.read()
            if noted is None or noted.since != outage.since:
                continue  # another task has told of the end already, or a new outage has begun
            place.note.delete()
            minutes = (self.clock() - outage.since) / 60
            log.warning("%s works again after %.0f minutes (%s).", place.title, minutes, outage.reason)

    def _met(self, error: KieError) -> None:
        """Put the task back if the error is one to be waited out; return otherwise."""
        if error.scope is Scope.TASK or (self.own_run and error.reason not in _FOR_PEOPLE_TOO):
            return
        self._give_up_if_too_long(error)
        if isinstance(error, KieRateLimited):
            self._put_back(max(RATE_PAUSE, error.facts.retry_after or 0.0), error.reason, str(error))
        met = self._times_met() + 1
        self._remember(met)
        pause = first_pause() * min(LONGEST_PAUSES, 2 ** max(0, met - PASSING))
        place = next((place for place in self.places if place.tells(error)), None)
        if place and (error.remedy is Remedy.PERSON or met >= PASSING):
            self._note(place, error, pause)
        self._put_back(max(pause, error.facts.retry_after or 0.0), error.reason, str(error))

    def _note(self, place: Place, error: KieError, pause: float) -> None:
        if place.note.read() is None:
            now = self.clock()
            outage = Outage(error.reason, error.facts.message or error.what, now, now + pause, pause)
            place.note.write(outage)
            self.sleep(SAME_MOMENT)  # Variables have no create-if-absent: the last of several writers tells of it
            noted = place.note.read()
            if noted is None or noted.since != outage.since:  # whoever probes it meanwhile leaves its beginning alone
                return  # another task has met it in the same moment, and tells of it; or it is over, and that was told
            log.error("%s is held up, and everything that needs it waits: %s", place.title, error)

    def _give_up_if_too_long(self, error: KieError) -> None:
        now, since = self.clock(), self._since()
        patience = settings.number("outage_patience_hours", 24.0) * 3600
        ends = since + patience if self.ends_at is None else min(since + patience, max(since, self.ends_at))
        if now > since and now >= ends:
            raise error

    def _since(self) -> float:
        stored = self.store.get(_STORE_KEY)
        return float(stored["since"]) if isinstance(stored, dict) and "since" in stored else self.clock()

    def _times_met(self) -> int:
        stored = self.store.get(_STORE_KEY)
        return int(stored.get("met", 0)) if isinstance(stored, dict) else 0

    def _remember(self, met: int) -> None:
        self.store.set(_STORE_KEY, {"since": self._since(), "met": met})

    def _put_back(self, seconds: float, reason: str, why: str) -> NoReturn:
        metrics.PUT_BACK.add(reason=reason)
        if not self._times_met():
            self._remember(1)
        pause = seconds * random.uniform(1.0, 1.25)  # noqa: S311 - jitter, no secret
        self.postpone(pause)
        moment = datetime.fromtimestamp(self.clock() + pause, tz=UTC)
        until = moment.isoformat(timespec="seconds")
        log.info("%sPut back until %s; no retry is used up. %s", f"Song {self.song}: " if self.song else "", until, why)
        raise AirflowRescheduleException(moment)  # type: ignore[no-untyped-call]


def patiently(
    context: Context,
    attempt: Callable[[], T],
    *places: Place,
    pays: bool = False,
    expires_at: str | None = None,
    postpone: Callable[[float], None] = lambda seconds: None,
) -> T:
    """Return what the attempt returns, or put the task back while one of the places is held up.

    Outside a DAG run (a task that is tried by hand) there is nothing to be put back into: errors are raised at once.

    :param context: the task's context.
    :param attempt: what the task does.
    :param places: the account and the bucket that it needs.
    :param pays: it makes new tasks.
    :param expires_at: ISO time at which KIE deletes the song's files, if known.
    :param postpone: called with the seconds of each pause.
    """
    try:
        if context.get("dag_run") is None:
            return attempt()
        patience = Patience(
            places,
            context["task_state_store"],
            pays=pays,
            own_run=is_own_run(context),
            ends_at=last_moment(expires_at),
            postpone=postpone,
            song=str(getattr(context["task"], "music_task_id", None) or context.get("partition_key") or ""),
        )
        return patience.work(attempt)
    except KieError as error:
        told = error.with_facts(until=expires_at) if expires_at else error
        log.error("%s", told)  # a line of its own: the log's traceback is cut off at the window's edge
        if told is not error:
            raise told from error
        raise


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
