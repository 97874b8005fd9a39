"""An outage is waited out, not failed: an account that cannot be used, KIE or the bucket being down.

The first task that meets one notes it, for the whole account (or bucket), in an Airflow Variable, where a person sees
it too. Every task that would meet it is put back without using up a retry and asks again with growing pauses; each
time one of them is the first to be due, it probes with a free request, and the rest go on waiting. When a probe
succeeds the note is deleted and work resumes by itself.
"""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred

from airflow_kie import metrics, settings
from airflow_kie.client.errors import KieConnectionInvalid, KieError, KieRateLimited, Remedy, Scope
from airflow_kie.conditions import is_moment
from airflow_kie.state_store import TaskStateStore

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.hooks.kie import KieHook
    from airflow_kie.song_archive import ExtraArgs

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE = 15.0
"""Seconds before an outage is probed first, unless `[kie] outage_probe_seconds` says otherwise; each further pause is
twice as long."""
LONGEST_PAUSES = 20
"""The longest pause, in first pauses: five minutes by default."""
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
_ONLY_NEW_TASKS = frozenset({"out_of_credits", "key_limit", "daily_cap"})
"""Reasons that refuse new tasks and nothing else."""
_OF_THE_ACCOUNT = _ONLY_NEW_TASKS | {
    "unauthorized",
    "wrong_connection",
    "maintenance",
    "server_error",
    "unreachable",
    "not_sent",
    "bad_answer",
}
_STORE_KEY = "patience"


@dataclass(frozen=True)
class Outage:
    """An outage as the Variable notes it.

    :param reason: the error's reason, such as ``unauthorized``.
    :param message: what was met first, in words.
    :param since: epoch seconds.
    :param probe_at: epoch seconds of the next probe.
    :param pause: seconds between the last two probes.
    """

    reason: str
    message: str
    since: float
    probe_at: float
    pause: float = FIRST_PAUSE

    def __post_init__(self) -> None:
        """Refuse what a person has written into the Variable and what nobody can wait for."""
        texts = isinstance(self.reason, str) and isinstance(self.message, str)
        if not (texts and all(is_moment(at) for at in (self.since, self.probe_at, self.pause))):
            raise TypeError("this is no note of an outage")

    def is_of_the_future(self, now: float) -> bool:
        """Return whether its probe is later than any pause lasts: a clock that was wrong has noted it."""
        return self.probe_at > now + 2 * _first_pause() * LONGEST_PAUSES

    def next_probe(self, now: float) -> Outage:
        """Return the outage with its next probe later."""
        pause = min(_first_pause() * LONGEST_PAUSES, self.pause * 2)
        return Outage(self.reason, self.message, self.since, now + pause, pause)


def _first_pause() -> float:
    return settings.number("outage_probe_seconds", FIRST_PAUSE)


class OutageNote:
    """The Variable that notes an outage for everybody.

    :param name: whose outage: ``account_<name>`` or ``bucket_<name>``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = f"kie_outage__{name}"

    def read(self) -> Outage | None:
        """Return the outage that is noted, None when there is none."""
        return self.outage_in(Variable.get(self.key, default=None))

    def outage_in(self, text: str | None) -> Outage | None:
        """Return the outage that the Variable's text notes, None when it notes none."""
        try:
            return Outage(**json.loads(text)) if text else None
        except (TypeError, ValueError):
            log.warning("Variable %s is no outage note of ours and is overwritten.", self.key)
            return None

    def write(self, outage: Outage) -> None:
        """Note an outage."""
        description = f"{outage.message[:200]} Tasks wait for its end by themselves; deleting this makes them ask."
        Variable.set(self.key, json.dumps(asdict(outage)), description=description)

    def delete(self) -> None:
        """Note that it is over."""
        Variable.delete(self.key)


@dataclass(frozen=True)
class Place:
    """What can be held up as a whole: a KIE account, or a bucket.

    :param title: how a log names it.
    :param note: where its outage is noted.
    :param probe: a free request that fails as long as the outage lasts.
    :param tells: whether an error tells of an outage here.
    """

    title: str
    note: OutageNote
    probe: Callable[[], object]
    tells: Callable[[KieError], bool]


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
        return [(place, it) for place, it in noted if it and (self.pays or it.reason not in _ONLY_NEW_TASKS)]

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
        pause = _first_pause() * min(LONGEST_PAUSES, 2 ** max(0, met - PASSING))
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


def account_place(hook: KieHook) -> Place:
    """Return the KIE account of a connection; connections of one account share its outage."""
    try:
        name = hook.account.name
    except KieConnectionInvalid:
        name = hook.kie_conn_id

    def tells(error: KieError) -> bool:
        return error.reason in _OF_THE_ACCOUNT and error.facts.connection in (None, hook.kie_conn_id)

    return Place(f"The KIE account of {hook.kie_conn_id}", OutageNote(f"account_{name}"), hook.credits, tells)


def bucket_place(aws_conn_id: str | None, bucket: str, prefix: str, extra_args: ExtraArgs = None) -> Place:
    """Return the bucket of an archive."""
    from airflow_kie.archive.keys import ArchiveKeys
    from airflow_kie.archive.s3_errors import S3Error
    from airflow_kie.song_archive import open_bucket

    def probe() -> None:
        open_bucket(aws_conn_id, bucket, extra_args).probe(ArchiveKeys(prefix).probe)

    name = re.sub(r"[^\w.-]", "_", bucket)  # an access point's ARN has colons and a slash
    return Place(f"Bucket {bucket}", OutageNote(f"bucket_{name}"), probe, lambda error: isinstance(error, S3Error))
