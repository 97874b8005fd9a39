"""Is this file complete, and what it should be? One check for each medium."""

from __future__ import annotations

import contextlib
import json
import re
from typing import BinaryIO
from urllib.parse import urlsplit

from airflow_kie.archive.content.audio import TYPES, check_audio
from airflow_kie.archive.content.checks import JSON_FACTS, TEXT_FACTS, ContentFacts, audio_form, described, head_of
from airflow_kie.archive.content.images import IMAGES, check_image, raster_format
from airflow_kie.archive.content.mp4 import check_video
from airflow_kie.client.errors import FileWrongType
from airflow_kie.client.operations.operation import Medium

_STILLS = {b"avif": ("image/avif", "avif"), b"heic": ("image/heic", "heic"), b"mif1": ("image/heif", "heif")}
"""Brands of pictures that have a video's first bytes."""
_ENDING = re.compile(r"\.([a-z0-9]{1,5})$")
_MEDIA = {"gif", "jpeg", "mov", "mp4", *(row[1] for row in (*IMAGES.values(), *TYPES.values(), *_STILLS.values()))}
"""Endings of addresses at which no text is."""


def check(
    medium: Medium,
    file: BinaryIO,
    *,
    url: str,
    expected_seconds: float | None = None,
    asked_seconds: float | None = None,
) -> ContentFacts:
    """Check a downloaded file and return what it is.

    :param medium: what it should be.
    :param file: seekable binary file; its position afterwards is undefined.
    :param url: where it came from; its ending names a file of any medium whose content names none.
    :param expected_seconds: length of audio that KIE's details name.
    :param asked_seconds: length of a video that was requested.
    :raises FileDamaged: its subclass says how: empty, truncated, or something else.
    """
    match medium:
        case Medium.IMAGE:
            return check_image(file)
        case Medium.AUDIO:
            return check_audio(file, expected_seconds)
        case Medium.VIDEO:
            return check_video(file, asked_seconds)
        case Medium.JSON | Medium.TEXT:
            return _document(medium, file)
        case Medium.ANY:
            return _anything(file, url, asked_seconds)


def _document(medium: Medium, file: BinaryIO) -> ContentFacts:
    head = head_of(file)
    file.seek(0)
    try:
        text = file.read().decode("utf-8-sig")
        if medium is Medium.JSON:
            json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileWrongType(f"{medium} was expected, but {described(head)} came") from error
    if medium is Medium.TEXT and described(head) == "a web page":
        raise FileWrongType("a text was expected, but a web page came")
    return JSON_FACTS if medium is Medium.JSON else TEXT_FACTS


def _anything(file: BinaryIO, url: str, asked_seconds: float | None) -> ContentFacts:
    """Name a file by its first bytes, or else by the ending of its address; nothing of it is decoded.

    Of a video its parts are read: they have to be there, as in one that is expected. What a gateway answers in place of
    a file is refused: a web page, unless its address says so, and XML or JSON where it says that it is a medium.
    """
    head = head_of(file)
    if form := raster_format(head):
        return ContentFacts(*IMAGES[form])
    if (sound := audio_form(head)) and (sound != "M4A" or head[8:11] == b"M4A"):
        return ContentFacts(*TYPES[sound])
    if sound and (still := _STILLS.get(head[8:12])):
        return ContentFacts(*still)
    if sound:
        with contextlib.suppress(FileWrongType):  # it has sound alone
            return check_video(file, asked_seconds)
        return ContentFacts("video/mp4", "mp4")
    found = _ENDING.search(urlsplit(url).path.lower())
    ending, text = found[1] if found else "bin", described(head)
    if (text == "a web page" and ending not in ("htm", "html")) or (text in ("XML", "JSON") and ending in _MEDIA):
        raise FileWrongType(f"a file was expected, but {text} came")
    return ContentFacts("application/octet-stream", ending)
