"""Small pictures of archived images: made when they are first shown, kept in memory, never stored."""

from __future__ import annotations

import io
import threading

from cachetools import LRUCache

from airflow_kie.archive.content.checks import PARSER_ERRORS
from airflow_kie.archive.content.image_bounds import decodable
from airflow_kie.archive.content.images import raster_format
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.client.errors import FileDamaged

SIZE = 512
"""Pixels of the longer side."""
_KEPT = 1000
"""Pictures in memory, about 30 KB each."""
_MOST_BYTES = 32 * 1024 * 1024
_pictures: LRUCache[tuple[str, str, str], bytes] = LRUCache(_KEPT)
_lock = threading.Lock()
_decoding = threading.Semaphore(2)
"""Each takes about 20 MB and a core while it is decoded."""


def thumbnail(bucket: Bucket, key: str, etag: str) -> bytes | None:
    """Return an archived image as WebP, 512 pixels at most; None where it is not there.

    :param bucket: where.
    :param key: the image's.
    :param etag: what names this version of it among those at this key.
    :raises FileDamaged: when it is not an image within the bounds of the archive's own check.
    """
    name = (bucket.name, key, etag)
    with _lock:
        known: bytes | None = _pictures.get(name)
    if known is not None:
        return known
    with _decoding:
        version = bucket.get_version(key, max_bytes=_MOST_BYTES)
        picture = _small(version[1]) if version else None
    if picture is not None:
        with _lock:
            _pictures[name] = picture
    return picture


def _small(content: bytes) -> bytes:
    from PIL import Image

    form = raster_format(content[:16])
    if form is None:
        raise FileDamaged("it is not an image")
    small = io.BytesIO()
    try:
        with Image.open(io.BytesIO(decodable(form, content)), formats=(form,)) as image:
            image.draft("RGB", (SIZE, SIZE))
            image.thumbnail((SIZE, SIZE))
            image.convert("RGBA" if "A" in image.getbands() else "RGB").save(small, "WEBP", quality=80, method=2)
    except (*PARSER_ERRORS, Warning) as error:
        raise FileDamaged(f"the image cannot be decoded: {error}") from error
    return small.getvalue()
