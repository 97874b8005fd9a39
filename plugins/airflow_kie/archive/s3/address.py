"""Addresses in S3, as people write them."""

from __future__ import annotations

from airflow_kie.client.redact import without_queries
from airflow_kie.client.task_ids import KeyRefused


def bucket_and_key(address: str) -> tuple[str, str]:
    """Return bucket and key of an address such as ``s3://bucket/some/key``.

    :raises KeyRefused: for anything else.
    """
    scheme, _, rest = address.strip().partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise KeyRefused(f"{without_queries(address)[:200]!r} is not an address such as s3://bucket/folder.")
    return bucket, key
