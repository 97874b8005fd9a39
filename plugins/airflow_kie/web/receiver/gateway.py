"""What the receiver asks of the Airflow that it serves, and what becomes of a song that another program has made.

Such a song is recorded in the bucket before KIE gets its 200, and announced after.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_kie import settings
from airflow_kie._airflow_private import metadata, variables
from airflow_kie._airflow_private.metadata import Wake
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.manifest import Wanted
from airflow_kie.archive.pending import Options
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.assets import MUSIC, PENDING
from airflow_kie.client.callbacks.url import Waiting
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS
from airflow_kie.client.task_lookup import Claim
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import ledger_stores
from airflow_kie.lifecycle.claims import RequestId
from airflow_kie.lifecycle.ledger import Ledger, LedgerStore
from airflow_kie.monitoring.callback_health import DESCRIPTION, LastCallback, callbacks_of, variable_of
from airflow_kie.monitoring.deliveries import Delivery
from airflow_kie.web.cache import cached_for_a_minute
from airflow_kie.web.receiver.connections import Connections

log = logging.getLogger(__name__)
_LOCKS = 64
_NOUNS = sorted({row.noun for row in OPERATIONS.values() if isinstance(row, TaskOperation)})


class NoBucket(Exception):
    """A song cannot be recorded because no bucket is configured."""


class AirflowGateway(Connections, ABC):
    """An Airflow, as the receiver needs it: from inside of it, or over its public REST API."""

    def __init__(self) -> None:
        super().__init__()
        self._bucket = cached_for_a_minute(_open)
        self._ledgers = cached_for_a_minute(_open_ledgers)
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    @abstractmethod
    def wake(self, waiting: Waiting) -> Wake:
        """Resume a deferred task instance, so that it reads from KIE now."""

    @abstractmethod
    def wake_sensors(self, kie_task_id: str) -> int:
        """Resume the sensors that wait for a KIE task; return how many."""

    @abstractmethod
    def run_is_active(self, dag_id: str, run_id: str) -> bool:
        """Return whether a DAG run is queued or running."""

    @abstractmethod
    def event_was_sent(self, music_task_id: str, since: datetime) -> bool:
        """Return whether "music complete" was sent for a song since a time, by any sender."""

    @abstractmethod
    def send_event(self, music_task_id: str, extra: dict[str, Any]) -> bool:
        """Wake `music_cover` and send "music complete"; return False while no DAG waits for the first."""

    @abstractmethod
    def record_callbacks(self, kie_conn_id: str, last: LastCallback | None, deliveries: Sequence[Delivery]) -> None:
        """Write what is known of a connection's last callbacks into its Variable; called now and then."""

    def record_task(self, kie_conn_id: str, request: str, task_id: str) -> None:
        """Record in the account's ledger which task KIE has made for one of our requests.

        Where the ledger is in the task's own state nobody else can write it: the task asks again then.

        :param kie_conn_id: the connection whose account called.
        :param request: ``<store>/<operation>/<digest>/<attempt>``, as the signed callback URL names it.
        :param task_id: KIE's id.
        :raises KieError: when it cannot be written: KIE gets no 200 and calls again.
        """
        kind, operation, digest, number = request.split("/")
        account, stores = self._ledgers(kie_conn_id)
        if kind in stores:
            request_id = RequestId(account, operation, digest)
            Ledger(stores[kind]).record_task(request_id, int(number), task_id, by="callback")

    def register(self, kie_conn_id: str, music_task_id: str, claim: Claim) -> bool:
        """Write a song's pending record; return whether its event is to be sent.

        No event is sent for a song that is archived, that an active run works on, or that was announced a moment ago:
        its run is about to start then. Should that event get lost, reconciliation finds the record. Nor is one sent for
        a song that KIE has not confirmed: its record says so, and reconciliation asks KIE again. Such a claim changes
        no record of a song that is confirmed.

        :param kie_conn_id: the connection whose account called.
        :param music_task_id: the id that its callback calls a song.
        :param claim: what KIE says of that id, which is not `OTHER`.
        :raises NoBucket: when `[kie] bucket` is not set.
        :raises KieError: when the record cannot be written: KIE gets no 200 and calls again.
        """
        bucket, prefix = settings.text("bucket"), settings.text("prefix", "songs")
        if not bucket:
            raise NoBucket(f"Song {music_task_id} cannot be recorded: no bucket is set in the [kie] configuration")
        wanted = Wanted(audio=settings.flag("archive_audio"), lyrics=settings.flag("archive_lyrics"))
        with self._lock_of(music_task_id):
            archive = SongArchive(self._bucket(bucket), ArchiveKeys(prefix).song(music_task_id))
            if not wanted.missing_in(archive.manifest()):
                return False
            known = archive.pending()
            if known and (
                self._is_announced(music_task_id)
                or (known.working and self.run_is_active(known.working.dag_id, known.working.run_id))
                or not (known.unconfirmed or claim is Claim.SONG)
            ):
                return False
            unconfirmed = None if claim is Claim.SONG else claim.value
            news = {"kie_conn_id": kie_conn_id, "options": Options.of(wanted), "unconfirmed": unconfirmed}
            record = archive.update_pending(received_from="callback", **news)
        if record.unconfirmed:
            log.warning("Song %s is recorded, but not confirmed: the reconciliation asks KIE again.", music_task_id)
        return not record.unconfirmed

    def announce(self, kie_conn_id: str, music_task_id: str) -> None:
        """Send "music complete", unless another callback of the same moment has done so."""
        extra = {"music_task_id": music_task_id, "kie_conn_id": kie_conn_id, "received_from": "callback"}
        with self._lock_of(music_task_id):
            if self._is_announced(music_task_id):
                return
            if self.send_event(music_task_id, extra):
                log.info("Song %s is recorded, and music_cover starts for it.", music_task_id)
            else:
                why = f"no DAG has declared the asset {PENDING.uri}, or this Airflow does not accept the event"
                log.warning("Song %s is recorded; the reconciliation will start it: %s.", music_task_id, why)

    def _is_announced(self, music_task_id: str) -> bool:
        """Return whether its event is younger than the records that reconciliation reads."""
        since = datetime.now(UTC) - timedelta(minutes=settings.number("reconcile_after_minutes", 10))
        return self.event_was_sent(music_task_id, since)

    def _lock_of(self, music_task_id: str) -> threading.Lock:
        """Return the lock under which one callback of a song is handled at a time."""
        return self._locks[hash(music_task_id) % _LOCKS]


class InProcessGateway(AirflowGateway):
    """What the receiver asks of Airflow, answered with the metadata database."""

    def wake(self, waiting: Waiting) -> Wake:
        return metadata.wake(waiting)

    def wake_sensors(self, kie_task_id: str) -> int:
        """Resume the sensors that wait for a KIE task: they keep their deadline under its id."""
        return metadata.wake_by_key([f"deadline/{noun}/{kie_task_id}" for noun in _NOUNS])

    def run_is_active(self, dag_id: str, run_id: str) -> bool:
        return metadata.run_is_active(dag_id, run_id)

    def event_was_sent(self, music_task_id: str, since: datetime) -> bool:
        return metadata.event_was_sent(MUSIC.uri, music_task_id, since)

    def send_event(self, music_task_id: str, extra: dict[str, Any]) -> bool:
        woken = metadata.send_asset_event(PENDING.uri, None, extra)
        metadata.send_asset_event(MUSIC.uri, music_task_id, extra)
        return woken

    def record_callbacks(self, kie_conn_id: str, last: LastCallback | None, deliveries: Sequence[Delivery]) -> None:
        """Join them with what other processes have written; what two write at once, the next write brings together."""
        known = callbacks_of(kie_conn_id).joined(last, deliveries)
        variables.record_variable(variable_of(kie_conn_id), known.text(), DESCRIPTION)


def _open(name: str) -> Bucket:
    # To make an S3 client takes a tenth of a second, longer than all the rest.
    bucket = open_bucket(settings.text("aws_conn_id", "aws_default"), name)
    bucket.create_on_loopback()
    return bucket


def _open_ledgers(kie_conn_id: str) -> tuple[str, Mapping[str, LedgerStore]]:
    hook = KieHook(kie_conn_id)
    return hook.account.spending_name, ledger_stores(hook)
