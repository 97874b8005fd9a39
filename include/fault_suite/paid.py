"""The ledger of paid requests of a stack, read where it is kept: in S3 or in the limiter's database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.ledger_store import BucketLedgerStore
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.client.operations.suno import COVER
from airflow_kie.client.rate_limiter.paid_requests import DatabaseLedgerStore
from airflow_kie.client.rate_limiter.store import Store
from airflow_kie.lifecycle.claims import RequestId
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.lifecycle.ledger import Ledger

if TYPE_CHECKING:
    from local_stack.running import RunningStack

ACCOUNT = "kie_default"
"""The one account of a local stack: its connection names no other."""


def cover_request(song: str) -> RequestId:
    """Return what the ledger calls the request for a song's cover.

    :param song: its music task id.
    """
    return RequestId(ACCOUNT, COVER.name, request_digest(COVER, {"taskId": song}, {}))


@dataclass(frozen=True)
class PaidRequests:
    """What the stack says that it has asked KIE for.

    :param running: the stack.
    """

    running: RunningStack

    def cover_repeats(self, song: str) -> int:
        """Return how often the cover of a song was asked for once more because an answer was lost.

        :param song: its music task id.
        """
        attempts = (attempt for ledger in self.ledgers() for attempt in ledger.attempts(cover_request(song)))
        return sum("repeated" in attempt.endings for attempt in attempts)

    def ledgers(self) -> tuple[Ledger, ...]:
        """Return both: a stack has its entries in one of them, and the other one is empty."""
        settings, stored = self.running.settings, self.running.bucket
        database = Store(self.running.limiter_store)
        keys = ArchiveKeys(settings.prefix)
        bucket = BucketLedgerStore(Bucket(stored.client, stored.bucket), keys.paid_requests)
        return Ledger(DatabaseLedgerStore(database)), Ledger(bucket)
