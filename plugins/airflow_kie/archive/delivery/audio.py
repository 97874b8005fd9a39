"""The two files of a track: KIE's WAV without tags, sample by sample, and an MP3 for listening with all of them."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Mapping
from importlib import import_module
from typing import Any, BinaryIO

from airflow_kie.archive.delivery.rules import Sound
from airflow_kie.client.errors import FileDamaged, FileWrongType

_PIECE = 1024 * 1024
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_STREAMED = 0xFFFFFFFF


def untagged_wav(source: BinaryIO, out: BinaryIO) -> Sound:
    """Copy a WAV file's sound, sample by sample, and nothing else of it; return what it is.

    :param source: seekable binary file, at any position.
    :param out: empty binary file.
    :raises FileDamaged: its subclass says how: no WAV, no sound, cut off.
    """
    form, start, size, _ = _chunks(source)
    sound = _sound(form)
    padding = size % 2
    out.write(b"RIFF" + struct.pack("<I", 4 + 8 + len(form) + 8 + size + padding) + b"WAVE")
    out.write(b"fmt " + struct.pack("<I", len(form)) + form)
    out.write(b"data" + struct.pack("<I", size))
    source.seek(start)
    left = size
    while left:
        piece = source.read(min(left, _PIECE))
        out.write(piece)
        left -= len(piece)
    out.write(b"\0" * padding)
    return sound


def sound_of(source: BinaryIO) -> Sound:
    """Return what a WAV file is, read from its content.

    :raises FileDamaged: as :func:`untagged_wav`.
    """
    form, _, _, others = _chunks(source)
    plain = _sound(form)
    return Sound(plain.content_type, plain.rate, plain.depth, plain.channels, tagged=bool(others))


def tagged_mp3(
    source: BinaryIO, out: BinaryIO, tags: Mapping[str, str], *, lyrics: str = "", cover: bytes = b""
) -> None:
    """Copy an MP3 file with new tags in place of its own; its frames stay as they are.

    :param source: seekable binary file.
    :param out: empty binary file that can be read and written.
    :param tags: ID3 frame to text, such as ``{"TIT2": "Title", "COMM": "KIE task …"}``; empty texts are left out.
    :param lyrics: of the song.
    :param cover: JPEG.
    :raises FileWrongType: when it is not an MP3.
    :raises ImportError: without mutagen, which the extra ``delivery`` brings.
    """
    from mutagen import MutagenError

    id3, mp3 = (_untyped(f"mutagen.{name}") for name in ("id3", "mp3"))

    source.seek(0)
    shutil.copyfileobj(source, out, _PIECE)
    out.seek(0)
    try:
        file = mp3.MP3(out)
    except MutagenError as e:
        raise FileWrongType("the take is not an MP3, so it has no tagged copy for listening") from e
    file.delete(out)
    new = id3.ID3()
    for frame, text in tags.items():
        if text:
            new.add(getattr(id3, frame)(encoding=id3.Encoding.UTF8, text=[text], **_COMMENT.get(frame, {})))
    if lyrics:
        new.add(id3.USLT(encoding=id3.Encoding.UTF8, lang="XXX", desc="", text=lyrics))
    if cover:
        new.add(id3.APIC(encoding=id3.Encoding.UTF8, mime="image/jpeg", type=3, desc="Cover", data=cover))
    out.seek(0)
    new.update_to_v23()  # some players do not read 2.4
    new.save(out, v2_version=3)


def _untyped(name: str) -> Any:
    return import_module(name)


_COMMENT = {"COMM": {"lang": "XXX", "desc": ""}}


def _chunks(source: BinaryIO) -> tuple[bytes, int, int, list[bytes]]:
    """Return a WAV file's format, where its sound begins, its bytes, and the names of everything else in it."""
    length = source.seek(0, 2)
    source.seek(0)
    head = source.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise FileWrongType("a WAV file was expected, but something else came")
    form, start, size, others = b"", 0, 0, []
    position = 12
    while position + 8 <= length:
        source.seek(position)
        name, announced = struct.unpack("<4sI", source.read(8))
        if name == b"fmt " and announced <= 1024:
            form = source.read(announced)
        elif name == b"data":
            start = position + 8
            size = length - start if announced == _STREAMED else announced
            if start + size > length:
                raise FileDamaged("the WAV file is shorter than its header says")
            announced = size
        else:
            others.append(name)
        position += 8 + announced + announced % 2
    if len(form) < 16 or not size:
        raise FileDamaged("the WAV file has no audio")
    return form, start, size, others


def _sound(form: bytes) -> Sound:
    kind, channels, rate, _, _, depth = struct.unpack("<HHIIHH", form[:16])
    if kind not in {_PCM, _FLOAT, _EXTENSIBLE}:
        raise FileWrongType("the WAV file is compressed, which no distributor accepts")
    return Sound("audio/wav", rate, depth, channels, tagged=False)
