"""KIE's first answer about a cover of each account, kept without links and texts: what KIE really sends."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3Error
from airflow_kie.client.task_ids import is_task_id

log = logging.getLogger(__name__)

_KIES_TEXTS = frozenset({"status", "type", "operationType", "createTime", "completeTime"})
"""Fields whose texts are KIE's own; every other text may be a person's, unless it is an id or a link."""


def keep_first_answer(bucket: Bucket, key: str, operation: str, answer: Mapping[str, Any]) -> str:
    """Write KIE's answer below `_raw/`, unless one of this account and operation is there; never fails.

    :param bucket: where.
    :param key: of this account's and operation's answer, see :meth:`airflow_kie.archive.layout.ArchiveKeys.raw`.
    :param operation: such as ``suno.cover``.
    :param answer: the `data` of KIE's details.
    :return: ``kept`` or ``failed``.
    """
    try:
        if bucket.head(key) is None:
            bucket.put_json({"operation": operation, "data": redacted(answer)}, key)
            log.info("KIE's first answer of this kind is in %s, without links, prompts and keys.", bucket.url(key))
    except (S3Error, ValueError, RecursionError) as error:
        log.warning("KIE's answer could not be stored in %s; the song is archived anyway: %s", key, error)
        return "failed"
    return "kept"


def redacted(value: Any, name: str = "") -> Any:
    """Return a JSON value with every text replaced that may be private: its shape, numbers, ids and KIE's words stay.

    :param value: the value.
    :param name: the field that it is in.
    """
    if isinstance(value, Mapping):
        return {key: redacted(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item, name) for item in value]
    if not isinstance(value, str) or not value or name in _KIES_TEXTS:
        return value
    if name.lower().replace("_", "").endswith("id") and is_task_id(value):
        return value
    return _link(value) or f"<{len(value)} characters>"


def _link(text: str) -> str | None:
    """Return a link's scheme, host and ending; None for a text that is not a link."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return f"{parts.scheme}://{parts.hostname}/<path>{posixpath.splitext(parts.path)[1][:6]}"
