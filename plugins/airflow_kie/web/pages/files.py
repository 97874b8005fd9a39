"""One archived file through the api-server: in pieces, in ranges, under a harmless type and name.

Memory holds one piece at a time, whatever the size of the file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from airflow_kie.archive.manifest import FileRecord
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3StoredWrong, s3_errors
from airflow_kie.web.own_threads import streamed
from airflow_kie.web.pages.responses import HEADERS
from airflow_kie.web.pages.shown_files import ShownFile
from airflow_kie.web.pages.view_model import SongPage

_PIECE_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_NAME_CHARACTERS, _NAME_BYTES = 80, 200
_FORBIDDEN_IN_NAMES = '\\/:*?"<>|%'
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""Whatever the bytes are: a page of their own can neither run nor load anything."""


class RangeNotSatisfiable(Exception):
    """The range lies outside of the file."""


def file_answer(request: Request, bucket: Bucket, page: SongPage, file: ShownFile, *, download: bool) -> Response:
    """Return a file or the part of it that is requested; type and size are the manifest's, not S3's.

    :raises S3Error: when S3 does not give it; its subclass says why.
    """
    record, tag = file.record, etag(file.record)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", **HEADERS}  # asked again: a login may have ended
    if request.headers.get("if-none-match") == tag and "range" not in request.headers:
        return Response(status_code=304, headers=headers)
    try:
        part = part_of(record, request.headers.get("range"), request.headers.get("if-range"))
    except RangeNotSatisfiable:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{record.size}"})
    headers |= {
        "Content-Type": record.content_type,
        "Content-Length": str(record.size if part is None else len(part)),
        "Content-Disposition": disposition_of(page, file, download=download),
        "Accept-Ranges": "bytes",
        "Content-Security-Policy": FILE_POLICY,
    }
    if part:
        headers["Content-Range"] = f"bytes {part[0]}-{part[-1]}/{record.size}"
    return StreamingResponse(streamed(stream(bucket, record, part)), 206 if part else 200, headers)


def part_of(file: FileRecord, range_header: str | None, if_range: str | None) -> range | None:
    """Return which bytes are requested; several ranges, and an invalid one, mean the whole file: None (RFC 9110).

    :raises RangeNotSatisfiable: when the range begins behind the file's end.
    """
    found = _RANGE.fullmatch(range_header or "")
    if not found or found.groups() == ("", "") or (if_range and if_range != etag(file)):
        return None
    first, last = found.groups()
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, file.size - int(last))
    part = range(start, min(int(last) + 1, file.size) if first and last else file.size)
    if not part:
        raise RangeNotSatisfiable
    return part


def etag(file: FileRecord) -> str:
    """Return the file's entity tag: its SHA-256."""
    return f'"{file.sha256}"'


def disposition_of(song: SongPage, file: ShownFile, *, download: bool) -> str:
    """Return how a browser takes the file, with the name under which it is saved (RFC 6266, RFC 5987)."""
    how = "attachment" if download or file.record.kind == "lyrics" else "inline"
    return disposition(file.name, saved_name(song, file), how)


def disposition(plain: str, name: str, how: str = "attachment") -> str:
    """Return how a browser takes a file.

    :param plain: its name for browsers that know ASCII alone.
    :param name: the name under which it is saved.
    :param how: attachment or inline.
    """
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def saved_name(song: SongPage, file: ShownFile) -> str:
    """Return a file name that says whose file it is, without characters that file systems and terminals misread."""
    return f"{safe_title(song)} - {file.name}"


def safe_title(song: SongPage) -> str:
    """Return what a song's files and folders are called, without such characters; its id where nothing is left."""
    kept = "".join(
        character if not unicodedata.category(character).startswith(("C", "Z")) else " "
        for character in unicodedata.normalize("NFC", song.title)
        if character not in _FORBIDDEN_IN_NAMES
    )
    shown = " ".join(kept.split())[:_NAME_CHARACTERS].encode()[:_NAME_BYTES].decode(errors="ignore")
    return shown.strip(" .-") or song.music_task_id


def stream(bucket: Bucket, file: FileRecord, part: range | None = None) -> Iterator[bytes]:
    """Ask S3 for a file, or a part of it; return its pieces, which close the connection at their end.

    :raises S3Error: when S3 does not give it; its subclass says why.
    :raises S3StoredWrong: when S3 has another size than the manifest says.
    """
    asked, size = bucket.read_arguments, file.size
    if part:
        asked["Range"], size = f"bytes={part[0]}-{part[-1]}", len(part)
    with s3_errors("GetObject", bucket.name, file.key, bucket.principal):
        answer = bucket.client.get_object(Bucket=bucket.name, Key=file.key, **asked)
    body = answer["Body"]
    if answer["ContentLength"] != size:
        body.close()
        came = f"{size} bytes are archived, {answer['ContentLength']} came"
        raise S3StoredWrong(f"GetObject on {bucket.url(file.key)}: {came}")

    def pieces() -> Iterator[bytes]:
        with body, s3_errors("GetObject", bucket.name, file.key, bucket.principal):
            yield from body.iter_chunks(_PIECE_BYTES)

    return pieces()
