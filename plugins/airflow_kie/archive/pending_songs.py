"""Songs that are still owed something, read from the bucket: what the sweep and `airflow kie redrive` go through."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_kie.client.errors import KieError, Scope

if TYPE_CHECKING:
    from airflow_kie.archive.layout import ArchiveKeys, SongKeys
    from airflow_kie.archive.pending import Pending
    from airflow_kie.archive.s3.bucket import Bucket

log = logging.getLogger(__name__)


def pending_songs(bucket: Bucket, keys: ArchiveKeys, *, untouched_for: timedelta = timedelta(0)) -> Iterator[Pending]:
    """Yield the pending records of an archive; a damaged one is told of and stops nobody else's song.

    :param bucket: where the archive is.
    :param keys: its prefix.
    :param untouched_for: only records that nobody has written for so long; younger ones are not even read.
    :raises S3Error: when the bucket refuses: that must not look as if nothing were owed.
    """
    from airflow_kie.archive.pending import list_pending

    now = datetime.now(UTC)
    for song, facts in list_pending(bucket, keys):
        if now - facts.last_modified < untouched_for:
            continue
        if pending := readable(bucket, song):
            yield pending


def readable(bucket: Bucket, song: SongKeys) -> Pending | None:
    """Return a song's pending record; None if there is none, or one that is damaged, which is told of.

    :param bucket: where the archive is.
    :param song: the song's keys.
    :raises S3Error: when the bucket refuses.
    """
    from airflow_kie.archive.pending import read_pending

    try:
        return read_pending(bucket, song)
    except KieError as error:
        if error.scope is not Scope.TASK:
            raise
        log.error("%s", error)
        return None
