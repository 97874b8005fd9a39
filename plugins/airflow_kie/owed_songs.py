"""Songs that are still owed something, read from the bucket: what the sweep and `airflow kie redrive` go through."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_kie.client.errors import KieError

if TYPE_CHECKING:
    from airflow_kie.archive.bucket import Bucket
    from airflow_kie.archive.keys import ArchiveKeys
    from airflow_kie.archive.pending import Pending

log = logging.getLogger(__name__)


def owed_songs(bucket: Bucket, keys: ArchiveKeys, *, untouched_for: timedelta = timedelta(0)) -> Iterator[Pending]:
    """Yield the pending records of an archive; a damaged one is told of and stops nobody else's song.

    :param bucket: where the archive is.
    :param keys: its prefix.
    :param untouched_for: only records that nobody has written for so long; younger ones are not even read.
    """
    from airflow_kie.archive.pending import list_pending, read_pending

    now = datetime.now(UTC)
    for song, facts in list_pending(bucket, keys):
        if now - facts.last_modified < untouched_for:
            continue
        try:
            pending = read_pending(bucket, song)
        except KieError as error:
            log.error("%s", error)
            continue
        if pending:
            yield pending
