"""What an image would cost to decode, read from its structure alone: pixels, frames, scans, chunks.

A small file can ask a decoder for hours or gigabytes: a JPEG of many progressive scans over many pixels, a WebP or PNG
of many frames, a chunk of text that unpacks a thousandfold. So the structure is walked first, in pieces, and a file
beyond the bounds is refused before anything of it is decoded. The bounds stand in SECURITY.md too.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from airflow_kie.client.errors import FileDamaged, FileTruncated, FileWrongType

# KIE's covers have 1024 x 1024 pixels; this is 4096 x 4096 and a little more. A WebP decoder holds four copies.
MAX_PIXELS = 20_000_000
# Of a PNG and a WebP. Encoders write a chunk for each 8 KiB to 64 KiB.
MAX_CHUNKS = 20_000
# Encoders write 10 scans, the thriftiest about 20. Each scan passes over all pixels.
MAX_SCANS = 50
MAX_SCANNED_PIXELS = 400_000_000
# Programs append a few bytes (padding, thumbnails) after an image's end mark.
MAX_TAIL = 65_536

_PIECE = 1024 * 1024


@dataclass(frozen=True)
class ImageParts:
    """What of an image file has to be decoded.

    :param width: pixels.
    :param height: pixels.
    :param ranges: offset and length of each part that the pixels are in, in order; all else is metadata.
    """

    width: int
    height: int
    ranges: tuple[tuple[int, int], ...]


def image_parts(form: str, file: BinaryIO, size: int) -> ImageParts:
    """Return what has to be decoded, after everything that a bound can be set to has been compared with it.

    :param form: PNG, JPEG or WEBP.
    :param file: seekable binary file; its position afterwards is undefined.
    :param size: bytes that it has.
    :raises FileDamaged: its subclass says how: truncated, or beyond a bound (FileWrongType).
    """
    parts = _FORMS[form](file, size)
    _check_pixels(parts.width, parts.height)
    return parts


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise FileWrongType(
            f"the image has {width:,} x {height:,} pixels, more than the {MAX_PIXELS:,} that are decoded"
        )
    if not width or not height:
        raise FileDamaged("the image has no pixels")


# --- PNG ---

_PNG_DECODED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})


def _png(file: BinaryIO, size: int) -> ImageParts:
    """Walk the chunks with their checksums; texts and colour profiles are never unpacked."""
    pixels: tuple[int, int] = (0, 0)
    ranges = [(0, 8)]
    kind = b""
    for number, (kind, at, length) in enumerate(_png_chunks(file, size)):
        if (number == 0) != (kind == b"IHDR"):
            raise FileDamaged("the PNG file does not begin with one header")
        if kind == b"IHDR":
            file.seek(at + 8)
            pixels = struct.unpack(">II", file.read(8)) if length == 13 else (0, 0)
            _check_pixels(*pixels)
        elif kind == b"acTL":
            raise FileWrongType("the PNG file is animated; a still image was expected")
        elif kind[:1].isupper() and kind not in _PNG_DECODED:
            raise FileDamaged(f"the PNG file has the unknown part {kind!r}")
        _check_png_part(file, kind, at, length)
        if kind in _PNG_DECODED:
            ranges.append((at, length + 12))
    if kind != b"IEND":
        raise FileTruncated("the PNG file has no end mark")
    return ImageParts(*pixels, tuple(ranges))


def _png_chunks(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, offset and data length of each chunk up to the end mark."""
    at = 8
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            raise FileTruncated("the PNG file has no end mark")
        length, kind = struct.unpack(">I4s", header)
        if at + length + 12 > size:
            raise FileTruncated("the PNG file ends inside one of its parts")
        yield kind, at, length
        at += length + 12
        if kind == b"IEND":
            _check_tail(size - at)
            return
    raise FileWrongType(f"the PNG file has more than {MAX_CHUNKS:,} parts")


def _check_tail(length: int) -> None:
    if length > MAX_TAIL:
        raise FileWrongType(f"{length:,} bytes follow the end of the image")


def _check_png_part(file: BinaryIO, kind: bytes, at: int, length: int) -> None:
    file.seek(at + 4)
    left, checksum = length + 4, 0
    while left:
        piece = file.read(min(left, _PIECE))
        checksum = zlib.crc32(piece, checksum)
        left -= len(piece)
    if file.read(4) != struct.pack(">I", checksum):
        raise FileDamaged(f"the part {kind.decode('latin-1')!r} of the PNG file has a wrong checksum")


# --- JPEG ---

# A marker inside the data of a scan: not a stuffed FF00, a restart mark or fill bytes.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END, _ALONE = 0xDA, 0xD9, frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})


def _jpeg(file: BinaryIO, size: int) -> ImageParts:
    """Walk the segments and count the scans."""
    pixels, scans, at = (0, 0), 0, 2
    for _ in range(MAX_CHUNKS):
        at = _next_marker(file, at)
        marker, length = _jpeg_segment(file, at)
        if marker == _END:
            _check_jpeg_tail(file, size, at + 2)
            return ImageParts(*pixels, ((0, size),))
        if marker in _FRAMES:
            pixels = _jpeg_pixels(file, at)
        if marker == _START_OF_SCAN:
            scans += 1
            _check_scans(scans, *pixels)
        at += 2 + length
    raise FileWrongType(f"the JPEG file has more than {MAX_CHUNKS:,} parts")


def _check_scans(scans: int, width: int, height: int) -> None:
    if scans > MAX_SCANS or scans * width * height > MAX_SCANNED_PIXELS:
        raise FileWrongType(
            f"the JPEG file passes over its {width:,} x {height:,} pixels {scans} times or more; at most {MAX_SCANS} "
            f"scans and {MAX_SCANNED_PIXELS:,} pixels in all of them are decoded"
        )


def _check_jpeg_tail(file: BinaryIO, size: int, at: int) -> None:
    """Let more images follow, as after a photograph with a map of its highlights; they are not decoded."""
    file.seek(at)
    if file.read(3) != b"\xff\xd8\xff":
        _check_tail(size - at)


def _jpeg_segment(file: BinaryIO, at: int) -> tuple[int, int]:
    """Return a segment's marker and its length without the marker."""
    file.seek(at)
    header = file.read(4)
    if len(header) > 1 and (header[1] in _ALONE or header[1] == _END):
        return header[1], 0
    if len(header) < 4:
        raise FileTruncated("the JPEG file has no end mark")
    return header[1], int(struct.unpack(">H", header[2:])[0])


def _jpeg_pixels(file: BinaryIO, at: int) -> tuple[int, int]:
    file.seek(at + 5)
    height, width = struct.unpack(">HH", file.read(4).ljust(4, b"\x00"))
    _check_pixels(width, height)
    return width, height


def _next_marker(file: BinaryIO, at: int) -> int:
    """Return where the next marker is; before it come the data of a scan, or nothing."""
    wanted = 64
    while True:
        file.seek(at)
        piece = file.read(wanted)
        found = _MARKER.search(piece)
        if found:
            return at + found.start()
        if len(piece) < wanted:
            raise FileTruncated("the JPEG file has no end mark")
        at += len(piece) - 1  # a marker can begin with the last byte
        wanted = min(2 * wanted, _PIECE)


# --- WebP ---


def _webp(file: BinaryIO, size: int) -> ImageParts:
    """Walk the chunks; a canvas larger than the image in it counts."""
    file.seek(4)
    end = int(struct.unpack("<I", file.read(4).ljust(4, b"\x00"))[0]) + 8
    if end > size:
        raise FileTruncated("the WebP file is shorter than its header says")
    _check_tail(size - end)
    at, width, height = 12, 0, 0
    for _ in range(MAX_CHUNKS):
        if at + 8 > end:
            return ImageParts(width, height, ((0, size),))
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        if at + 8 + length > end:
            raise FileTruncated("the WebP file ends inside one of its parts")
        head = file.read(min(length, 10))
        if kind in (b"ANIM", b"ANMF") or (kind == b"VP8X" and head and head[0] & 0x02):
            raise FileWrongType("the WebP file is animated; a still image was expected")
        wide, high = _WEBP_PIXELS[kind](head.ljust(10, b"\x00")) if kind in _WEBP_PIXELS else (0, 0)
        width, height = max(width, wide), max(height, high)
        at += 8 + length + length % 2
    raise FileWrongType(f"the WebP file has more than {MAX_CHUNKS:,} parts")


def _canvas(head: bytes) -> tuple[int, int]:
    return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1


def _lossy(head: bytes) -> tuple[int, int]:
    wide, high = struct.unpack("<HH", head[6:10])
    return wide & 0x3FFF, high & 0x3FFF  # the two highest bits are a scale for the screen


def _lossless(head: bytes) -> tuple[int, int]:
    bits = int.from_bytes(head[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


_WEBP_PIXELS: Mapping[bytes, Callable[[bytes], tuple[int, int]]] = {
    b"VP8X": _canvas,
    b"VP8 ": _lossy,
    b"VP8L": _lossless,
}
"""developers.google.com/speed/webp/docs/riff_container."""

_FORMS: Mapping[str, Callable[[BinaryIO, int], ImageParts]] = {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp}
