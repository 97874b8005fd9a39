"""How long an MP3 file plays, frame by frame, and how long its own header says that it should.

An encoder that knows the length writes the number of frames into the first one ("Xing" or "Info"). Players and tag
readers believe that number, so a file that was cut at its source still claims its full length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# 14 hours of music; each frame is read, at about a million a second.
MAX_FRAMES = 2_000_000
_PIECE = 256 * 1024
# Bytes that are in no frame, in the whole file: damaged frames are passed over.
_LOST_BYTES = 1024 * 1024

# Layer III: kilobits a second by four bits of a frame's header; 0 (free) and 15 (bad) have no length that can be known.
_BITRATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_BITRATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
# By the two bits of the version: 2.5, reserved, 2, 1.
_SAMPLE_RATES = ((11025, 12000, 8000), (0, 0, 0), (22050, 24000, 16000), (44100, 48000, 32000))


class _Frame(NamedTuple):
    seconds: float
    length: int
    xing_at: int
    """Where the encoder's own header is in the frame, behind the side information."""


def mp3_length(file: BinaryIO) -> tuple[float, float | None] | None:
    """Return how many seconds the frames play, and how many the file's own header names, None where it names none.

    :param file: seekable binary file; its position afterwards is undefined.
    :return: None where it cannot be read frame by frame (not Layer III, free bitrate, more than 14 hours).
    """
    seconds, announced = 0.0, None
    for number, (frame, head) in enumerate(_frames(file)):
        if number == 0 and (count := _announced_frames(head[frame.xing_at :])) is not None:
            announced = count * frame.seconds
            continue  # this frame holds the header and no sound
        if number >= MAX_FRAMES:
            return None
        seconds += frame.seconds
    return (seconds, announced) if seconds else None


def _frames(file: BinaryIO) -> Iterator[tuple[_Frame, bytes]]:
    """Yield each frame with its first bytes."""
    at, lost, data, start = _after_id3(file), 0, b"", 0
    while lost < _LOST_BYTES:
        if not start <= at <= start + len(data) - 64:
            file.seek(at)
            start, data = at, file.read(_PIECE)
        head = data[at - start : at - start + 64]
        if len(head) < 4:
            return
        frame = _frame(head)
        if frame is None:
            lost, at = lost + 1, at + 1
            continue
        at += frame.length
        if at > start + len(data) and not (file.seek(at - 1) and file.read(1)):
            return  # the last frame is not whole
        yield frame, head


def _frame(head: bytes) -> _Frame | None:
    """Return the Layer III frame that begins here, or None."""
    if head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, rate_bits, padding, mono = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 1 & 1, head[3] >> 6 == 3
    kilobits = (_BITRATES_1 if version == 3 else _BITRATES_2)[head[2] >> 4]
    if version == 1 or rate_bits == 3 or not kilobits:
        return None
    rate = _SAMPLE_RATES[version][rate_bits]
    if version == 3:
        return _Frame(1152 / rate, 144_000 * kilobits // rate + padding, 21 if mono else 36)
    return _Frame(576 / rate, 72_000 * kilobits // rate + padding, 13 if mono else 21)


def _announced_frames(header: bytes) -> int | None:
    """Return the number of frames that a Xing or Info header names, or None."""
    if header[:4] not in (b"Xing", b"Info") or len(header) < 12 or not header[7] & 1:
        return None
    return int(struct.unpack(">I", header[8:12])[0])


def _after_id3(file: BinaryIO) -> int:
    """Return where the sound begins, behind the tags."""
    at = 0
    for _ in range(16):  # a file can have several
        file.seek(at)
        head = file.read(10)
        if len(head) < 10 or not head.startswith(b"ID3"):
            break
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        at += size + (20 if head[5] & 0x10 else 10)
    return at
