"""An archive and a ledger with each kind of trouble that the status page shows."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.ledger_store import BucketLedgerStore
from airflow_kie.archive.pending import Failure, WaitingFor, new_pending
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.lifecycle.claims import InDoubt, Intent, RequestId
from airflow_kie.lifecycle.ledger import Ledger

NOW = datetime.now(UTC)
LOST, WRONG = (RequestId("kie_default", "suno.music", digit * 32) for digit in "ab")


def store_troubles(songs: Bucket, other: Bucket) -> None:
    """Store songs that are pending for some reasons, and requests whose answer was lost."""
    keys = ArchiveKeys("songs")

    def pending(song: str, title: str, **known: object) -> None:
        record = new_pending(song, received_from="form", now=NOW - timedelta(hours=2)).changed(title=title, **known)
        SongArchive(songs, keys.song(song)).merge_pending(record)

    refused = Failure(reason="content_rejected", message="sensitive", at=NOW)
    for song in ("rude1", "rude2"):
        pending(song, f"<b>{song}</b>", last_failure=refused, expires_at=NOW + timedelta(days=9))
    pending("slow", "Slow Machine", waiting_for=WaitingFor(reason="maintenance", since=NOW))
    ledger = Ledger(BucketLedgerStore(songs, keys.paid_requests))
    for request in (LOST, WRONG):
        sent = time.time() - 3600
        owner = {"dag": "music_generate", "run": "<i>r</i>"}
        intent = Intent(at=sent, not_after=sent + 30, owner=owner, balance=824.0)
        ledger.claim(request, intent)
        ledger.record_doubt(request, InDoubt(1, intent, balance=812.0))
