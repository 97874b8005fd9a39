"""The songs of a run that an event has started.

An event of ``kie://api.kie.ai/suno/pending`` only wakes: its run works on what is pending in the bucket, was never
tried, and is worked on by no other run, whichever events were lost, came twice or started other runs. An event may name
songs (``music_task_id``, or a list in ``music_task_ids``) with what is requested: those are recorded first, and taken
even if they have failed before. A run that an event with a partition has started works on that song.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_kie.archive.inbox.objects import shown
from airflow_kie.archive.inbox.song_request import SongRequest, SongsRefused, first_of, ids_in, requests_in
from airflow_kie.assets import PENDING
from airflow_kie.client.errors import KieError, Scope
from airflow_kie.client.task_ids import KeyRefused, is_task_id
from airflow_kie.durable.active_runs import ActiveRuns

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from airflow_kie.archive.layout import ArchiveKeys
    from airflow_kie.archive.pending import Pending
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.archive.song_folder import SongArchive

log = logging.getLogger(__name__)

PARALLEL = 8
"""Songs that are read, or recorded, at a time."""
MOST_EVENTS = 5000
"""Events that one run reads; what more of them name, the next run records."""
BUSY = 3
"""Runs from which on the next one gathers songs: those whose claims no list has ended yet."""
GATHERED = timedelta(seconds=8)
"""How long after the last run has taken its songs the next one does then: the tasks of a run cost as much as the work
on some forty songs."""
_RECORDED = "recorded"
"""Key in the asset's state store: up to when the songs that its events name are recorded."""
_COMMITTED = timedelta(seconds=30)
"""An event can become visible so much later than its time says."""
_ASKS_FOR_MORE = {"labels", "archive_audio", "archive_lyrics"}
"""What an event can ask for of a song that is pending already."""
_STALE = timedelta(days=1)
"""After so long a song that is named among those that have failed, and that is not pending, is named no more."""
_OLDEST_EVENT = timedelta(days=2)
"""How old the events are that the first run reads."""


def partition_of(context: Context) -> str | None:
    """Return the music task id that is the partition of a run; None if it has none."""
    key = context.get("partition_key")
    return str(key) if key else None


def is_woken(context: Context) -> bool:
    """Return whether events without a partition have started the run."""
    run_type = getattr(context.get("dag_run"), "run_type", "")
    return str(getattr(run_type, "value", run_type)) == "asset_triggered" and not partition_of(context)


class NamedSongs:
    """The songs that events name and that no run has recorded yet.

    :param context: of a task with the asset among its inlets.
    """

    def __init__(self, context: Context) -> None:
        self._store = context["asset_state_store"][PENDING]
        stored: Any = self._store.get(_RECORDED) or {}
        since = stored.get("after") or (datetime.now(UTC) - _OLDEST_EVENT).isoformat()
        read = list(context["inlet_events"][PENDING].after(since).limit(MOST_EVENTS))
        seen = set(stored.get("seen", ()))
        self._all, self._new = read, [event for event in read if event.id not in seen]

    @cached_property
    def asked(self) -> dict[str, dict[str, Any]]:
        """What is requested, by music task id; a later event wins."""
        named: dict[str, dict[str, Any]] = {}
        for event in self._new:
            extra = event.extra or {}
            known = {name: extra[name] for name in SongRequest.model_fields if extra.get(name) is not None}
            if not is_task_id(str(known.get("cover_task_id", ""))):  # nobody could correct an event
                known.pop("cover_task_id", None)
            ids = extra.get("music_task_ids") or extra.get("music_task_id")
            texts = [ids] if isinstance(ids, str) else ids if isinstance(ids, list) else []
            for song in ids_in([text for text in texts if isinstance(text, str)]):
                if is_task_id(song):
                    before = named.get(song, {"received_from": "event"})
                    named[song] = {**before, **known, "music_task_id": song}
                else:
                    log.warning("Ignored %s in an event: it is not a music task id.", shown(song))
        return named

    def wait_since(self, moment: datetime) -> bool:
        """Return whether an event that names songs is older than that."""
        return bool(self.asked) and self._new[0].timestamp < moment

    def set_recorded(self) -> None:
        """Remember that they are recorded: the next run reads later events."""
        if self._new:
            last = self._all[-1].timestamp
            after = last if len(self._all) == MOST_EVENTS else last - _COMMITTED
            recorded: Any = {
                "after": after.isoformat(),
                "seen": [event.id for event in self._all if event.timestamp >= after],
            }
            self._store.set(_RECORDED, recorded)


@dataclass
class EventSongs:
    """Songs in the bucket, of a run that an event has started.

    :param context: the task's.
    :param bucket: where.
    :param keys: the archive's.
    """

    context: Context
    bucket: Bucket
    keys: ArchiveKeys
    runs: ActiveRuns = field(init=False)

    def __post_init__(self) -> None:
        self.runs = ActiveRuns(self.context["ti"])

    @cached_property
    def named(self) -> NamedSongs:
        """The songs that the events name."""
        return NamedSongs(self.context)

    def gather(self) -> None:
        """Wait a moment for more songs where other runs have just taken theirs."""
        from airflow_kie.archive.run_songs import claimed_at

        made = self.bucket.made_if_missing(lambda: claimed_at(self.bucket, self.keys))
        if len(made) >= BUSY and (left := max(made) + GATHERED - datetime.now(UTC)) > timedelta(0):
            seconds = min(left, GATHERED).total_seconds()  # S3's clock may go before
            log.info("Another run has just taken songs: waiting %.1f s, to take more songs in one run.", seconds)
            time.sleep(seconds)

    def pending(self, run: str) -> list[dict[str, Any]]:
        """Return the songs that this run takes, as fields of :class:`SongRequest`, the oldest first.

        :param run: names the task, as its claim does.
        """
        from airflow_kie.archive.pending import list_held, list_pending, readable
        from airflow_kie.archive.run_songs import songs_claimed_by

        listed = self.bucket.made_if_missing(lambda: list(list_pending(self.bucket, self.keys)))
        since = {song.music_task_id: facts.last_modified for song, facts in listed}
        named = self.named.asked
        tried = list_held(self.bucket, self.keys)
        own = songs_claimed_by(self.bucket, self.keys, run) if self.context["ti"].try_number > 1 else ()
        with ThreadPoolExecutor(PARALLEL) as pool:
            news = [song for song, asked in named.items() if song not in since or asked.keys() & _ASKS_FOR_MORE]
            records = dict(zip(news, pool.map(self._record, news), strict=True))
            others = self.runs.songs_of_others(self.bucket, self.keys)
            stale = datetime.now(UTC) - _STALE  # archived or given up since
            gone = [one.key for song, one in tried.items() if song not in since and one.since < stale]
            list(pool.map(self.bucket.delete, gone))
            untried = sorted((song for song in since if song not in tried), key=since.__getitem__)
            ids = [song for song in dict.fromkeys([*own, *named, *untried]) if song not in others]
            unread = [song for song in ids if song in since and song not in records]
            read = pool.map(lambda song: readable(self.bucket, self.keys.song(song)), unread)
            records |= dict(zip(unread, read, strict=True))
        working = [record.working for record in records.values() if record and record.working]
        self.runs.ask((run.dag_id, run.run_id) for run in working)
        taken = [
            song
            for song in ids
            # One of this run that is no longer listed is archived; one that is listed and unreadable is damaged.
            if ((record := records.get(song)) and (song in named or song in own or self._is_free(record)))
            or (song in own and song not in since)
        ]
        return [
            {"received_from": "event", **asked_for(records.get(song)), **named.get(song, {}), "music_task_id": song}
            for song in taken
        ]

    def _record(self, music_task_id: str) -> Pending | None:
        """Return the record that is written of a song that an event names; None where it asks for what cannot be."""
        requests, problems = requests_in([self.named.asked[music_task_id]])
        if problems:
            self.refuse(music_task_id, SongsRefused(first_of(problems)))
            return None
        facts = requests[0].facts()
        record: Pending | None = self.each(lambda _: self._archive(music_task_id).update_pending(**facts), requests[0])
        return record

    def _is_free(self, record: Pending) -> bool:
        """Return whether a song is one, and no run generates it or works on it."""
        working = record.working
        return not (record.unconfirmed or (working and self.runs.has(working.dag_id, working.run_id)))

    def of_partition(self) -> SongArchive | None:
        """Return the place of the song that is the run's partition; None if there is none, or it cannot be one."""
        music_task_id = partition_of(self.context)
        try:
            return self._archive(music_task_id) if music_task_id else None
        except KeyRefused:
            return None

    def given_by_partition(self) -> dict[str, Any]:
        """Return what the events of the run and the song's record ask for; a later event wins."""
        extra: dict[str, Any] = {}
        for events in (self.context.get("triggering_asset_events") or {}).values():
            for event in events:
                extra.update({name: value for name, value in (event.extra or {}).items() if value is not None})
        if not is_task_id(str(extra.get("cover_task_id", ""))):
            extra.pop("cover_task_id", None)
        archive = self.of_partition()
        recorded = asked_for(self.bucket.made_if_missing(archive.pending)) if archive else {}
        return {"received_from": "event", **recorded, **extra, "music_task_id": partition_of(self.context)}

    def each(self, step: Callable[..., Any], song: Any) -> Any:
        """Return what a step makes of a song; None, and its record says why, where it fails for that song alone."""
        try:
            return step(song)
        except KieError as error:
            if error.scope is not Scope.TASK:
                raise
            request = song if isinstance(song, SongRequest) else song.request
            self.refuse(request.music_task_id, error)
            return None

    def refuse(self, music_task_id: str, error: KieError) -> None:
        """Leave a song out: its record says why."""
        log.error("Song %s was left out of this run. %s", music_task_id, error)
        try:
            self._archive(music_task_id).record_failure(error.reason, str(error))
        except KieError as damaged:
            if damaged.scope is not Scope.TASK:
                raise
            log.error("%s", damaged)

    def _archive(self, music_task_id: str) -> SongArchive:
        from airflow_kie.archive.song_folder import SongArchive

        return SongArchive(self.bucket, self.keys.song(music_task_id))


def asked_for(record: Pending | None) -> dict[str, Any]:
    """Return what a song's pending record asks for, as fields of :class:`SongRequest`."""
    from airflow_kie.archive.record_base import label_map

    if record is None:
        return {}
    return {
        "kie_conn_id": record.kie_conn_id,
        "labels": label_map(record.labels),
        "archive_audio": record.options.audio,
        "archive_lyrics": record.options.lyrics,
        "received_from": record.received_from,
    }
