"""The backlog: which songs are pending, when KIE deletes their files, and which of them wait for an outage."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_kie import metrics
from airflow_kie.client.errors import NOTHING_EXPIRES, KieKeyLimit, error_class
from airflow_kie.client.operations.operation import MEDIA_LIFETIME
from airflow_kie.hooks.kie import KieHook

if TYPE_CHECKING:
    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.archive.pending import Pending
    from airflow_kie.archive.s3.bucket import Bucket

log = logging.getLogger(__name__)

MOST_READ = 1000
"""Records that one check reads, those first that have not been written for longest; the others are only counted."""
FRESH = timedelta(days=1)
"""How long a song's failure is evidence that the key's own limit at KIE is reached, which cannot be probed."""
GONE = frozenset({"file_gone", "results_expired", "task_unknown"})
"""Reasons that say that KIE has nothing of it any more."""
_PARALLEL = 8


@dataclass(frozen=True)
class Backlog:
    """The songs that are pending.

    :param count: how many.
    :param read: the records that were read.
    :param damaged: keys of records that cannot be read.
    """

    count: int = 0
    read: tuple[Pending, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def waiting(self) -> int:
        """How many of them continue automatically after an outage."""
        return self.count - sum(not goes_on(pending) for pending in self.read)

    def of(self, kie_conn_id: str) -> int:
        """Return how many of those are made under a connection."""
        return sum(goes_on(pending) for pending in self._made_under(kie_conn_id))

    def key_limit_since(self, kie_conn_id: str, now: datetime) -> datetime | None:
        """Return since when songs of a connection are refused for the key's own limit; None: they are not.

        :param now: UTC.
        """
        made = list(self._made_under(kie_conn_id))
        waits = [one.waiting_for for one in made if one.waiting_for]
        since = [wait.since for wait in waits if wait.reason == KieKeyLimit.reason]
        failures = [one.last_failure for one in made if one.last_failure]
        newest = max(failures, key=lambda failure: failure.at, default=None)
        if newest and newest.reason == KieKeyLimit.reason and now - newest.at < FRESH:
            since.append(newest.at)
        return min(since, default=None)

    def untried(self, before: datetime) -> list[Pending]:
        """Return the songs of which no run has taken anything up since then.

        :param before: UTC.
        """
        return [
            one
            for one in self.read
            if one.first_seen_at < before
            and not (one.last_failure or one.working or one.waiting_for or one.unconfirmed)
        ]

    def set_gauges(self, now: datetime) -> None:
        """Set the gauges.

        :param now: UTC.
        """
        expiring = [pending for pending in self.read if expires(pending)]  # a mistyped id shall wake nobody
        oldest = min((pending.first_seen_at for pending in expiring), default=now)
        metrics.UNARCHIVED.set(self.count)
        metrics.UNARCHIVED_OLDEST.set(max(0.0, (now - oldest).total_seconds()))
        days_left = [(expiry_of(pending) - now) / timedelta(days=1) for pending in expiring]
        waiting = [pending.first_seen_at for pending in self.untried(now)]
        metrics.UNTRIED_OLDEST.set(max(0.0, (now - min(waiting, default=now)).total_seconds()))
        metrics.NEXT_EXPIRY.set(min([MEDIA_LIFETIME / timedelta(days=1), *days_left]))

    def _made_under(self, kie_conn_id: str) -> Iterator[Pending]:
        return (one for one in self.read if (one.kie_conn_id or KieHook.default_conn_name) == kie_conn_id)


def backlog_in(bucket: Bucket, keys: ArchiveKeys) -> Backlog:
    """Return the pending songs; a damaged record is counted, logged and named."""
    from airflow_kie.archive.pending import list_pending, readable

    listed = sorted(list_pending(bucket, keys), key=lambda one: one[1].last_modified)
    if len(listed) > MOST_READ:
        log.warning("%d songs are pending; only the %d oldest records are read.", len(listed), MOST_READ)

    songs = [song for song, _ in listed[:MOST_READ]]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = list(pool.map(functools.partial(readable, bucket), songs))
    unread = [song.pending for song, pending in zip(songs, found, strict=True) if pending is None]
    damaged = tuple(key for key in unread if bucket.head(key))  # the others have been archived meanwhile
    return Backlog(len(listed), tuple(pending for pending in found if pending), damaged)


def expiry_of(pending: Pending) -> datetime:
    """Return when KIE deletes a song's files: KIE's own time, or at the latest 14 days after it was first seen."""
    try:
        return pending.expires_at or pending.first_seen_at + MEDIA_LIFETIME
    except OverflowError:  # a damaged record that was first seen at the end of time
        return pending.first_seen_at


def expires(pending: Pending) -> bool:
    """Return whether there is something to lose: not where KIE has made nothing, or has deleted it."""
    if pending.last_failure is None:
        return True
    known = error_class(pending.last_failure.reason)
    return known is None or not (known.by_when == NOTHING_EXPIRES or known.reason in GONE)


def goes_on(pending: Pending) -> bool:
    """Return whether a song continues automatically after an outage: it does not wait for a person."""
    from airflow_kie.archive.pending import needs_person

    return not (pending.last_failure and needs_person(pending.last_failure))
