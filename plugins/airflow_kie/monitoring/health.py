"""What `kie_ops` looks at: the accounts' balances, the outages that tasks have noted, and who is owed something.

It costs nothing at KIE and never lists the archive: of the bucket it reads `_pending/` alone.
"""

from __future__ import annotations

import functools
import logging
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from airflow_kie import metrics, settings
from airflow_kie.archive.pending_songs import readable
from airflow_kie.client.answers.details import MEDIA_LIFETIME
from airflow_kie.client.errors import NOTHING_EXPIRES, KieError, Remedy, Scope, error_class
from airflow_kie.durable.outages import Outage, Place, account_place, bucket_place
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.incidents import Condition, level_of_credits, level_of_songs, moment

if TYPE_CHECKING:
    from airflow_kie.archive.bucket import Bucket
    from airflow_kie.archive.layout import ArchiveKeys, SongKeys
    from airflow_kie.archive.pending import Pending

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_READ = 1000
"""Records that one look reads, those first that nobody has written for longest; the others are only counted."""
TRIES = 3
TRY_AGAIN_AFTER = 5.0
"""Seconds between the tries of a look: a service that fails once is not down."""
FORGOTTEN = 1800.0
"""Seconds after its time at which a probe has been forgotten: no task waits for that outage any more."""
GONE = timedelta(days=1)
"""How long files that KIE has deleted are still told of."""
DAILY_CAP = "daily_cap"
"""Our own limiter says it, not KIE; a task that has met it asks again up to a day later."""
_PARALLEL = 8
_CAUSES = MappingProxyType(
    {
        "out_of_credits": "credits",
        "key_limit": "account",
        DAILY_CAP: "daily_cap",
        "unauthorized": "account",
        "wrong_connection": "account",
    }
)
"""Which cause a reason is; any other one of an account is KIE's own."""


@dataclass(frozen=True)
class OwedSongs:
    """The songs that are owed something.

    :param count: how many.
    :param read: the records of those that were read.
    :param damaged: keys of records that cannot be read: what their songs are owed is not known.
    """

    count: int = 0
    read: tuple[Pending, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def waiting(self) -> int:
        """How many of them go on by themselves once nothing holds them up."""
        return self.count - sum(not goes_on(pending) for pending in self.read)

    def of(self, kie_conn_id: str) -> int:
        """Return how many of those are made under a connection."""
        ours = (pending for pending in self.read if goes_on(pending))
        return sum((pending.kie_conn_id or KieHook.default_conn_name) == kie_conn_id for pending in ours)

    def tell(self, now: datetime, days: float) -> None:
        """Set the gauges.

        :param now: UTC.
        :param days: what is told as time until the next expiry when nothing expires.
        """
        to_save = [pending for pending in self.read if expires(pending)]  # a mistyped id shall wake nobody
        oldest = min((pending.first_heard_at for pending in to_save), default=now)
        metrics.UNARCHIVED.set(self.count)
        metrics.UNARCHIVED_OLDEST.set(max(0.0, (now - oldest).total_seconds()))
        ends = [expiry_of(pending) - now for pending in to_save]
        metrics.NEXT_EXPIRY.set(min([days, *(end / timedelta(days=1) for end in ends)]))


@dataclass
class Seen:
    """What a look has seen so far.

    :param conditions: the causes that are there.
    :param unseen: causes that could not be looked at.
    :param owed: who is owed something; None when the bucket did not say.
    """

    conditions: list[Condition] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)
    owed: OwedSongs | None = None


@dataclass(frozen=True)
class Looker:
    """Looks at one thing after the other.

    :param now: epoch seconds of this look.
    :param sleep: waits for so many seconds.
    """

    now: float
    sleep: Callable[[float], None] = time.sleep

    def look(self, aws_conn_id: str | None) -> Seen:
        """Look at the configured bucket and at every account, and set the gauges.

        :param aws_conn_id: Airflow connection for S3.
        """
        seen = Seen()
        if settings.text("bucket"):
            self._look_at_bucket(seen, aws_conn_id)
        for kie_conn_id in settings.allowed_connections():
            self._look_at_account(seen, KieHook(kie_conn_id))
        return seen

    # --- the bucket ---

    def _look_at_bucket(self, seen: Seen, aws_conn_id: str | None) -> None:
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.hooks.archive import open_bucket

        name, prefix = settings.text("bucket"), settings.text("prefix", "songs")
        place = bucket_place(aws_conn_id, name, prefix)
        try:
            bucket = open_bucket(aws_conn_id, name)
            bucket.create_on_loopback()
            seen.owed = self._insisting(lambda: owed_in(bucket, ArchiveKeys(prefix)))
        except KieError as error:
            seen.unseen.update(("expiry", "record", "inbox"))
            seen.conditions.append(_refusing(name, error.reason, error.facts.message, self.now, None))
        else:
            self._look_at_expiry(seen, seen.owed)
            if damaged := seen.owed.damaged:
                said = f"s3://{name}/{damaged[0]} cannot be read, and nothing goes on with what it is about"
                level = level_of_songs(len(damaged))
                seen.conditions.append(Condition("record", name, said, self.now, level, len(damaged), dated=False))
            self._look_at_inbox(seen, bucket, ArchiveKeys(prefix))
        noted = self._noted(place)
        if noted:
            songs = seen.owed.waiting if seen.owed else None
            seen.conditions.append(_refusing(name, noted.reason, noted.message, noted.since, songs))

    def _look_at_inbox(self, seen: Seen, bucket: Bucket, keys: ArchiveKeys) -> None:
        from airflow_kie.operators.inbox_bucket import InboxBucket, inbox_interval

        try:
            late = InboxBucket(bucket, keys).late(datetime.fromtimestamp(self.now, tz=UTC), inbox_interval())
        except KieError as error:  # who may not read the inbox does not know; a damaged count is known
            if error.scope is not Scope.TASK:
                seen.unseen.add("inbox")
                log.warning("Whether objects wait in the inbox could not be read: %s", error)
                return
            seen.conditions.append(Condition("inbox", bucket.name, str(error), self.now, dated=False))
            return
        if late:
            said = (
                f"an object waits in s3://{bucket.name}/inbox/ and DAG cover_inbox does not take it; its log says why"
            )
            seen.conditions.append(Condition("inbox", bucket.name, said, late.last_modified.timestamp()))

    def _look_at_expiry(self, seen: Seen, owed: OwedSongs) -> None:
        now, days = datetime.fromtimestamp(self.now, tz=UTC), settings.number("expiry_alert_days", 3)
        owed.tell(now, MEDIA_LIFETIME / timedelta(days=1))
        ending = {
            pending.music_task_id: expiry_of(pending)
            for pending in owed.read
            if expires(pending) and -GONE < expiry_of(pending) - now <= timedelta(days=days)
        }
        if not ending:
            return
        first = min(ending, key=lambda music_task_id: ending[music_task_id])
        hurry = (ending[first] - now <= timedelta(days=1)) + (ending[first] <= now)
        said = f"KIE deletes their files, first those of song {first}, by {moment(ending[first].timestamp())}"
        level = level_of_songs(len(ending)) + hurry
        seen.conditions.append(Condition("expiry", "", said, self.now, level, len(ending), dated=False))

    # --- the accounts ---

    def _look_at_account(self, seen: Seen, hook: KieHook) -> None:
        name = hook.kie_conn_id
        try:
            account = hook.account
            metrics.CALLBACKS_EXPECTED.set(float(account.calls_back), connection=name)
            balance = self._insisting(hook.credits)
        except KieError as error:
            seen.unseen.update({"credits", "kie", "account"} - {_cause_of(error.reason)})
            seen.conditions.append(self._holding_up(seen, hook, error.reason, error.what, self.now))
        else:
            metrics.CREDITS.set(balance, connection=name)
            level = level_of_credits(balance, settings.number("credits_alert", 0))
            if level:
                said = f"connection {name} has {balance:g} credits left"
                waiting = seen.owed.of(name) if seen.owed else None
                seen.conditions.append(Condition("credits", account.name, said, self.now, level, waiting))
        noted = self._noted(account_place(hook), lambda one: one.reason == DAILY_CAP and hook.limiter().day_is_full())
        if noted:
            known = error_class(noted.reason)
            what = known.what if known else noted.message
            seen.conditions.append(self._holding_up(seen, hook, noted.reason, what, noted.since))

    def _holding_up(self, seen: Seen, hook: KieHook, reason: str, what: str, since: float) -> Condition:
        cause = _cause_of(reason)
        if cause == "kie":
            songs = seen.owed.waiting if seen.owed else None
            return Condition(cause, "", what, since, level_of_songs(songs), songs)
        songs = seen.owed.of(hook.kie_conn_id) if seen.owed else None
        said = f"{what} (connection {hook.kie_conn_id})"
        # An empty account is as bad as its balance says, however many songs wait for it.
        level = level_of_credits(0, 0) if cause == "credits" else level_of_songs(songs)
        return Condition(cause, account_place(hook).note.name.removeprefix("account_"), said, since, level, songs)

    # --- how ---

    def _noted(self, place: Place, lasts: Callable[[Outage], bool] = lambda outage: False) -> Outage | None:
        """Return the outage that tasks have noted, unless none waits for its end any more and it has ended.

        :param place: whose.
        :param lasts: says of an outage that the probe does not meet whether it is there.
        """
        outage = place.note.read()
        if outage is None:
            return None
        if self.now < outage.probe_at + FORGOTTEN and not outage.is_of_the_future(self.now):
            return outage
        try:
            place.probe()
            if lasts(outage):
                return outage
        except KieError:
            return outage
        log.info("%s works, and nobody waits for it any more: its note is left aside.", place.title)
        return None

    def _insisting(self, ask: Callable[[], T]) -> T:
        for _ in range(TRIES - 1):
            try:
                return ask()
            except KieError as error:
                if error.scope is not Scope.SERVICE:
                    raise
                log.info("%s. It is tried again in %g s.", error.what, TRY_AGAIN_AFTER)
                self.sleep(TRY_AGAIN_AFTER)
        return ask()


def owed_in(bucket: Bucket, keys: ArchiveKeys) -> OwedSongs:
    """Return the songs that are owed something; a damaged record is counted, told of and named.

    :param bucket: where the archive is.
    :param keys: its prefix.
    """
    from airflow_kie.archive.pending import list_pending

    listed = sorted(list_pending(bucket, keys), key=lambda one: one[1].last_modified)
    if len(listed) > MOST_READ:
        log.warning("%d songs are owed something; the %d oldest records are read.", len(listed), MOST_READ)

    songs: Sequence[SongKeys] = [song for song, _ in listed[:MOST_READ]]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = list(pool.map(functools.partial(readable, bucket), songs))
    unread = [song.pending for song, pending in zip(songs, found, strict=True) if pending is None]
    damaged = tuple(key for key in unread if bucket.head(key))  # the others have been archived meanwhile
    return OwedSongs(len(listed), tuple(pending for pending in found if pending), damaged)


def expiry_of(pending: Pending) -> datetime:
    """Return when KIE deletes a song's files: as KIE said, or at the latest 14 days after it was first heard of."""
    try:
        return pending.expires_at or pending.first_heard_at + MEDIA_LIFETIME
    except OverflowError:  # a damaged record that was heard of at the end of time
        return pending.first_heard_at


def expires(pending: Pending) -> bool:
    """Return whether there is something to lose: not where KIE has made nothing, or has deleted it."""
    if pending.last_failure is None:
        return True
    known = error_class(pending.last_failure.reason)
    return known is None or not (known.by_when == NOTHING_EXPIRES or known.reason in ("file_gone", "task_unknown"))


def goes_on(pending: Pending) -> bool:
    """Return whether a song is held up by something else than itself: no person has to do something about it alone."""
    known = error_class(pending.last_failure.reason) if pending.last_failure else None
    return known is None or known.scope is not Scope.TASK or known.remedy is not Remedy.PERSON


def _cause_of(reason: str) -> str:
    return _CAUSES.get(reason, "kie")


def _refusing(bucket: str, reason: str, message: str, since: float, songs: int | None) -> Condition:
    """Return that a bucket refuses: "bucket my-covers refuses PutObject (S3 denied the access)"."""
    known, action = error_class(reason), re.match(r"(\w+) on bucket ", message)
    why = known.what if known else reason
    said = f"bucket {bucket} refuses {action[1] if action else 'what is asked of it'} ({why})"
    return Condition("s3", bucket, said, since, level_of_songs(songs), songs)
