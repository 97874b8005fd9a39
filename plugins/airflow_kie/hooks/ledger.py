"""The ledger of paid requests of this Airflow: in S3, else in the limiter's store, else in the task's own state.

An account has one ledger, wherever its results are archived to: `[kie] ledger`, by default below the archive.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_kie import settings
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.lifecycle.ledger import Ledger, LedgerStore

if TYPE_CHECKING:
    from airflow_kie.archive.ledger_store import BucketLedgerStore

log = logging.getLogger(__name__)

FOLDER = "_paid"


@dataclass(frozen=True)
class OpenedLedger:
    """A ledger and what it covers.

    :param ledger: ready for use.
    :param where: its address, or where else it is kept.
    :param not_covered: what can still be paid for twice; empty: nothing.
    """

    ledger: Ledger
    where: str
    not_covered: str = ""


def ledger_address() -> tuple[str, str]:
    """Return bucket and prefix of the ledger; an empty bucket where none is configured.

    :raises KieInvalidRequest: when `[kie] ledger` is not an ``s3://`` address.
    """
    address = settings.text("ledger")
    if not address:
        bucket, prefix = settings.text("bucket"), settings.text("prefix", "songs").strip("/")
        return bucket, f"{prefix}/{FOLDER}/" if prefix else f"{FOLDER}/"
    parts = urlsplit(address)
    if parts.scheme != "s3" or not parts.netloc:
        raise KieInvalidRequest("[kie] ledger is not an address such as s3://bucket/prefix; nothing was sent to KIE")
    path = parts.path.strip("/")
    return parts.netloc, f"{path}/" if path else ""


def open_ledger(otherwise: LedgerStore) -> OpenedLedger:
    """Return the ledger of this Airflow.

    :param otherwise: the store that is used where neither S3 nor a database can keep it.
    :raises S3Error: when the bucket cannot be reached: nothing is sent then.
    """
    settle = settings.rules().agree_after
    bucket, prefix = ledger_address()
    if bucket:
        store = _bucket_store(bucket, prefix)
        if _honours_conditions(bucket, prefix):
            return OpenedLedger(Ledger(store, settle_seconds=settle), f"s3://{bucket}/{prefix}")
        why = f"the S3 service of bucket {bucket} does not honour conditional writes"
    else:
        why = "[kie] bucket and [kie] ledger are not set"
    covered = "requests of other runs, and of this one after its task state is emptied"
    return OpenedLedger(Ledger(otherwise, settle_seconds=settle), "the task state store", f"{covered}: {why}")


def _bucket_store(bucket: str, prefix: str) -> BucketLedgerStore:
    from airflow_kie.archive.ledger_store import BucketLedgerStore
    from airflow_kie.hooks.archive import open_bucket

    return BucketLedgerStore(open_bucket(settings.text("aws_conn_id", "aws_default"), bucket), prefix)


@functools.cache
def _honours_conditions(bucket: str, prefix: str) -> bool:
    """Return whether two writers cannot both create one object there; asked once a process."""
    return _bucket_store(bucket, prefix).honours_conditions("_probe")
