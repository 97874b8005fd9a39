"""A song that somebody else has made: noted in the bucket before KIE gets its 200, and announced after."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from airflow_kie import settings
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.pending import Options
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.archive.wanted import Wanted
from airflow_kie.assets import MUSIC
from airflow_kie.client.task_lookup import Claim
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.web.kept import Kept

log = logging.getLogger(__name__)


class NoBucket(Exception):
    """A song cannot be noted because no bucket is configured."""


class RunsAndEvents(Protocol):
    """What is asked of Airflow about a song."""

    def run_is_active(self, dag_id: str, run_id: str) -> bool:
        """Return whether a DAG run is queued or running."""

    def event_was_sent(self, music_task_id: str, since: datetime) -> bool:
        """Return whether "music complete" was sent for a song lately, by whomever."""

    def send_event(self, music_task_id: str, extra: dict[str, Any]) -> bool:
        """Send "music complete"; return False while no DAG has declared the asset."""


@dataclass
class SongRegistry:
    """Notes songs and announces each once, however often KIE calls back.

    :param airflow: the Airflow that has the runs.
    """

    airflow: RunsAndEvents
    # To make an S3 client takes a tenth of a second, longer than all the rest.
    _buckets: Kept[Bucket] = field(
        default_factory=lambda: Kept(lambda bucket: open_bucket(settings.text("aws_conn_id", "aws_default"), bucket))
    )
    _seen: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _busy: dict[str, tuple[threading.Lock, int]] = field(default_factory=dict)

    def register(self, kie_conn_id: str, music_task_id: str, claim: Claim) -> bool:
        """Write a song's pending record; return whether its event is to be sent.

        It is not for a song that is archived, that an active run works on, or that was announced a moment ago: its
        run is about to start then. Should that event get lost, the sweep finds the record. Nor is it for a song that
        KIE has not confirmed: its record says so, and the sweep asks KIE again. Such a claim changes no record of a
        song that is confirmed.

        :param kie_conn_id: the connection whose account called.
        :param music_task_id: the id that its callback calls a song.
        :param claim: what KIE says of that id, which is not `OTHER`.
        :raises NoBucket: when `[kie] bucket` is not set.
        :raises KieError: when the record cannot be written: KIE gets no 200 and calls again.
        """
        bucket, prefix = settings.text("bucket"), settings.text("prefix", "songs")
        if not bucket:
            raise NoBucket(f"Song {music_task_id} cannot be noted: no bucket is set in the [kie] configuration")
        with self._one_at_a_time(music_task_id):
            archive = SongArchive(self._opened(bucket), ArchiveKeys(prefix).song(music_task_id))
            wanted = Wanted(audio=settings.flag("archive_audio"), lyrics=settings.flag("archive_lyrics"))
            if not wanted.missing_in(archive.manifest()):
                return False
            known = archive.pending()
            if known and self._is_announced(music_task_id):
                return False
            if known and known.working and self.airflow.run_is_active(known.working.dag_id, known.working.run_id):
                return False
            if known and not known.unconfirmed and claim is not Claim.SONG:
                return False
            unconfirmed = None if claim is Claim.SONG else claim.value
            noted = archive.note(
                received_from="callback",
                kie_conn_id=kie_conn_id,
                options=Options.of(wanted),
                unconfirmed=unconfirmed,
            )
        if noted.unconfirmed:
            log.warning("Song %s is recorded; KIE has not confirmed it yet. The sweep asks KIE again.", music_task_id)
        return not noted.unconfirmed

    def announce(self, kie_conn_id: str, music_task_id: str) -> None:
        """Send "music complete", unless another callback of the same moment has done so."""
        extra = {"music_task_id": music_task_id, "kie_conn_id": kie_conn_id, "received_from": "callback"}
        with self._one_at_a_time(music_task_id):
            if self._is_announced(music_task_id):
                return
            if not self.airflow.send_event(music_task_id, extra):
                log.warning(
                    "Song %s waits for the sweep: no DAG has declared the asset %s, or this Airflow cannot be told.",
                    music_task_id,
                    MUSIC.uri,
                )
            else:
                log.info("Song %s is noted and announced: music_cover starts for it.", music_task_id)

    def _is_announced(self, music_task_id: str) -> bool:
        """Return whether its event is younger than what the sweep looks at."""
        since = datetime.now(UTC) - timedelta(minutes=settings.number("reconcile_after_minutes", 10))
        return self.airflow.event_was_sent(music_task_id, since)

    def _opened(self, bucket: str) -> Bucket:
        opened = self._buckets.of(bucket)
        if bucket not in self._seen:
            opened.create_on_loopback()
            self._seen.add(bucket)
        return opened

    @contextmanager
    def _one_at_a_time(self, music_task_id: str) -> Iterator[None]:
        with self._lock:
            lock, users = self._busy.get(music_task_id, (threading.Lock(), 0))
            self._busy[music_task_id] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._busy.pop(music_task_id)
                if users > 1:
                    self._busy[music_task_id] = (lock, users - 1)
