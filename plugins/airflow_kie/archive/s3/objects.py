"""What S3 says of objects, and what is sent to it: their facts, their ETag, JSON with a stable layout."""

from __future__ import annotations

import functools
import hashlib
import io
import ipaddress
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO
from urllib.parse import urlsplit


@dataclass(frozen=True)
class ObjectFacts:
    """What S3 says of an object.

    :param key: its key.
    :param size: bytes.
    :param last_modified: when it was written, by the S3 service's clock.
    :param content_type: MIME type; None in a listing.
    :param sha256: hex digest from the metadata, where the service kept it; None in a listing.
    :param etag: S3's name of this version of the object, with its quotes; None in a listing.
    """

    key: str
    size: int
    last_modified: datetime
    content_type: str | None = None
    sha256: str | None = None
    etag: str | None = None


def facts_of(key: str, answer: Mapping[str, Any], sha256: str | None = None) -> ObjectFacts:
    """Return what an answer to GetObject or HeadObject says."""
    size, written = answer["ContentLength"], answer["LastModified"]
    return ObjectFacts(key, size, written, answer.get("ContentType"), sha256, answer.get("ETag"))


def listed(page: Mapping[str, Any]) -> Iterator[ObjectFacts]:
    """Yield what a page of a listing says of each object."""
    for item in page.get("Contents", ()):
        yield ObjectFacts(item["Key"], item["Size"], item["LastModified"])


def json_bytes(value: object) -> bytes:
    """Return a value as UTF-8 JSON with a stable layout."""
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def etag_of(file: BinaryIO, size: int) -> str:
    """Return the ETag that S3 gives a file in one part, its MD5; empty if the file has another size.

    :param size: bytes that the file must have.
    """
    has = file.seek(0, io.SEEK_END)
    file.seek(0)
    digest = hashlib.file_digest(file, functools.partial(hashlib.md5, usedforsecurity=False))  # type: ignore[arg-type]
    return f'"{digest.hexdigest()}"' if has == size else ""


def is_loopback(endpoint_url: str) -> bool:
    """Return whether an S3 service is this machine's own."""
    host = urlsplit(endpoint_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def whole_of(answer: Mapping[str, Any], max_bytes: int) -> bytes:
    """Return the content of an object, or one byte more than `max_bytes` of a larger one.

    :param answer: boto3's of `get_object`.
    """
    with closing(answer["Body"]) as body:  # entering it gives the raw stream, which checks no length
        content: bytes = body.read(max_bytes + 1)
        if len(content) <= max_bytes:
            body.read(1)  # only at its end it is known whether all of it has come
        return content


def part_of(answer: Mapping[str, Any], max_bytes: int) -> bytes:
    """Return a part of an object; some services name the checksum of the whole object with it, which no part has.

    Parameters as for :func:`whole_of`.
    """
    from botocore.exceptions import IncompleteReadError

    with answer["Body"] as raw:
        content: bytes = raw.read(max_bytes + 1)
    expected = min(answer["ContentLength"], max_bytes + 1)
    if len(content) < expected:
        raise IncompleteReadError(actual_bytes=len(content), expected_bytes=expected)
    return content
