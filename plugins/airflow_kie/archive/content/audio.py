"""Is this file complete audio, and does it play as long as it should?"""

from __future__ import annotations

import re
from typing import BinaryIO, cast

from airflow_kie.archive.content.checks import (
    PARSER_ERRORS,
    ContentFacts,
    audio_form,
    described,
    head_of,
    size_of,
)
from airflow_kie.archive.content.mp4 import description
from airflow_kie.client.errors import FileDamaged, FileTruncated, FileWrongType

# Shorter than this share of what KIE says, a track counts as cut off: KIE rounds, and was seen to be wrong.
_KIES_SHARE = 0.8
# Of what the file's own header says, which is exact.
_OWN_SHARE = 0.98
# A long Ogg file takes some 300,000; this is a few seconds.
MAX_READS = 2_000_000
# Flags, frames, bytes; the two lowest flags say that both numbers are there.
_XING = re.compile(rb"(?:Xing|Info)\x00\x00\x00(.).{4}(.{4})", re.DOTALL)

TYPES = {
    "WAV": ("audio/wav", "wav"),
    "FLAC": ("audio/flac", "flac"),
    "Ogg": ("audio/ogg", "ogg"),
    "M4A": ("audio/mp4", "m4a"),
    "MP3": ("audio/mpeg", "mp3"),
}


def check_audio(file: BinaryIO, expected_seconds: float | None = None) -> ContentFacts:
    """Read the file as MP3, WAV, M4A, FLAC or Ogg and return what it is.

    A file that is shorter than it should be is not an error here, since KIE's own length can be wrong: the facts say
    so. FLAC and Ogg are streams: where they end, they end; the length of the transfer, or KIE's, has to vouch for them.

    :param file: seekable binary file; its position afterwards is undefined.
    :param expected_seconds: length that KIE's details name, None where they name none.
    :raises FileDamaged: its subclass says how: empty, truncated, or something else than audio.
    """
    head = head_of(file)
    form = audio_form(head)
    if form is None:
        raise FileWrongType(f"audio was expected, but {described(head)} came")
    if form == "WAV":
        _check_riff(file, head)
    if form == "M4A" and b"vide" in description(file, "M4A")[0]:
        raise FileWrongType("audio was expected, but a video came")
    seconds = announced = _length(form, file)
    if form == "MP3":
        seconds *= _mp3_share(file)
    shortfall = _shortfall(seconds, announced, expected_seconds)
    return ContentFacts(*TYPES[form], duration_seconds=round(seconds, 3), shortfall=shortfall)


class _Bounded:
    """A file for tinytag, which reads one without frames byte by byte."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, MAX_READS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it needs more than {MAX_READS:,} reads")
        return self._file.read(size)


def _length(form: str, file: BinaryIO) -> float:
    from tinytag import TinyTag, TinyTagException

    file.seek(0)
    try:
        seconds = TinyTag.get(file_obj=cast(BinaryIO, _Bounded(file)), tags=False, duration=True, image=False).duration
    except (TinyTagException, *PARSER_ERRORS) as e:
        raise FileDamaged(f"the {form} file cannot be read: {e}") from e
    if not seconds or seconds <= 0:
        raise FileDamaged(f"the {form} file has no audio")
    return seconds


def _mp3_share(file: BinaryIO) -> float:
    """Return which share of an MP3 file is there, by the number of bytes that its own header names.

    An encoder that knows them writes frames and bytes into the first frame ("Xing" or "Info"). Players and tag readers
    believe the frames, so a file that was cut at its source still claims its full length.
    """
    file.seek(0)
    tag = file.read(10)
    start = 0
    if len(tag) == 10 and tag.startswith(b"ID3"):
        size = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]
        start = size + (20 if tag[5] & 0x10 else 10)
    file.seek(start)
    found = _XING.search(file.read(4096))
    announced = int.from_bytes(found[2], "big") if found and found[1][0] & 3 == 3 else 0
    return min(1.0, (size_of(file) - start) / announced) if announced else 1.0


def _shortfall(seconds: float, announced: float, expected: float | None) -> str | None:
    """Return how much is missing, as a clause, or None."""
    if seconds < announced * _OWN_SHARE:
        return f"the track plays {seconds:.0f} s of the {announced:.0f} s that its own header names"
    if expected and seconds < expected * _KIES_SHARE:
        return f"the track plays {seconds:.0f} s of the {expected:.0f} s that KIE names"
    return None


def _check_riff(file: BinaryIO, head: bytes) -> None:
    announced = int.from_bytes(head[4:8], "big" if head.startswith(b"RIFX") else "little")
    # Streaming encoders write 0 or all ones where they do not know the length yet.
    if announced not in {0, 0xFFFFFFFF} and size_of(file) < announced + 8:
        raise FileTruncated("the WAV file is shorter than its header says")
