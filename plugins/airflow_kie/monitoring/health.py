"""The health check of `kie_ops`: the accounts' balances, whether the bucket can be written, and which songs wait.

It costs nothing at KIE and never lists the archive: of the bucket it reads `_pending/` and writes one small object.
"""

from __future__ import annotations

import functools
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from airflow_kie import metrics, settings
from airflow_kie.archive.pending_songs import readable
from airflow_kie.client.answers.details import MEDIA_LIFETIME
from airflow_kie.client.errors import (
    NOTHING_EXPIRES,
    KieDailyCap,
    KieError,
    KieKeyLimit,
    Remedy,
    Scope,
    error_class,
)
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.incidents import Incident, level_of_credits, level_of_songs, moment
from airflow_kie.monitoring.spending import spending_incidents

if TYPE_CHECKING:
    from airflow_kie.archive.bucket import Bucket
    from airflow_kie.archive.layout import ArchiveKeys, SongKeys
    from airflow_kie.archive.pending import Pending

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_READ = 1000
"""Records that one check reads, those first that have not been written for longest; the others are only counted."""
TRIES = 3
TRY_AGAIN_AFTER = 5.0
"""Seconds between the tries of a request: a service that fails once is not down."""
GONE = timedelta(days=1)
"""How long files that KIE has deleted are still reported."""
FRESH = timedelta(days=1)
"""How long a song's failure is evidence that the key's own limit at KIE is reached, which cannot be probed."""
_PARALLEL = 8
_CAUSES = MappingProxyType(
    {
        "out_of_credits": "credits",
        KieKeyLimit.reason: "account",
        KieDailyCap.reason: "daily_cap",
        "unauthorized": "account",
        "wrong_connection": "account",
    }
)
"""Which cause a reason is; any other one of an account is KIE's own."""


@dataclass(frozen=True)
class Backlog:
    """The songs that are pending.

    :param count: how many.
    :param read: the records of those that were read.
    :param damaged: keys of records that cannot be read.
    """

    count: int = 0
    read: tuple[Pending, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def waiting(self) -> int:
        """How many of them go on by themselves once no outage lasts."""
        return self.count - sum(not goes_on(pending) for pending in self.read)

    def of(self, kie_conn_id: str) -> int:
        """Return how many of those are made under a connection."""
        return sum(goes_on(pending) for pending in self._made_under(kie_conn_id))

    def key_limit_since(self, kie_conn_id: str, now: datetime) -> datetime | None:
        """Return since when songs of a connection are refused for the key's own limit; None: they are not.

        :param now: UTC.
        """
        ours = list(self._made_under(kie_conn_id))
        waits = [
            one.waiting_for.since for one in ours if one.waiting_for and one.waiting_for.reason == KieKeyLimit.reason
        ]
        newest = max(
            (one.last_failure for one in ours if one.last_failure), key=lambda failure: failure.at, default=None
        )
        if newest and newest.reason == KieKeyLimit.reason and now - newest.at < FRESH:
            waits.append(newest.at)
        return min(waits, default=None)

    def set_gauges(self, now: datetime, days: float) -> None:
        """Set the gauges.

        :param now: UTC.
        :param days: what the time until the next expiry is when nothing expires.
        """
        to_save = [pending for pending in self.read if expires(pending)]  # a mistyped id shall wake nobody
        oldest = min((pending.first_seen_at for pending in to_save), default=now)
        metrics.UNARCHIVED.set(self.count)
        metrics.UNARCHIVED_OLDEST.set(max(0.0, (now - oldest).total_seconds()))
        ends = [expiry_of(pending) - now for pending in to_save]
        metrics.NEXT_EXPIRY.set(min([days, *(end / timedelta(days=1) for end in ends)]))

    def _made_under(self, kie_conn_id: str) -> Iterator[Pending]:
        return (one for one in self.read if (one.kie_conn_id or KieHook.default_conn_name) == kie_conn_id)


@dataclass
class HealthReport:
    """What a health check has found so far.

    :param incidents: what is wrong.
    :param unknown: causes that could not be checked.
    :param backlog: the pending songs; None when the bucket could not be read.
    """

    incidents: list[Incident] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    backlog: Backlog | None = None

    def waiting(self, kie_conn_id: str | None = None) -> int | None:
        """Return how many songs wait, all or those of a connection; None where that is not known."""
        if self.backlog is None:
            return None
        return self.backlog.waiting if kie_conn_id is None else self.backlog.of(kie_conn_id)


@dataclass(frozen=True)
class HealthCheck:
    """Checks one thing after the other.

    :param now: epoch seconds of this check.
    :param sleep: waits for so many seconds.
    """

    now: float
    sleep: Callable[[float], None] = time.sleep

    def run(self, aws_conn_id: str | None) -> HealthReport:
        """Check the configured bucket and every account, and set the gauges.

        :param aws_conn_id: Airflow connection for S3.
        """
        report = HealthReport()
        if settings.text("bucket"):
            self._check_bucket(report, aws_conn_id)
        for kie_conn_id in settings.allowed_connections():
            self._check_account(report, KieHook(kie_conn_id))
        return report

    # --- the bucket ---

    def _check_bucket(self, report: HealthReport, aws_conn_id: str | None) -> None:
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.hooks.archive import open_bucket

        name, keys = settings.text("bucket"), ArchiveKeys(settings.text("prefix", "songs"))
        try:
            bucket = open_bucket(aws_conn_id, name)
            bucket.create_on_loopback()
            report.backlog = self._persistent(lambda: backlog_in(bucket, keys))
            self._check_records(report, report.backlog, name)
            self._persistent(lambda: bucket.probe(keys.probe))
        except KieError as error:
            if report.backlog is None:
                report.unknown.update(("expiry", "record", "inbox"))
            report.incidents.append(_refusing(name, error, self.now, report.waiting()))
        else:
            self._check_inbox(report, bucket, keys)

    def _check_inbox(self, report: HealthReport, bucket: Bucket, keys: ArchiveKeys) -> None:
        from airflow_kie.archive.inbox.bucket import InboxBucket

        try:
            late = InboxBucket(bucket, keys).late(datetime.fromtimestamp(self.now, tz=UTC), settings.inbox_interval())
        except KieError as error:  # who may not read the inbox does not know; a damaged count is known
            if error.scope is not Scope.TASK:
                report.unknown.add("inbox")
                log.warning("Whether objects wait in the inbox could not be read: %s", error)
                return
            report.incidents.append(Incident("inbox", bucket.name, str(error), self.now, dated=False))
            return
        if late:
            summary = (
                f"an object waits in s3://{bucket.name}/inbox/ and DAG cover_inbox does not take it; its log says why"
            )
            report.incidents.append(Incident("inbox", bucket.name, summary, late.last_modified.timestamp()))

    def _check_records(self, report: HealthReport, backlog: Backlog, bucket: str) -> None:
        self._check_expiry(report, backlog)
        if damaged := backlog.damaged:
            summary = f"s3://{bucket}/{damaged[0]} cannot be read, and nothing goes on with what it is about"
            level = level_of_songs(len(damaged))
            report.incidents.append(Incident("record", bucket, summary, self.now, level, len(damaged), dated=False))

    def _check_expiry(self, report: HealthReport, backlog: Backlog) -> None:
        now, days = datetime.fromtimestamp(self.now, tz=UTC), settings.number("expiry_alert_days", 3)
        backlog.set_gauges(now, MEDIA_LIFETIME / timedelta(days=1))
        ending = {
            pending.music_task_id: expiry_of(pending)
            for pending in backlog.read
            if expires(pending) and -GONE < expiry_of(pending) - now <= timedelta(days=days)
        }
        if not ending:
            return
        first = min(ending, key=lambda music_task_id: ending[music_task_id])
        hurry = (ending[first] - now <= timedelta(days=1)) + (ending[first] <= now)
        summary = f"KIE deletes their files, first those of song {first}, by {moment(ending[first].timestamp())}"
        level = level_of_songs(len(ending)) + hurry
        report.incidents.append(Incident("expiry", "", summary, self.now, level, len(ending), dated=False))

    # --- the accounts ---

    def _check_account(self, report: HealthReport, hook: KieHook) -> None:
        name = hook.kie_conn_id
        try:
            account = hook.account
            metrics.CALLBACKS_EXPECTED.set(float(account.calls_back), connection=name)
            balance = self._persistent(hook.credits)
        except KieError as error:
            report.unknown.update({"credits", "kie", "account"} - {_CAUSES.get(error.reason, "kie")})
            report.incidents.append(self._unusable(report, hook, type(error), self.now))
        else:
            metrics.CREDITS.set(balance, connection=name)
            level = level_of_credits(balance, settings.number("credits_alert", 0))
            if level:
                summary = f"connection {name} has {balance:g} credits left"
                waiting = report.waiting(name)
                report.incidents.append(Incident("credits", account.name, summary, self.now, level, waiting))
            self._check_limits(report, hook)
        stopped = spending_incidents(hook, self.now)
        if stopped is None:
            report.unknown.add("spending")
        report.incidents += stopped or []

    def _check_limits(self, report: HealthReport, hook: KieHook) -> None:
        """Check what refuses new tasks alone: the connection's own cap, and the key's own limit at KIE."""
        now = datetime.fromtimestamp(self.now, tz=UTC)
        limited = report.backlog.key_limit_since(hook.kie_conn_id, now) if report.backlog else None
        if limited:
            report.incidents.append(self._unusable(report, hook, KieKeyLimit, limited.timestamp()))
        try:
            if report.waiting(hook.kie_conn_id) != 0 and hook.limiter().day_is_full():
                report.incidents.append(self._unusable(report, hook, KieDailyCap, self.now))
        except KieError as error:
            report.unknown.add("daily_cap")
            log.warning("Whether the cap of connection %s is reached is not known. %s", hook.kie_conn_id, error)

    def _unusable(self, report: HealthReport, hook: KieHook, error: type[KieError], since: float) -> Incident:
        cause = _CAUSES.get(error.reason, "kie")
        if cause == "kie":
            songs = report.waiting()
            return Incident(cause, "", error.what, since, level_of_songs(songs), songs)
        songs = report.waiting(hook.kie_conn_id)
        summary = f"{error.what} (connection {hook.kie_conn_id})"
        # An empty account is as bad as its balance says, however many songs wait for it.
        level = level_of_credits(0, 0) if cause == "credits" else level_of_songs(songs)
        return Incident(cause, _account_name(hook), summary, since, level, songs)

    def _persistent(self, ask: Callable[[], T]) -> T:
        for _ in range(TRIES - 1):
            try:
                return ask()
            except KieError as error:
                if error.scope is not Scope.SERVICE or error.remedy is Remedy.PERSON:
                    raise
                log.info("%s. It is tried again in %g s.", error.what, TRY_AGAIN_AFTER)
                self.sleep(TRY_AGAIN_AFTER)
        return ask()


def backlog_in(bucket: Bucket, keys: ArchiveKeys) -> Backlog:
    """Return the pending songs; a damaged record is counted, logged and named.

    :param bucket: where the archive is.
    :param keys: its prefix.
    """
    from airflow_kie.archive.pending import list_pending

    listed = sorted(list_pending(bucket, keys), key=lambda one: one[1].last_modified)
    if len(listed) > MOST_READ:
        log.warning("%d songs are pending; the %d oldest records are read.", len(listed), MOST_READ)

    songs: Sequence[SongKeys] = [song for song, _ in listed[:MOST_READ]]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = list(pool.map(functools.partial(readable, bucket), songs))
    unread = [song.pending for song, pending in zip(songs, found, strict=True) if pending is None]
    damaged = tuple(key for key in unread if bucket.head(key))  # the others have been archived meanwhile
    return Backlog(len(listed), tuple(pending for pending in found if pending), damaged)


def expiry_of(pending: Pending) -> datetime:
    """Return when KIE deletes a song's files: as KIE said, or at the latest 14 days after it was first seen."""
    try:
        return pending.expires_at or pending.first_seen_at + MEDIA_LIFETIME
    except OverflowError:  # a damaged record that was heard of at the end of time
        return pending.first_seen_at


def expires(pending: Pending) -> bool:
    """Return whether there is something to lose: not where KIE has made nothing, or has deleted it."""
    if pending.last_failure is None:
        return True
    known = error_class(pending.last_failure.reason)
    return known is None or not (known.by_when == NOTHING_EXPIRES or known.reason in ("file_gone", "task_unknown"))


def goes_on(pending: Pending) -> bool:
    """Return whether a song waits for something else than itself: no person has to do something about it alone."""
    known = error_class(pending.last_failure.reason) if pending.last_failure else None
    return known is None or known.scope is not Scope.TASK or known.remedy is not Remedy.PERSON


def _account_name(hook: KieHook) -> str:
    try:
        return hook.account.name
    except KieError:
        return hook.kie_conn_id


def _refusing(bucket: str, error: KieError, since: float, songs: int | None) -> Incident:
    """Return that a bucket refuses: "bucket my-covers refuses PutObject (S3 denied the access)"."""
    action = re.match(r"(\w+) on bucket ", error.facts.message)
    summary = f"bucket {bucket} refuses {action[1] if action else 'what is asked of it'} ({error.what})"
    return Incident("s3", bucket, summary, since, level_of_songs(songs), songs)
