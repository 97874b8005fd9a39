"""Is this file a whole raster image? Its structure is compared with bounds, then all its pixels are decoded."""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from airflow_kie.archive.content.checks import ContentFacts, described, head_of, size_of
from airflow_kie.archive.content.image_bounds import ImageParts, image_parts
from airflow_kie.client.errors import FileDamaged, FileTruncated, FileWrongType

# What Pillow's parsers raise on hostile or broken input, besides its own UnidentifiedImageError (an OSError).
_IMAGE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, struct.error, zlib.error),
    Warning,  # where a person turned warnings into errors
)
_SPOOL_BYTES = 8 * 1024 * 1024
_PIECE = 1024 * 1024

IMAGES: dict[str, tuple[str, str]] = {
    "PNG": ("image/png", "png"),
    "JPEG": ("image/jpeg", "jpg"),
    "WEBP": ("image/webp", "webp"),
}
"""Pillow's format -> MIME type, extension."""


def check_image(file: BinaryIO) -> ContentFacts:
    """Decode the whole file as PNG, JPEG or WebP and return what it is.

    :param file: seekable binary file; its position afterwards is undefined.
    :raises FileDamaged: its subclass says how: empty, truncated, or something else than a still raster image within
        the bounds of :mod:`airflow_kie.archive.content.image_bounds`.
    """
    head = head_of(file)
    form = _raster_format(head)
    if form is None:
        raise FileWrongType(f"an image was expected and {described(head)} came")
    parts = image_parts(form, file, size_of(file))
    try:
        with _pixels_alone(file, parts) as pixels:
            width, height = _decode(pixels, form)
    except _IMAGE_ERRORS as e:
        kind = FileTruncated if "truncated" in str(e).lower() else FileDamaged
        raise kind(f"the image cannot be decoded: {e}") from e
    content_type, extension = IMAGES[form]
    return ContentFacts(content_type, extension, width=width, height=height)


def _raster_format(head: bytes) -> str | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "WEBP" if head.startswith(b"RIFF") and head[8:12] == b"WEBP" else None


@contextmanager
def _pixels_alone(file: BinaryIO, parts: ImageParts) -> Iterator[BinaryIO]:
    """Give Pillow the pixels without the texts: it unpacks those, and calls an image broken whose texts are long."""
    if sum(length for _, length in parts.ranges) == size_of(file):
        yield file
        return
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spooled:
        copy = cast(BinaryIO, spooled)
        for at, length in parts.ranges:
            file.seek(at)
            left = length
            while left and (piece := file.read(min(left, _PIECE))):
                copy.write(piece)
                left -= len(piece)
        yield copy


def _decode(file: BinaryIO, form: str) -> tuple[int, int]:
    from PIL import Image

    file.seek(0)
    with Image.open(file, formats=(form,)) as image:
        image.load()
        return image.size
