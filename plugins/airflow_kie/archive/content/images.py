"""Is this file a complete raster image? Its structure is compared with bounds, then all its pixels are decoded."""

from __future__ import annotations

import io
from typing import BinaryIO

from airflow_kie.archive.content.checks import PARSER_ERRORS, ContentFacts, described, head_of
from airflow_kie.archive.content.image_bounds import decodable
from airflow_kie.client.errors import FileDamaged, FileTruncated, FileWrongType

IMAGES: dict[str, tuple[str, str]] = {
    "PNG": ("image/png", "png"),
    "JPEG": ("image/jpeg", "jpg"),
    "WEBP": ("image/webp", "webp"),
}
"""Pillow's format -> MIME type, extension."""


def check_image(file: BinaryIO) -> ContentFacts:
    """Decode the whole file as PNG, JPEG or WebP and return what it is.

    :param file: seekable binary file, read into memory as a whole; its position afterwards is undefined.
    :raises FileDamaged: its subclass says how: empty, truncated, or something else than a still raster image within
        the bounds of :mod:`airflow_kie.archive.content.image_bounds`.
    """
    from PIL import Image

    head = head_of(file)
    form = raster_format(head)
    if form is None:
        raise FileWrongType(f"an image was expected, but {described(head)} came")
    file.seek(0)
    pixels = io.BytesIO(decodable(form, file.read()))
    try:
        with Image.open(pixels, formats=(form,)) as image:
            image.load()
            width, height = image.size
    except (*PARSER_ERRORS, Warning) as e:  # a person may have turned warnings into errors
        kind = FileTruncated if "truncated" in str(e).lower() else FileDamaged
        raise kind(f"the image cannot be decoded: {e}") from e
    return ContentFacts(*IMAGES[form], width=width, height=height)


def raster_format(head: bytes) -> str | None:
    """Return PNG, JPEG or WEBP by a file's first bytes, or None."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "WEBP" if head.startswith(b"RIFF") and head[8:12] == b"WEBP" else None
