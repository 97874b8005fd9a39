"""Images that would cost a decoder hours or gigabytes are refused before anything of them is decoded."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from airflow_kie.archive.content import image_bounds
from airflow_kie.archive.content.images import check_image
from airflow_kie.client.errors import FileDamaged, FileWrongType
from media_server import picture

MEBIBYTE = 1024 * 1024


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(*chunks: bytes, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a PNG with more chunks behind its header."""
    whole = picture(size=size)
    return whole[:33] + b"".join(chunks) + whole[33:]


def jpeg(size: tuple[int, int] = (64, 48), **how: Any) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, "JPEG", **how)
    return out.getvalue()


def jpeg_of_many_scans(scans: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a progressive JPEG whose last scan comes again and again."""
    whole = jpeg(size, progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * scans + whole[-2:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(parts) + 4) + b"WEBP" + parts


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def animated(form: str) -> bytes:
    frames = [Image.new("RGB", (64, 48), (n * 20, 0, 0)) for n in range(3)]
    out = io.BytesIO()
    frames[0].save(out, form, save_all=True, append_images=frames[1:])
    return out.getvalue()


REFUSED = {
    "JPEG, 12,000 scans": (jpeg_of_many_scans(12_000), "scans or more of"),
    "JPEG, 45 scans of many pixels": (jpeg_of_many_scans(45, (4000, 3000)), "scans or more of"),
    "JPEG, many pixels in its header": (
        b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 60_000, 60_000) + b"\x03" + bytes(9), "pixels"),
    "JPEG, many comments": (jpeg()[:2] + b"\xff\xfe\x00\x02" * 30_000 + jpeg()[2:], "more than 20,000 parts"),
    "WebP, animated": (animated("WEBP"), "animated"),
    "WebP, animated without saying so": (riff(canvas(64, 48), (b"ANMF", bytes(24))), "animated"),
    "WebP, a canvas of many pixels": (riff(canvas(16_384, 16_384), (b"VP8L", bytes(10))), "pixels"),
    "WebP, many pixels, lossless": (riff((b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(20))), "pixels"),
    "WebP, many pixels, lossy": (riff((b"VP8 ", bytes(6) + b"\xff\x3f\xff\x3f")), "pixels"),
    "WebP, many parts": (riff(*[(b"JUNK", b"")] * 30_000), "more than 20,000 parts"),
    "PNG, animated": (animated("PNG"), "animated"),
    "PNG, many parts": (png_with(chunk(b"tEXt", b"a\0b") * 30_000), "more than 20,000 parts"),
    "PNG, many pixels": (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4_473, 4_473, 8, 0, 0, 0, 0)), "pixels"),
    "PNG, much behind its end": (picture() + bytes(70_000), "follow the end"),
    "GIF": (animated("GIF"), "a GIF image came"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_image_beyond_a_bound_is_refused_before_it_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body, why = REFUSED[name]

    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("Pillow was given the file")

    monkeypatch.setattr(Image, "open", decoded)
    with pytest.raises(FileWrongType, match=why):
        check_image(io.BytesIO(body))


@pytest.mark.parametrize(
    "body",
    [
        jpeg(progressive=True, optimize=True),
        jpeg_of_many_scans(20),
        jpeg(restart_marker_blocks=1),
        jpeg() + jpeg(),  # a photograph with a map of its highlights behind it
        jpeg(comment=b"x" * 60_000),
        b"\xff\xd8" + b"\xff\xe1\xff\xfe" + (b"Exif" + jpeg()).ljust(65_532, b"\0") + jpeg()[2:],  # with a thumbnail
        png_with(chunk(b"tEXt", b"Title\0" + b"x" * 3 * MEBIBYTE)),
    ],
)
def test_unusual_images_of_honest_programs_are_taken(body: bytes) -> None:
    assert (check_image(io.BytesIO(body)).width, check_image(io.BytesIO(body)).height) == (64, 48)


def test_a_part_of_a_png_that_nobody_knows_and_that_must_be_known_is_refused() -> None:
    with pytest.raises(FileDamaged, match="unknown part"):
        check_image(io.BytesIO(png_with(chunk(b"ABCD", b""))))


# 2 GiB of text in 2 MiB, for each of the three kinds of parts that unpack.
BOMB = zlib.compress(bytes(64 * MEBIBYTE), 9)
BOMBS = {
    "zTXt": chunk(b"zTXt", b"a\0\0" + BOMB) * 32,
    "iTXt": chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB) * 32,
    "iCCP": chunk(b"iCCP", b"a\0\0" + BOMB),
}

LIMITED = """
import resource, sys
from io import BytesIO
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from airflow_kie.archive.content.images import check_image
body = BytesIO(sys.stdin.buffer.read())
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(check_image(body).content_type)
"""


def checked_within(memory: int, body: bytes) -> str:
    """Check an image in a process that may take so many bytes more than it has."""
    command = [sys.executable, "-c", LIMITED, str(memory)]
    ran = subprocess.run(command, input=body, capture_output=True, timeout=250, check=False)
    return ran.stdout.decode().strip() or ran.stderr.decode()[-400:]


@pytest.mark.parametrize("kind", BOMBS)
def test_texts_that_unpack_a_thousandfold_are_never_unpacked(kind: str) -> None:
    assert checked_within(32 * MEBIBYTE, png_with(BOMBS[kind])) == "image/png"


def largest(form: str, **how: Any) -> bytes:
    side = int(image_bounds.MAX_PIXELS**0.5)
    out = io.BytesIO()
    Image.new("RGBA" if form != "JPEG" else "RGB", (side, side), (9, 99, 199)).save(out, form, **how)
    return out.getvalue()


@pytest.mark.parametrize(
    ("form", "how"),
    [("PNG", {}), ("JPEG", {"progressive": True}), ("WEBP", {"lossless": True, "method": 0}), ("WEBP", {"method": 0})],
)
def test_the_largest_image_is_decoded_within_the_memory_that_security_md_names(form: str, how: dict[str, Any]) -> None:
    assert checked_within(400 * MEBIBYTE, largest(form, **how)).startswith("image/")


def test_pillows_own_limits_stay_as_they_are_while_an_image_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def limits() -> tuple[int, int | None]:
        return PngImagePlugin.MAX_TEXT_CHUNK, Image.MAX_IMAGE_PIXELS

    seen, before, opened = set(), limits(), Image.open

    def watched(*args: Any, **how: Any) -> Any:
        seen.add(limits())
        return opened(*args, **how)

    monkeypatch.setattr(Image, "open", watched)
    check_image(io.BytesIO(picture()))
    assert seen == {before}
