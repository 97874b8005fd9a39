"""What KIE says of its models, in one object of the bucket: `airflow kie models --refresh` writes it.

Requests are checked with it where the package's own catalogue objects: read seldom, and missing without harm.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cachetools import TTLCache

from airflow_kie import settings
from airflow_kie.client.catalogue.models import Model, models

if TYPE_CHECKING:
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.client.catalogue.discovered import Discovered

log = logging.getLogger(__name__)

GOOD_FOR = 600.0
"""Seconds for which a process keeps what it has read, or that nothing could be read."""
_TRIES = 5
"""How often the object is read and written again because somebody else has written it in between."""
_read: TTLCache[tuple[str, ...], Mapping[str, Model]] = TTLCache(4, GOOD_FOR)
_reading = threading.Lock()


def newer_models() -> Mapping[str, Model]:
    """Return the models that KIE describes, merged with the package's own descriptions; empty without a bucket.

    The object is read at most once in ten minutes by a process, and only by one with a request that the package's own
    catalogue does not simply take. Whatever goes wrong is logged: a catalogue stops no request.
    """
    place = (settings.text("aws_conn_id", "aws_default"), settings.text("bucket"), settings.text("prefix", "songs"))
    if not place[1]:
        return {}
    with _reading:
        if place not in _read:
            _read[place] = _combined()
        return _read[place]


def _combined() -> Mapping[str, Model]:
    try:
        from airflow_kie.client.catalogue.widened import combined
        from airflow_kie.hooks.archive import configured_archive

        bucket, keys = configured_archive()
        found = combined(models(), read_discovered(bucket, keys.catalogue))
    except Exception as error:  # noqa: BLE001 - whatever it is, the request is checked by the package's own catalogue
        log.warning("KIE's newer models could not be read from the bucket (%s); using this package's catalogue.", error)
        return {}
    return {name: model for name, model in found.items() if model.endpoint != "?"}


def read_discovered(bucket: Bucket, key: str) -> dict[str, Discovered]:
    """Return the models that KIE itself describes, by name; a row that cannot be read is left out.

    :param bucket: the archive's.
    :param key: see :attr:`airflow_kie.archive.layout.ArchiveKeys.catalogue`.
    :raises KieError: when S3 does not answer, or the object is not JSON.
    """
    return _rows(bucket.get_json(key))


def add_discovered(bucket: Bucket, key: str, discovered: Iterable[Discovered], gone: Iterable[str] = ()) -> None:
    """Add models, in place of what KIE described before.

    :param bucket: the archive's.
    :param key: as in :func:`read_discovered`.
    :param discovered: what KIE says now.
    :param gone: names that KIE does not list any more.
    :raises KieError: when S3 does not answer, or somebody else writes all the time.
    """
    from airflow_kie.archive.s3.errors import S3Error

    new, old = {one.model: one for one in discovered}, frozenset(gone)
    for _ in range(_TRIES):
        value, etag = bucket.get_json_and_etag(key)
        rows = {name: one for name, one in {**_rows(value), **new}.items() if name not in old}
        if bucket.put_json_if_unchanged({"models": [rows[name].to_json() for name in sorted(rows)]}, key, etag):
            return
    raise S3Error(f"{bucket.url(key)} is constantly being changed by another process")


def _rows(value: Any) -> dict[str, Discovered]:
    from airflow_kie.client.catalogue.discovered import Discovered

    rows = value.get("models") if isinstance(value, Mapping) else None
    found = (Discovered.from_json(row) for row in rows) if isinstance(rows, list) else ()
    return {one.model: one for one in found if one is not None}
