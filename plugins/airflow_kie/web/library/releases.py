"""The page of a release: what is missing, its cover and tracks, and all of it as a zip.

A release is requested on the library's page, which triggers DAG `deliver_songs` through Airflow's public API, with the
rights of who uses it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.records import Release, ReleaseManifest
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.archive.manifest import FileRecord
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.client.task_ids import KeyRefused
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.web.library.download import Sink, ZipFolder, put_file
from airflow_kie.web.own_threads import PageRouter, streamed
from airflow_kie.web.pages.changes import page_dependencies
from airflow_kie.web.pages.files import disposition, file_answer
from airflow_kie.web.pages.queries import Place
from airflow_kie.web.pages.responses import HEADERS, NothingToShow, address, page_answer
from airflow_kie.web.pages.routes import place_of
from airflow_kie.web.pages.shown_files import ShownFile, cut, day
from airflow_kie.web.pages.view_model import SongPage, State

DELIVER_DAG_ID = "deliver_songs"
_OF_TRACK = re.compile(r"tracks\[(\d+)\]\.(.+)")
_SHOWN = ("artist", "label", "upc", "genre", "language", "release_date", "p_line", "c_line", "cover_upscaled_with")


def add_releases(app: FastAPI) -> None:
    """Add the routes to the app that is mounted in the api-server."""
    router = PageRouter(dependencies=page_dependencies(SONG_PAGES_DAG_ID))
    router.add_api_route("/releases/{name}", release)
    router.add_api_route("/releases/{name}/zip", whole)
    router.add_api_route("/releases/{name}/files/{file}", one_file)
    app.include_router(router, include_in_schema=False)


def release(request: Request, name: str, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Show a release."""
    keys, page = _page(place, name)
    return page_answer(
        request,
        "song.html",
        scripts=("texts.js",),
        key="",
        may_extend=False,
        may_label=False,
        extras_open=False,
        page=page,
        stored_in=f"s3://{place.bucket}/{keys.folder}",
        choice=None,
        may_change=False,
        can_be_retried=False,
        of_song="",
        files=address(request, "releases", name, "files"),
        whole=address(request, "releases", name, "zip"),
        of_run="",
    )


def one_file(
    request: Request, name: str, file: str, place: Annotated[Place, Depends(place_of)], download: str = ""
) -> Response:
    """Send a file of a release."""
    _, page = _page(place, name)
    found = next((shown for shown in page.files if shown.name == file), None)
    if found is None:
        raise NothingToShow("File not found", "The release's page lists its files.")
    return file_answer(request, place.open(), page, found, download=bool(download))


def whole(name: str, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Send a release as a zip."""
    _, page = _page(place, name)
    headers = {"Content-Disposition": disposition("release.zip", f"{name}.zip"), "Cache-Control": "no-store", **HEADERS}
    return StreamingResponse(streamed(_zipped(place.open(), page)), 200, headers, "application/zip")


def _zipped(bucket: Bucket, page: SongPage) -> Iterator[bytes]:
    sink, folder = Sink(), ZipFolder(page.music_task_id, page)
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for file in page.files:
            yield from put_file(archive, sink, bucket, folder, file)
        if folder.missing:
            archive.writestr(f"{folder.name}/MISSING.txt", "\n".join([*folder.missing, ""]))
    yield sink.taken()


def _page(place: Place, name: str) -> tuple[ReleaseKeys, SongPage]:
    """Return a release's keys and what is shown of it."""
    try:
        keys = ReleaseKeys(place.prefix, name)
    except KeyRefused as error:
        raise NothingToShow("Not a release's name", str(error.facts.message)) from error
    bucket = place.open()
    manifest = ReleaseManifest.read(bucket, keys)[0]
    if manifest is None:
        raise NothingToShow(
            "This release is not finished",
            "While DAG deliver_songs makes it, reload this page. If its run has failed, the failed task's log gives "
            "the reason; if no run has this name, nobody has requested it.",
        )
    where = keys.file("metadata.json")
    known = Release.from_json(bucket.get_json(where), bucket.url(where))
    return keys, _view(keys, manifest, known)


def _view(keys: ReleaseKeys, manifest: ReleaseManifest, known: Release) -> SongPage:
    titles = {
        name: f"{track.position}. {track.title or track.music_task_id}"
        for track in known.tracks
        for name in (track.wav, track.mp3)
        if name
    }
    files = tuple(
        ShownFile(
            FileRecord(
                key=keys.file(file.name),
                kind="delivered",
                position=n,
                size=file.size,
                sha256=file.sha256,
                content_type=file.content_type,
                archived_at=manifest.delivered_at,
            ),
            file.name,
            f"{cut(titles[file.name])} ({file.name.rpartition('.')[2].upper()})" if file.name in titles else file.name,
        )
        for n, file in enumerate(manifest.files, 1)
    )
    facts = [(name.replace("_", " ").capitalize(), str(getattr(known, name) or "")) for name in _SHOWN]
    facts.append(("Delivered", day(manifest.delivered_at)))
    lacks = len(manifest.missing)
    empty = f"{counted(lacks, 'field')} that distributors require {'is' if lacks == 1 else 'are'} empty"
    return SongPage(
        music_task_id=keys.name,
        title=cut(known.title or keys.name),
        state=State.ARCHIVED,
        sentence=f"{empty}: see metadata.json, or below." if lacks else "All fields that distributors require are set.",
        subtitle=f"Release {keys.name}, {counted(len(known.tracks), 'track')}",
        files=files,
        facts=tuple((name, cut(text)) for name, text in facts if text),
        warnings=tuple(map(cut, lacking(manifest.missing))),
        run=(manifest.airflow.dag_id, manifest.airflow.run_id)
        if manifest.airflow.dag_id and manifest.airflow.run_id
        else None,
    )


def lacking(missing: Iterable[str]) -> Iterator[str]:
    """Yield what a release lacks: a sentence for itself, and one for the tracks that lack the same.

    :param missing: names of fields, such as ``title`` or ``tracks[1].genre``.
    """
    fields: dict[str, list[str]] = {}
    for name in missing:
        found = _OF_TRACK.fullmatch(name)
        fields.setdefault(found[1] if found else "", []).append(found[2] if found else name)
    if own := fields.pop("", None):
        yield f"metadata.json lacks {', '.join(own)}."
    same: dict[str, list[str]] = {}
    for track, names in fields.items():
        same.setdefault(", ".join(names), []).append(track)
    for names_of, tracks in same.items():
        yield f"For {'track' if len(tracks) == 1 else 'tracks'} {', '.join(tracks)} it lacks {names_of}."
