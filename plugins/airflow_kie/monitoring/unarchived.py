"""Paid tasks that nobody has archived, and what KIE is about to delete of them: for the health check of `kie_ops`."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import islice

from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.s3.address import bucket_and_key
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.unarchived import (
    Listed,
    Unarchived,
    drop_unarchived,
    is_archived,
    list_unarchived,
    read_unarchived,
)
from airflow_kie.client.answers.decode import Read
from airflow_kie.client.errors import KieError
from airflow_kie.client.operations.operation import State
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.hooks.kie import KieHook

log = logging.getLogger(__name__)

MOST_READ = 200
"""Tasks that one check reads, those first that KIE deletes first."""
GONE = timedelta(days=1)
"""How long results that KIE has deleted are still reported; then their records go."""
_PARALLEL = 8


def expiring(
    bucket: Bucket, keys: ArchiveKeys, aws_conn_id: str | None, now: datetime, within: timedelta
) -> list[Listed]:
    """Return the tasks whose results KIE deletes soon, the first one first, and forget those that need nobody.

    Such are tasks that have been archived meanwhile, that KIE says have failed, and that KIE has deleted long ago.

    :param bucket: where the archive of `[kie]` is.
    :param keys: its prefix.
    :param aws_conn_id: Airflow connection for S3.
    :param now: UTC.
    :param within: how long before.
    :raises S3Error: when the bucket cannot be read.
    """
    ending = sorted(
        (one for one in list_unarchived(bucket, keys) if one.expires_at - now <= within), key=lambda one: one.expires_at
    )
    some = list(islice(ending, MOST_READ))
    with ThreadPoolExecutor(_PARALLEL) as pool:
        outstanding = list(pool.map(lambda one: _is_outstanding(bucket, keys, aws_conn_id, one, now), some))
    return [
        *(one for one, is_outstanding in zip(some, outstanding, strict=True) if is_outstanding),
        *ending[MOST_READ:],
    ]


def _is_outstanding(bucket: Bucket, keys: ArchiveKeys, aws_conn_id: str | None, one: Listed, now: datetime) -> bool:
    try:
        record = read_unarchived(bucket, keys, one.operation, one.task_id)
    except ArchiveUnreadable as error:
        log.warning("%s", error)
        return True
    if record is None:
        return False
    needs_nobody = one.expires_at < now - GONE or _archived(bucket, keys, aws_conn_id, record) or _failed(record)
    if needs_nobody:
        drop_unarchived(bucket, keys, one.operation, one.task_id)
    return not needs_nobody


def _archived(bucket: Bucket, keys: ArchiveKeys, aws_conn_id: str | None, record: Unarchived) -> bool:
    if is_archived(bucket, keys, record):
        return True
    if not record.to:
        return False
    try:
        name, prefix = bucket_and_key(record.to)
        return is_archived(open_bucket(aws_conn_id, name), ArchiveKeys(prefix), record)
    except KieError as error:  # another connection's bucket: this one task counts as not archived
        log.warning("It is not known whether KIE task %s is archived in %s. %s", record.task_id, record.to, error)
        return False


def _failed(record: Unarchived) -> bool:
    """Return whether KIE has nothing of a task: it has failed."""
    try:
        answer = KieHook(record.kie_conn_id).details(record.operation, record.task_id)
    except KieError:
        return False
    return isinstance(answer, Read) and answer.details.state is State.FAILED
