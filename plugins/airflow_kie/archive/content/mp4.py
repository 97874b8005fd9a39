"""MP4 files: are all of their parts there, and do they hold a video?"""

from __future__ import annotations

import struct
from typing import BinaryIO

from airflow_kie.archive.content.checks import ContentFacts, described, head_of, size_of
from airflow_kie.client.errors import FileTruncated, FileWrongType

_MOOV_LIMIT = 16 * 1024 * 1024
# Live recordings have two for each second.
MAX_BOXES = 100_000
ASKED_SHARE = 0.8
"""The least share of the seconds asked for: models round to their frames, and some to whole seconds."""


def check_video(file: BinaryIO, asked_seconds: float | None = None) -> ContentFacts:
    """Read the file as an MP4 video and return what it is.

    :param file: seekable binary file; its position afterwards is undefined.
    :param asked_seconds: length that was requested, None where the request names none.
    :raises FileDamaged: its subclass says how: empty, truncated, or something else than a video.
    """
    head = head_of(file)
    if not head.startswith(b"ftyp", 4):
        raise FileWrongType(f"a video was expected, but {described(head)} came")
    moov, has_content = description(file, "MP4")
    if not has_content:
        raise FileTruncated("the MP4 file has metadata, but no content")
    if b"vide" not in moov:
        raise FileWrongType("a video was expected, but a file without pictures came")
    seconds = _seconds(moov)
    return ContentFacts("video/mp4", "mp4", duration_seconds=seconds, shortfall=_shortfall(seconds, asked_seconds))


def _shortfall(seconds: float | None, asked: float | None) -> str | None:
    """Return how much is missing, as a clause, or None."""
    if seconds is None or asked is None or seconds >= asked * ASKED_SHARE:
        return None
    return f"the video plays {seconds:g} s of the {asked:g} s that were requested"


def description(file: BinaryIO, name: str) -> tuple[bytes, bool]:
    """Return the part that describes the rest (``moov``), and whether there is a rest (``mdat``).

    Every top-level part has to fit into the file.

    :param name: what the file is, for the errors.
    :raises FileTruncated: when it ends inside a part, or has no description.
    """
    size, position, count, moov, has_data = size_of(file), 0, 0, b"", False
    while position < size:
        file.seek(position)
        length, kind = _box(file.read(16), size - position)
        count += 1
        if count > MAX_BOXES:
            raise FileWrongType(f"the {name} file has more than {MAX_BOXES:,} parts")
        if length < 8 or position + length > size:
            raise FileTruncated(f"the {name} file ends inside one of its parts")
        has_data = has_data or kind == b"mdat"
        if kind == b"moov":
            file.seek(position)
            moov = file.read(min(length, _MOOV_LIMIT))
        position += length
    if not moov:
        raise FileTruncated(f"the {name} file has no metadata")
    return moov, has_data


def _box(header: bytes, remaining: int) -> tuple[int, bytes]:
    if len(header) < 8:
        return 0, b""
    length, kind = struct.unpack(">I4s", header[:8])
    if length == 1 and len(header) == 16:  # a 64-bit length follows
        length = struct.unpack(">Q", header[8:])[0]
    return (remaining if length == 0 else length), kind  # 0: up to the end of the file


def _seconds(moov: bytes) -> float | None:
    """Return the length that the movie's header names, None where it names none."""
    header = moov.partition(b"mvhd")[2][:32].ljust(32, b"\x00")
    scale, length = struct.unpack_from(">IQ", header, 20) if header[0] == 1 else struct.unpack_from(">II", header, 12)
    return round(length / scale, 3) if scale and length else None
