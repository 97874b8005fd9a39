"""One archived file through the api-server: in pieces, in ranges, under a harmless type and name.

Memory holds one piece at a time, whatever the size of the file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3StoredWrong, s3_errors
from airflow_kie.web.pages.view_model import ShownFile, SongPage

_PIECE_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_NAME_CHARACTERS = 80
_FORBIDDEN_IN_NAMES = '\\/:*?"<>|%'
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""Whatever the bytes are: a page of their own can neither run nor load anything."""


@dataclass(frozen=True)
class Slice:
    """A part of a file.

    :param start: first byte.
    :param end: last byte, included.
    :param whole: True for a file that is sent as a whole.
    """

    start: int
    end: int
    whole: bool

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        return self.end - self.start + 1


class RangeNotSatisfiable(Exception):
    """The range lies outside of the file."""


def slice_of(file: ShownFile, range_header: str | None, if_range: str | None) -> Slice:
    """Return which part is asked for; several ranges, and what is no range, mean the whole file (RFC 9110).

    :raises RangeNotSatisfiable: when it begins behind the file's end.
    """
    whole = Slice(0, file.size - 1, whole=True)
    found = _RANGE.fullmatch(range_header or "")
    if not found or found.groups() == ("", "") or (if_range and if_range != etag(file)):
        return whole
    first, last = found.groups()
    if not first:
        if int(last) == 0 or not file.size:
            raise RangeNotSatisfiable
        return Slice(max(0, file.size - int(last)), file.size - 1, whole=False)
    start, end = int(first), min(int(last) if last else file.size - 1, file.size - 1)
    if last and int(last) < start:
        return whole
    if start >= file.size:
        raise RangeNotSatisfiable
    return Slice(start, end, whole=False)


def etag(file: ShownFile) -> str:
    """Return the file's entity tag: its SHA-256."""
    return f'"{file.sha256}"'


def headers_of(file: ShownFile, part: Slice, disposition: str) -> dict[str, str]:
    """Return the headers of an answer with a file: type and size are the manifest's, not S3's."""
    headers = {
        "Content-Type": file.content_type,
        "Content-Length": str(part.size),
        "Content-Disposition": disposition,
        "Accept-Ranges": "bytes",
        "ETag": etag(file),
        "Cache-Control": "private, no-cache",  # asked again each time: a login may have ended
        "Content-Security-Policy": FILE_POLICY,
        **EVERYWHERE,
    }
    if not part.whole:
        headers["Content-Range"] = f"bytes {part.start}-{part.end}/{file.size}"
    return headers


EVERYWHERE: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
}


def disposition_of(song: SongPage, file: ShownFile, *, download: bool) -> str:
    """Return how a browser takes the file, with the name under which it is saved (RFC 6266, RFC 5987)."""
    how = "attachment" if download or file.kind == "lyrics" else "inline"
    return f"{how}; filename=\"{file.name}\"; filename*=UTF-8''{quote(saved_name(song, file), safe='')}"


def saved_name(song: SongPage, file: ShownFile) -> str:
    """Return a file name that says whose file it is, without what file systems and terminals stumble over."""
    kept = "".join(
        character if not unicodedata.category(character).startswith(("C", "Z")) else " "
        for character in unicodedata.normalize("NFC", song.title)
        if character not in _FORBIDDEN_IN_NAMES
    )
    title = " ".join(kept.split())[:_NAME_CHARACTERS].strip(" .-")
    return f"{title or song.music_task_id} - {file.name}"


def opened(bucket: Bucket, file: ShownFile, part: Slice) -> Iterator[bytes]:
    """Ask S3 for a part of a file; return its pieces, which close the connection at their end.

    :raises S3StoredWrong: when S3 has another size than the manifest says.
    :raises S3Error: its subclass says why.
    """
    wanted = bucket.read_arguments
    if not part.whole:
        wanted["Range"] = f"bytes={part.start}-{part.end}"
    with s3_errors("GetObject", bucket.name, file.key, bucket.principal):
        answer = bucket.client.get_object(Bucket=bucket.name, Key=file.key, **wanted)
    if answer["ContentLength"] != part.size:
        answer["Body"].close()
        raise S3StoredWrong(
            f"GetObject on {bucket.url(file.key)}: {part.size} bytes are archived, {answer['ContentLength']} came"
        )
    return _pieces(bucket, file.key, answer["Body"])


def _pieces(bucket: Bucket, key: str, body: Any) -> Iterator[bytes]:
    with body, s3_errors("GetObject", bucket.name, key, bucket.principal):
        yield from body.iter_chunks(_PIECE_BYTES)
