"""What a file is, decided by its content; names and headers prove nothing.

KIE's CDN was seen to answer HTTP 200 with 0 bytes, and gateways to answer with a web page in place of a file.
The files themselves are never changed: embedded provenance (C2PA, XMP, ID3) stays as KIE wrote it.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from airflow_kie.client.errors import FileEmpty

PARSER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, struct.error, zlib.error)
"""What Pillow's and tinytag's parsers raise on hostile or broken input, besides errors of their own."""


@dataclass(frozen=True)
class ContentFacts:
    """What a file turned out to be.

    :param content_type: MIME type, decided by content.
    :param extension: file extension that goes with it, without the dot.
    :param width: pixels, images only.
    :param height: pixels, images only.
    :param duration_seconds: length of audio and video; None where the format does not say.
    :param shortfall: for audio or a video that is shorter than it should be, a clause that says how much; None where it
        is whole.
    """

    content_type: str
    extension: str
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    shortfall: str | None = None


TEXT_FACTS = ContentFacts("text/plain; charset=utf-8", "txt")
JSON_FACTS = ContentFacts("application/json", "json")

# What comes instead of media, recognised by its start, to be named in the error.
_KNOWN_MEDIA: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"\x89PNG", b"\xff\xd8\xff"), "an image"),
    ((b"GIF8",), "a GIF image"),
    ((b"%PDF",), "a PDF"),
    ((b"PK\x03\x04",), "a ZIP archive"),
    ((b"\x1f\x8b",), "gzip data"),
)
_KNOWN_TEXTS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"<!doctype html", b"<html", b"<head", b"<body"), "a web page"),
    ((b"<",), "XML"),
    ((b"{", b"["), "JSON"),
)
# Form of audio: where its mark is in the head, and the mark.
_AUDIO_MARKS = {"WAV": (8, b"WAVE"), "FLAC": (0, b"fLaC"), "Ogg": (0, b"OggS"), "M4A": (4, b"ftyp"), "MP3": (0, b"ID3")}


def described(head: bytes) -> str:
    """Return what a file looks like by its first bytes, for an error."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text and text.startswith(b"<"):
        return "an SVG drawing (it can carry scripts and is not stored)"
    for content, table in ((head, _KNOWN_MEDIA), (text, _KNOWN_TEXTS)):
        for starts, name in table:
            if content.startswith(starts):
                return name
    return "audio" if audio_form(head) else "something unknown"


def audio_form(head: bytes) -> str | None:
    """Return MP3, WAV, M4A, FLAC or Ogg by a file's first bytes, or None."""
    for name, (at, mark) in _AUDIO_MARKS.items():
        if head.startswith(mark, at) and (name != "WAV" or head.startswith((b"RIFF", b"RIFX"))):
            return name
    # A frame starts with eleven set bits; layer bits 00 are AAC (ADTS), a version of 01 is reserved.
    frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    return "MP3" if frame and head[1] & 0x06 != 0 and head[1] & 0x18 != 0x08 else None


def head_of(file: BinaryIO) -> bytes:
    """Return a file's first bytes.

    :raises FileEmpty: when there are none.
    """
    file.seek(0)
    head = file.read(512)
    if not head:
        raise FileEmpty("0 bytes came")
    return head


def size_of(file: BinaryIO) -> int:
    """Return a file's size in bytes."""
    return file.seek(0, os.SEEK_END)


def text_file(text: str) -> io.BytesIO:
    """Return lyrics or another text as the UTF-8 file that is stored.

    :raises FileEmpty: when the text holds nothing.
    """
    if not text.strip():
        raise FileEmpty("the text is empty")
    return io.BytesIO(text.replace("\r\n", "\n").rstrip().encode() + b"\n")
