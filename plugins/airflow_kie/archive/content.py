"""Is this file what it claims to be? Decided by its content, in bounded memory; names and headers prove nothing.

KIE's CDN was seen to answer HTTP 200 with 0 bytes, and gateways to answer with a web page in place of a file.
The files themselves are never changed: embedded provenance (C2PA, XMP, ID3) stays as KIE wrote it.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from airflow_kie.client.errors import FileDamaged, FileEmpty, FileTruncated, FileWrongType

# KIE's covers have 1024 x 1024 pixels. Decoding takes 4 bytes a pixel for the moment of the check: 128 MB at most.
MAX_PIXELS = 32_000_000
# Unpacked, for the moment of the check.
_MAX_TEXT = 32 * 1024 * 1024
_HEAD = 512
# Programs append a few bytes (padding, thumbnails) after an image's end mark; more is not looked through.
_TAIL = 65_536
_MOOV_LIMIT = 16 * 1024 * 1024
# Shorter than this share of what KIE says, a track whose length nothing else vouched for counts as cut off.
_DURATION_SHARE = 0.8

# What Pillow's parsers raise on hostile or broken input, besides its own UnidentifiedImageError (an OSError).
_IMAGE_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError, struct.error, zlib.error),
    Warning,  # where a person turned warnings into errors
)


@dataclass(frozen=True)
class ContentFacts:
    """What a file turned out to be.

    :param content_type: MIME type, decided by content.
    :param extension: file extension that goes with it, without the dot.
    :param width: pixels, images only.
    :param height: pixels, images only.
    :param duration_seconds: length, audio only; None where the format does not say.
    """

    content_type: str
    extension: str
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None


LYRICS_FACTS = ContentFacts("text/plain; charset=utf-8", "txt")

# Pillow's format -> MIME type, extension, the mark at the end of a whole file (None: checked by its own length).
_IMAGES: dict[str, tuple[str, str, bytes | None]] = {
    "PNG": ("image/png", "png", b"\x00\x00\x00\x00IEND\xaeB`\x82"),
    "JPEG": ("image/jpeg", "jpg", b"\xff\xd9"),
    "WEBP": ("image/webp", "webp", None),
}


def check_image(file: BinaryIO) -> ContentFacts:
    """Decode the whole file as PNG, JPEG or WebP and return what it is.

    :param file: seekable binary file; its position afterwards is undefined.
    :raises FileDamaged: its subclass says how: empty, truncated, or something else than a raster image of at most
        32 million pixels.
    """
    from PIL import Image

    head = _head(file)
    form = _raster_format(head)
    if form is None:
        raise FileWrongType(f"an image was expected and {_described(head)} came")
    if form == "WEBP" and not _riff_is_whole(file):
        raise FileTruncated("the WebP file is shorter than its header says")
    too_many = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        _decode(file, "verify")  # walks all chunks and their checksums; an image must be opened anew after it
        name, (width, height) = _decode(file, "load")
    except too_many as e:
        raise FileWrongType(f"the image has more than the {MAX_PIXELS:,} pixels that are decoded") from e
    except _IMAGE_ERRORS as e:
        kind = FileTruncated if _sounds_truncated(str(e)) else FileDamaged
        raise kind(f"the image cannot be decoded: {e}") from e
    content_type, extension, end_mark = _IMAGES[name]
    if end_mark is not None and end_mark not in _tail(file):
        raise FileTruncated(f"the {name} file has no end mark")
    return ContentFacts(content_type, extension, width=width, height=height)


def check_audio(file: BinaryIO, expected_seconds: float | None = None) -> ContentFacts:
    """Read the file as MP3, WAV, M4A, FLAC or Ogg and return what it is.

    :param file: seekable binary file; its position afterwards is undefined.
    :param expected_seconds: length that KIE's details name; give it only where the transfer itself proved nothing
        about the length, since KIE rounds and was seen to be wrong.
    :raises FileDamaged: its subclass says how: empty, truncated, or something else than audio.
    """
    from tinytag import TinyTag, TinyTagException

    head = _head(file)
    form = next((f for f in _AUDIO if f.matches(head)), None)
    if form is None:
        raise FileWrongType(f"audio was expected and {_described(head)} came")
    form.check_whole(file)
    file.seek(0)
    try:
        seconds = TinyTag.get(file_obj=file, tags=False, duration=True, image=False).duration
    except (TinyTagException, *_IMAGE_ERRORS) as e:
        raise FileDamaged(f"the {form.name} file cannot be read: {e}") from e
    if not seconds or seconds <= 0:
        raise FileDamaged(f"the {form.name} file holds no sound")
    if expected_seconds and seconds < expected_seconds * _DURATION_SHARE:
        raise FileTruncated(f"the track plays {seconds:.0f} s of the {expected_seconds:.0f} s that KIE names")
    return ContentFacts(form.content_type, form.extension, duration_seconds=round(seconds, 3))


@dataclass(frozen=True)
class _AudioForm:
    name: str
    content_type: str
    extension: str
    matches: Callable[[bytes], bool]
    check_whole: Callable[[BinaryIO], None]


def _is_mp3(head: bytes) -> bool:
    # A frame starts with eleven set bits; layer bits 00 are AAC (ADTS), a version of 01 is reserved.
    frame = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    return head.startswith(b"ID3") or (frame and head[1] & 0x06 != 0 and head[1] & 0x18 != 0x08)


def _check_riff(file: BinaryIO) -> None:
    if not _riff_is_whole(file):
        raise FileTruncated("the WAV file is shorter than its header says")


def _check_mp4(file: BinaryIO) -> None:
    """Walk the top-level boxes: all must fit into the file, one must describe the sound, none a picture."""
    size, position, described = _size(file), 0, False
    while position < size:
        file.seek(position)
        header = file.read(16)
        length, kind = _box(header, size - position)
        if length < 8 or position + length > size:
            raise FileTruncated("the M4A file ends inside one of its parts")
        if kind == b"moov":
            described = True
            file.seek(position)
            if b"vide" in file.read(min(length, _MOOV_LIMIT)):
                raise FileWrongType("audio was expected and a video came")
        position += length
    if not described:
        raise FileTruncated("the M4A file has no description of its sound")


def _box(header: bytes, remaining: int) -> tuple[int, bytes]:
    if len(header) < 8:
        return 0, b""
    length, kind = struct.unpack(">I4s", header[:8])
    if length == 1 and len(header) == 16:  # a 64-bit length follows
        length = struct.unpack(">Q", header[8:])[0]
    return (remaining if length == 0 else length), kind  # 0: up to the end of the file


def _vouches_for_nothing(file: BinaryIO) -> None:
    """MP3, FLAC and Ogg are streams: where they end, they end. The transfer's length has to vouch for them."""


_AUDIO = (
    _AudioForm(
        "WAV",
        "audio/wav",
        "wav",
        lambda h: h.startswith((b"RIFF", b"RIFX")) and h[8:12] == b"WAVE",
        _check_riff,
    ),
    _AudioForm("FLAC", "audio/flac", "flac", lambda h: h.startswith(b"fLaC"), _vouches_for_nothing),
    _AudioForm("Ogg", "audio/ogg", "ogg", lambda h: h.startswith(b"OggS"), _vouches_for_nothing),
    _AudioForm("M4A", "audio/mp4", "m4a", lambda h: h[4:8] == b"ftyp", _check_mp4),
    _AudioForm("MP3", "audio/mpeg", "mp3", _is_mp3, _vouches_for_nothing),
)

# What comes instead of media, recognised by its start, to be named in the error.
_KNOWN_TEXTS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"<svg",), "an SVG drawing (it can carry scripts and is not stored)"),
    ((b"<!doctype html", b"<html", b"<head", b"<body"), "a web page"),
    ((b"<?xml", b"<"), "XML"),
    ((b"{", b"["), "JSON"),
)
_KNOWN_MEDIA: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"\x89PNG", b"\xff\xd8\xff"), "an image"),
    ((b"GIF8",), "a GIF image"),
    ((b"%PDF",), "a PDF"),
    ((b"PK\x03\x04",), "a ZIP archive"),
    ((b"\x1f\x8b",), "gzip data"),
)


def _described(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text and text.startswith(b"<"):
        return "an SVG drawing (it can carry scripts and is not stored)"
    for starts, name in _KNOWN_MEDIA:
        if head.startswith(starts):
            return name
    for starts, name in _KNOWN_TEXTS:
        if text.startswith(starts):
            return name
    if any(form.matches(head) for form in _AUDIO):
        return "audio"
    return "something unknown"


def _raster_format(head: bytes) -> str | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "WEBP" if head.startswith(b"RIFF") and head[8:12] == b"WEBP" else None


def _decode(file: BinaryIO, step: str) -> tuple[str, tuple[int, int]]:
    from PIL import Image

    file.seek(0)
    with _long_texts(), Image.open(file, formats=tuple(_IMAGES)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        getattr(image, step)()
        return str(image.format), image.size


@contextmanager
def _long_texts() -> Iterator[None]:
    """Let a PNG carry more than a packed megabyte of text, such as XMP: Pillow would call the whole image broken."""
    from PIL import PngImagePlugin

    before = PngImagePlugin.MAX_TEXT_CHUNK
    PngImagePlugin.MAX_TEXT_CHUNK = _MAX_TEXT
    try:
        yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK = before


def _sounds_truncated(words: str) -> bool:
    return "truncated" in words.lower()


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    head = file.read(_HEAD)
    if not head:
        raise FileEmpty("0 bytes came")
    return head


def _tail(file: BinaryIO) -> bytes:
    file.seek(max(0, _size(file) - _TAIL))
    return file.read(_TAIL)


def _size(file: BinaryIO) -> int:
    file.seek(0, os.SEEK_END)
    return file.tell()


def _riff_is_whole(file: BinaryIO) -> bool:
    file.seek(0)
    header = file.read(8)
    order = ">" if header.startswith(b"RIFX") else "<"
    announced = int(struct.unpack(f"{order}I", header[4:8])[0])
    # Streaming encoders write 0 or all ones where they do not know the length yet.
    return announced in {0, 0xFFFFFFFF} or _size(file) >= announced + 8


def text_file(text: str) -> io.BytesIO:
    """Return lyrics as the UTF-8 file that is stored.

    :raises FileEmpty: when the text holds nothing.
    """
    if not text.strip():
        raise FileEmpty("the lyrics are empty")
    return io.BytesIO(text.replace("\r\n", "\n").rstrip().encode() + b"\n")
