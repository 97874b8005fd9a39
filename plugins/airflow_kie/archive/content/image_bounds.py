"""What an image would cost to decode, read from its structure alone: pixels, frames, scans, parts.

A small file can make a decoder work for hours or take gigabytes: a JPEG of many progressive scans over many pixels, a
WebP or PNG of many frames, a chunk of text that unpacks a thousandfold. So the structure is read first, and a file
beyond the bounds is refused before anything of it is decoded. The bounds are in SECURITY.md too.
"""

from __future__ import annotations

import re
import struct
import zlib

from airflow_kie.client.errors import FileDamaged, FileTruncated, FileWrongType

# KIE's covers have 1024 x 1024 pixels; this is 4096 x 4096 and a little more. A WebP decoder holds four copies.
MAX_PIXELS = 20_000_000
# Encoders write a chunk for each 8 KiB to 64 KiB.
MAX_PARTS = 20_000
# Encoders write 10 scans, those for the smallest files about 20. Each scan passes over all pixels.
MAX_SCANS = 50
MAX_SCANNED_PIXELS = 400_000_000
# Programs append a few bytes (padding, thumbnails) after an image's end mark.
MAX_TAIL = 65_536


def decodable(form: str, data: bytes) -> bytes:
    """Return what of an image has to be decoded, after every bound was checked.

    :param form: PNG, JPEG or WEBP, by the file's first bytes.
    :param data: the whole file.
    :raises FileDamaged: its subclass says how: truncated, or beyond a bound (FileWrongType).
    """
    return {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp}[form](data)


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise FileWrongType(
            f"the image has {width:,} x {height:,} pixels, more than the {MAX_PIXELS:,} that are decoded"
        )
    if not width or not height:
        raise FileDamaged("the image has no pixels")


def _check_tail(length: int) -> None:
    if length > MAX_TAIL:
        raise FileWrongType(f"{length:,} bytes follow the end of the image")


def _too_many_parts(form: str) -> FileWrongType:
    return FileWrongType(f"the {form} file has more than {MAX_PARTS:,} parts")


# --- PNG ---

_PNG_DECODED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})


def _png(data: bytes) -> bytes:
    """Check the chunks with their checksums, and leave out texts and colour profiles: Pillow would unpack them."""
    needed: list[bytes | memoryview] = [data[:8]]
    at = 8
    for number in range(MAX_PARTS):
        kind, chunk = _png_chunk(data, at)
        if (number == 0) != (kind == b"IHDR"):
            raise FileDamaged("the PNG file does not begin with one header")
        if kind == b"IHDR":
            _check_pixels(*(struct.unpack(">II", chunk[8:16]) if len(chunk) == 25 else (0, 0)))
        if kind in _PNG_DECODED:
            needed.append(chunk)
        at += len(chunk)
        if kind == b"IEND":
            _check_tail(len(data) - at)
            return b"".join(needed)
    raise _too_many_parts("PNG")


def _png_chunk(data: bytes, at: int) -> tuple[bytes, memoryview]:
    """Return a chunk's kind, and the whole of it."""
    length, kind = struct.unpack_from(">I4s", data, at) if at + 12 <= len(data) else (0, b"")
    chunk = memoryview(data)[at : at + length + 12]
    if len(chunk) < length + 12:
        raise FileTruncated("the PNG file ends inside one of its parts")
    if kind == b"acTL":
        raise FileWrongType("the PNG file is animated; a still image was expected")
    if kind[:1].isupper() and kind not in _PNG_DECODED:
        raise FileDamaged(f"the PNG file has the unknown part {kind!r}")
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
        raise FileDamaged(f"the part {kind.decode('latin-1')!r} of the PNG file has a wrong checksum")
    return kind, chunk


# --- JPEG ---

# A marker inside the data of a scan: not a stuffed FF00, a restart mark or fill bytes.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END, _WITHOUT_LENGTH = 0xDA, 0xD9, frozenset({0x01, 0xD8})


def _jpeg(data: bytes) -> bytes:
    """Check the segments and count the scans."""
    width = height = scans = 0
    at = 2
    for _ in range(MAX_PARTS):
        marker, at, segment = _jpeg_segment(data, at)
        if marker == _END:
            _check_pixels(width, height)
            if data[at : at + 3] != b"\xff\xd8\xff":  # other images may follow, such as a map of highlights
                _check_tail(len(data) - at)
            return data
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", segment[3:7].ljust(4, b"\x00"))
            _check_pixels(width, height)
        if marker == _START_OF_SCAN:
            scans += 1
            _check_scans(scans, width, height)
    raise _too_many_parts("JPEG")


def _check_scans(scans: int, width: int, height: int) -> None:
    if scans > MAX_SCANS or scans * width * height > MAX_SCANNED_PIXELS:
        raise FileWrongType(
            f"the JPEG file has {scans} scans or more of {width:,} x {height:,} pixels; at most {MAX_SCANS} scans and "
            f"{MAX_SCANNED_PIXELS:,} pixels in all are decoded"
        )


def _jpeg_segment(data: bytes, at: int) -> tuple[int, int, bytes]:
    """Return the next marker, where its segment ends, and the segment; data of a scan may come before it."""
    found = _MARKER.search(data, at)
    if found is None:
        raise FileTruncated("the JPEG file has no end marker")
    start = found.end()
    marker = data[start - 1]
    if marker == _END or marker in _WITHOUT_LENGTH:
        return marker, start, b""
    end = start + int.from_bytes(data[start : start + 2], "big")
    return marker, end, data[start:end]


# --- WebP ---


def _webp(data: bytes) -> bytes:
    """Check the chunks; a canvas larger than the image in it counts."""
    end = int.from_bytes(data[4:8], "little") + 8
    if end > len(data):
        raise FileTruncated("the WebP file is shorter than its header says")
    _check_tail(len(data) - end)
    at, width, height = 12, 0, 0
    for _ in range(MAX_PARTS):
        if at + 8 > end:
            _check_pixels(width, height)
            return data
        kind, length = struct.unpack_from("<4sI", data, at)
        at += 8
        if at + length > end:
            raise FileTruncated("the WebP file ends inside one of its parts")
        head = data[at : at + min(length, 10)].ljust(10, b"\x00")
        if kind in (b"ANIM", b"ANMF") or (kind == b"VP8X" and head[0] & 0x02):
            raise FileWrongType("the WebP file is animated; a still image was expected")
        wide, high = _webp_pixels(kind, head)
        width, height = max(width, wide), max(height, high)
        at += length + length % 2
    raise _too_many_parts("WebP")


def _webp_pixels(kind: bytes, head: bytes) -> tuple[int, int]:
    """Return the pixels that a chunk names (developers.google.com/speed/webp/docs/riff_container)."""
    if kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8 ":  # the two highest bits are a scale for the screen
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return 0, 0
