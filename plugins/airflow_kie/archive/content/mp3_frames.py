"""How long an MP3 file plays, frame by frame, and how long its own header says that it should.

An encoder that knows the length writes the number of frames into the first one ("Xing" or "Info"). Players and tag
readers believe that number, so a file that was cut at its source still claims its full length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# 14 hours of music; each frame is looked at, at about a million a second.
MAX_FRAMES = 2_000_000
_PIECE = 256 * 1024
# Bytes that are in no frame, in the whole file: damaged frames are passed over.
_LOST_BYTES = 1024 * 1024

# Kilobits a second by the four bits of a frame's header; 0 (free) and 15 (bad) have no length that can be known.
_V1_L1 = (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0)
_V1_L2 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0)
_V1_L3 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_V2_L1 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0)
_V2_L23 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_BITRATES = {
    (True, 1): _V1_L1, (True, 2): _V1_L2, (True, 3): _V1_L3,
    (False, 1): _V2_L1, (False, 2): _V2_L23, (False, 3): _V2_L23,
}  # fmt: skip
# By the two bits of the version: 2.5, reserved, 2, 1.
_SAMPLE_RATES = ((11025, 12000, 8000), (0, 0, 0), (22050, 24000, 16000), (44100, 48000, 32000))


@dataclass(frozen=True)
class Mp3Length:
    """How long a file plays.

    :param seconds: what its frames come to.
    :param announced_seconds: what its own header says, None where it says nothing.
    """

    seconds: float
    announced_seconds: float | None


@dataclass(frozen=True)
class _Frame:
    version: int
    layer: int
    rate: int
    mono: bool
    length: int

    @property
    def samples(self) -> int:
        if self.layer == 1:
            return 384
        return 576 if self.layer == 3 and self.version != 3 else 1152

    @property
    def xing_at(self) -> int:
        """Where the encoder's own header stands in the frame, behind the side information."""
        if self.version == 3:
            return 21 if self.mono else 36
        return 13 if self.mono else 21


def mp3_length(file: BinaryIO) -> Mp3Length | None:
    """Return how long the file plays, None where it cannot be walked (no frames, free bitrate, more than 14 hours).

    :param file: seekable binary file; its position afterwards is undefined.
    """
    seconds, announced, frames = 0.0, None, 0
    for frame, head in _frames(file):
        frames += 1
        if frames == 1 and (count := _announced_frames(frame, head)) is not None:
            announced = count * frame.samples / frame.rate
            continue  # this frame holds the header and no sound
        if frames > MAX_FRAMES:
            return None
        seconds += frame.samples / frame.rate
    return Mp3Length(seconds, announced) if seconds else None


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
        if at + frame.length > start + len(data) and not _reaches(file, at + frame.length):
            return  # the last frame is not whole
        yield frame, head
        at += frame.length


def _reaches(file: BinaryIO, end: int) -> bool:
    file.seek(end - 1)
    return bool(file.read(1))


def _frame(head: bytes) -> _Frame | None:
    """Return the frame that begins here, or None."""
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate_bits, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate_bits == 3:
        return None
    kilobits, rate = _BITRATES[version == 3, layer][bits], _SAMPLE_RATES[version][rate_bits]
    if not kilobits:
        return None
    if layer == 1:
        length = (12_000 * kilobits // rate + padding) * 4
    else:
        slots = 72_000 if layer == 3 and version != 3 else 144_000
        length = slots * kilobits // rate + padding
    return _Frame(version, layer, rate, head[3] >> 6 == 3, length)


def _announced_frames(frame: _Frame, head: bytes) -> int | None:
    """Return the number of frames that a Xing or Info header names, or None."""
    header = head[frame.xing_at :]
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
