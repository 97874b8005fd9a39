"""The receiver's view of the Airflow that it runs in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_kie import _airflow, settings
from airflow_kie.assets import MUSIC
from airflow_kie.hooks.kie import KieHook
from airflow_kie.webhook.address import Waiting

log = logging.getLogger(__name__)

KEYS_CACHED_SECONDS = 60.0


@dataclass
class AirflowWorld:
    """What the receiver asks of Airflow, answered with the metadata database and the configured bucket.

    :param clock: seconds, for the cache of secrets.
    """

    clock: Callable[[], float] = time.monotonic
    _secrets: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)

    def secrets_of(self, kie_conn_id: str) -> tuple[str, ...]:
        """Return a connection's webhook secrets; looked up once a minute, and only for configured connections."""
        if kie_conn_id not in settings.allowed_connections():
            return ()
        known = self._secrets.get(kie_conn_id)
        if known and self.clock() - known[0] < KEYS_CACHED_SECONDS:
            return known[1]
        try:
            extra = KieHook.get_connection(kie_conn_id).extra_dejson
        except Exception:
            log.exception("Connection %s could not be looked up; its callbacks are refused.", kie_conn_id)
            extra = {}
        names = ("webhook_secret", "webhook_secret_previous")
        secrets = tuple(str(extra[name]) for name in names if extra.get(name))
        if not secrets:
            log.warning("Connection %s has no webhook secret: all its callbacks are refused.", kie_conn_id)
        self._secrets[kie_conn_id] = (self.clock(), secrets)
        return secrets

    def wake(self, waiting: Waiting) -> bool:
        """Let a deferred task instance look now."""
        with _airflow.metadata_session() as session:
            return _airflow.wake(session, waiting)

    def wake_sensors(self, kie_task_id: str) -> int:
        """Let the sensors that wait for a KIE task look now: they keep their deadline under its id."""
        with _airflow.metadata_session() as session:
            return _airflow.wake_by_key(session, [f"deadline/{noun}/{kie_task_id}" for noun in ("music", "cover")])

    def hear_of(self, kie_conn_id: str, music_task_id: str) -> bool:
        """Write the song's pending record; a song that is archived, or that a run works on, needs no run.

        :raises KieError: when the record cannot be written: KIE gets no 200 and calls again.
        """
        from airflow_kie.song_archive import SongArchive, Wanted

        bucket, prefix = settings.text("bucket"), settings.text("prefix", "songs")
        if not bucket:
            log.warning("Song %s was heard of, but no bucket is set in the [kie] configuration.", music_task_id)
            return False
        archive = SongArchive.open(settings.text("aws_conn_id", "aws_default"), bucket, prefix, music_task_id)
        archive.bucket.create_on_loopback()
        wanted = Wanted(audio=settings.flag("archive_audio"), lyrics=settings.flag("archive_lyrics"))
        if not wanted.missing_in(archive.manifest()):
            return False
        pending = archive.note(heard_from="callback", kie_conn_id=kie_conn_id)
        if pending.working is None:
            return True
        with _airflow.metadata_session() as session:
            return not _airflow.run_is_active(session, pending.working.dag_id, pending.working.run_id)

    def announce(self, kie_conn_id: str, music_task_id: str) -> None:
        """Send "music complete"; should it get lost, the sweep finds the pending record."""
        extra = {"music_task_id": music_task_id, "kie_conn_id": kie_conn_id, "heard_from": "callback"}
        with _airflow.metadata_session() as session:
            if not _airflow.send_asset_event(session, MUSIC.uri, music_task_id, extra):
                log.warning("No DAG has declared the asset %s; song %s waits for the sweep.", MUSIC.uri, music_task_id)
