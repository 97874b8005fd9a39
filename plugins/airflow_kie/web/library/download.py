"""Many results as one zip, made while it is sent: memory holds one piece of one file, whatever the zip's size.

Each result has a folder with its files and its manifest. ``index.html`` comes last: it shows and plays the files
without a network, and names what is missing. A result that cannot be read does not stop the others.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from airflow_kie.archive.choice import CHOSEN_KINDS, Choice
from airflow_kie.archive.layout import SongKeys, TaskKeys
from airflow_kie.archive.manifest import Manifest, TaskManifest
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.client.errors import KieError
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.web.library.catalogues import keys_of
from airflow_kie.web.own_threads import PageRouter, streamed
from airflow_kie.web.pages.changes import ChangeRefused, from_our_form, page_dependencies, read_content
from airflow_kie.web.pages.files import safe_title, stream
from airflow_kie.web.pages.queries import Place
from airflow_kie.web.pages.responses import HEADERS, rendered
from airflow_kie.web.pages.routes import place_of
from airflow_kie.web.pages.shown_files import ShownFile
from airflow_kie.web.pages.view_model import SongPage, song_page, task_page

log = logging.getLogger(__name__)

MOST_RESULTS = 500
_ZIP64_BYTES = 1024**3


@dataclass
class ZipFolder:
    """A result in the zip, as its ``index.html`` shows it.

    :param name: of its folder.
    :param page: the result; the chosen files come first.
    :param files: those that are in the zip.
    :param missing: what is not, or not as it was archived.
    """

    name: str
    page: SongPage
    files: list[ShownFile] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def of(self, medium: str) -> list[ShownFile]:
        """Return the files of a medium."""
        return [file for file in self.files if file.record.content_type.startswith(f"{medium}/")]


def add_download(app: FastAPI) -> None:
    """Add the route to the app that is mounted in the api-server."""
    dependencies = [*page_dependencies(SONG_PAGES_DAG_ID), Depends(from_our_form), Depends(read_content)]
    router = PageRouter(dependencies=dependencies)
    router.add_api_route("/library/zip", download, methods=["POST"])
    app.include_router(router, include_in_schema=False)


def download(request: Request, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Send the results of a form's field ``result``, each ``<operation>/<task id>``, as a zip."""
    content: bytes = request.state.kie_content
    asked = dict.fromkeys(parse_qs(content.decode("ascii", "replace"), max_num_fields=2000).get("result", []))
    if not 0 < len(asked) <= MOST_RESULTS:
        raise ChangeRefused(f"Select 1 to {MOST_RESULTS} results.")
    results = [_keys(place, result) for result in asked]
    name = f"kie-library-{datetime.now(UTC):%Y-%m-%d-%H%M}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store", **HEADERS}
    return StreamingResponse(streamed(zipped(place.open(), results)), 200, headers, "application/zip")


def zipped(bucket: Bucket, results: list[SongKeys | TaskKeys]) -> Iterator[bytes]:
    """Yield the pieces of a zip.

    :param results: the keys of the results in it.
    :raises S3Error: in the middle of a file; the zip then ends without its directory, and is not a zip.
    """
    sink, folders, lost = Sink(), [], []
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for keys in results:
            try:
                folder = _begin(archive, bucket, keys)
            except ArchiveUnreadable as error:
                log.warning("A zip lacks %s: %s", keys.name, error)
                lost.append(keys.name)
                continue
            folders.append(folder)
            for file in folder.page.files:
                yield from put_file(archive, sink, bucket, folder, file)
        archive.writestr("index.html", rendered("zip_index.html", folders=folders, lost=lost))
    yield sink.taken()


def _begin(archive: zipfile.ZipFile, bucket: Bucket, keys: SongKeys | TaskKeys) -> ZipFolder:
    """Read a result; put its manifest into the zip, and what is chosen of it."""
    choice, manifest = None, (Manifest if isinstance(keys, SongKeys) else TaskManifest).read(bucket, keys)[0]
    if isinstance(keys, SongKeys) and isinstance(manifest, Manifest):
        choice = Choice.readable(bucket, keys)
        page = song_page(keys, manifest, None, active=False, now=datetime.now(UTC))
    elif isinstance(keys, TaskKeys) and manifest:
        page = task_page(keys, manifest)
    else:
        raise ArchiveUnreadable(f"{bucket.url(keys.manifest)} does not exist")
    chosen = {choice.position_in(manifest.files, name): kind for name, kind in CHOSEN_KINDS.items()} if choice else {}
    files = sorted(page.files, key=lambda file: chosen.get(file.record.position) != file.record.kind)
    folder = ZipFolder(f"{safe_title(page)} - {keys.task_id}", replace(page, files=tuple(files)))
    for name, stored in (("manifest", manifest), ("choice", choice)):
        if stored:
            text = json.dumps(stored.to_json(), ensure_ascii=False, indent=2)
            archive.writestr(f"{folder.name}/{name}.json", f"{text}\n")
    return folder


def put_file(
    archive: zipfile.ZipFile, sink: Sink, bucket: Bucket, folder: ZipFolder, file: ShownFile
) -> Iterator[bytes]:
    """Put a file into a zip, and yield the zip's pieces; what is missing is recorded in the folder.

    :param archive: the zip, which is written to the sink.
    :param folder: the file's folder in it.
    """
    record, digest = file.record, hashlib.sha256()
    try:
        pieces = stream(bucket, record)
    except KieError as error:
        log.warning("A zip lacks a file: %s", error)
        folder.missing.append(f"{file.name}: {error.what}")
        return
    info = zipfile.ZipInfo(f"{folder.name}/{file.name}", record.archived_at.timetuple()[:6])
    with archive.open(info, "w", force_zip64=record.size >= _ZIP64_BYTES) as entry:
        for piece in pieces:
            entry.write(piece)
            digest.update(piece)
            yield sink.taken()
    folder.files.append(file)
    if digest.hexdigest() != record.sha256:
        folder.missing.append(f"{file.name}: its content in the bucket has changed")


class Sink(io.RawIOBase):
    """Keeps what was written until it is taken; it cannot go back, so the zip is written in one pass."""

    def __init__(self) -> None:
        self._pieces = bytearray()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, piece: Any, /) -> int:
        """Keep a piece."""
        self._pieces += piece
        return len(piece)

    def taken(self) -> bytes:
        """Return what was written since."""
        pieces, self._pieces = bytes(self._pieces), bytearray()
        return pieces


def _keys(place: Place, result: str) -> SongKeys | TaskKeys:
    operation, _, task_id = result.partition("/")
    return keys_of(place, operation, task_id)
