"""The song pages: pictures, sound and state of a song, for whoever may read the DAG. They need a login of Airflow.

`/songs` and `/songs/<music task id>` show what stands in the configured bucket, to readers of DAG `music_cover`.
`/runs/<dag>/<run>` shows the songs of a run to readers of that DAG, from the bucket that the run's tasks have stored.
No address names a bucket or a key: files are found by the manifest of their song, and streamed through the api-server.
"""
# No `from __future__ import annotations`: FastAPI reads the annotations of routes that are made in functions.

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from airflow_kie._airflow_private.web_ui import read_access
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.manifest import read_manifest
from airflow_kie.archive.pending import list_pending, read_pending
from airflow_kie.archive.record_base import ArchiveUnreadable
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.web.pages.files import (
    EVERYWHERE,
    RangeNotSatisfiable,
    disposition_of,
    etag,
    headers_of,
    opened,
    slice_of,
)
from airflow_kie.web.pages.queries import Place, SongQueries
from airflow_kie.web.pages.responses import NothingToShow, add_refusals, page_answer, root_of, run_root
from airflow_kie.web.pages.view_model import SongPage, State, refusal, song_page, unreadable_page

log = logging.getLogger(__name__)

SONGS_PER_PAGE = 24
OWED_SHOWN = 50
LATELY_SHOWN = 12
_OWED_LOOKED_AT = 1000
PENDING = (State.IN_WORK, State.WAITING)
"""States of a song that changes without anybody's doing: its page shows by itself what is new."""
SONG_REFRESH = 5
"""Seconds after which the page of such a song is asked for again, while somebody sees it."""
RUN_REFRESH = 15
"""The same for the page of a run, which reads up to 24 songs."""
_PARALLEL = 8
"""Requests to S3 at a time, for a page of many songs."""


def add_song_pages(app: FastAPI, world: SongQueries) -> None:
    """Add the song pages to the app that is mounted in the api-server.

    :param world: Airflow.
    """

    def configured() -> Place:
        place = world.configured()
        if place is None:
            raise NothingToShow(
                "No bucket is configured", "Set bucket in the [kie] section of Airflow's configuration."
            )
        return place

    def of_run(dag_id: str, run_id: str, music_task_id: str) -> Place:
        place = world.songs_of_run(dag_id, run_id).get(music_task_id)
        if place is None:
            raise NothingToShow("This run has no such song", "Its songs stand on the page of the run.")
        return place

    overview = APIRouter(dependencies=[Depends(read_access(SONG_PAGES_DAG_ID))])
    _add_overview(overview, world, configured)
    _add_song(overview, world, configured)
    runs = APIRouter(prefix="/runs/{dag_id}/{run_id}", dependencies=[Depends(read_access())])
    _add_run(runs, world)
    _add_song(runs, world, of_run)
    app.include_router(overview, include_in_schema=False)
    app.include_router(runs, include_in_schema=False)
    add_refusals(app, world)


# --- one song ---


def _add_song(router: APIRouter, world: SongQueries, where: Callable[..., Place]) -> None:
    @router.get("/songs/{music_task_id}")
    def song(request: Request, music_task_id: str, place: Annotated[Place, Depends(where)]) -> Response:
        return _song_answer(request, _read(world, place, music_task_id), place)

    @router.get("/songs/{music_task_id}/files/{name}")
    def file(
        request: Request,
        music_task_id: str,
        name: str,
        place: Annotated[Place, Depends(where)],
        download: str = "",
    ) -> Response:
        page = _read(world, place, music_task_id, files_only=True)
        return _file_answer(request, world, place, page, name, download=bool(download))


def _song_answer(request: Request, page: SongPage, place: Place) -> Response:
    named = request.path_params
    of_run = run_root(request, named["dag_id"], named["run_id"]) if "run_id" in named else ""
    return page_answer(
        request,
        "song.html",
        404 if page.state is State.UNKNOWN else 200,
        refresh=SONG_REFRESH if page.state in PENDING else 0,
        page=page,
        stored_in=f"s3://{place.bucket}/{place.keys(page.music_task_id).folder}",
        files=f"{of_run or root_of(request)}/songs/{quote(page.music_task_id, safe='')}/files",
        of_run=of_run,
    )


def _file_answer(
    request: Request, world: SongQueries, place: Place, page: SongPage, name: str, *, download: bool
) -> Response:
    file = page.file(name)
    if file is None:
        raise NothingToShow("There is no such file", "The song's page lists the files that are archived.")
    if request.headers.get("if-none-match") == etag(file) and "range" not in request.headers:
        return Response(status_code=304, headers={"ETag": etag(file), "Cache-Control": "private, no-cache"})
    try:
        part = slice_of(file, request.headers.get("range"), request.headers.get("if-range"))
    except RangeNotSatisfiable:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{file.size}", **EVERYWHERE})
    headers = headers_of(file, part, disposition_of(page, file, download=download))
    pieces = opened(world.open(place), file, part)
    return StreamingResponse(pieces, 200 if part.whole else 206, headers)


def _read(world: SongQueries, place: Place, music_task_id: str, *, files_only: bool = False) -> SongPage:
    """Read a song from its bucket.

    :param files_only: leave out what only the page shows.
    :raises KeyRefused: for what is no id.
    :raises KieError: when the bucket cannot be read.
    """
    keys, bucket = place.keys(music_task_id), world.open(place)
    manifest = read_manifest(bucket, keys)
    pending = None if files_only else read_pending(bucket, keys)
    active = world.in_work(pending.working) if pending else False
    return song_page(keys, manifest, pending, active=active, now=datetime.now(UTC))


# --- many songs ---


def _add_overview(router: APIRouter, world: SongQueries, configured: Callable[[], Place]) -> None:
    @router.get("/songs")
    def songs(request: Request, place: Annotated[Place, Depends(configured)], id: str = "") -> Response:
        wanted = id.strip()
        if wanted:
            place.keys(wanted)  # what is no id gets its sentence here
            return RedirectResponse(f"{root_of(request)}/songs/{quote(wanted, safe='')}", 303, EVERYWHERE)
        bucket, archive = world.open(place), ArchiveKeys(place.prefix)
        found = list(_first(list_pending(bucket, archive), _OWED_LOOKED_AT))
        newest = sorted(found, key=lambda item: item[1].last_modified, reverse=True)[:OWED_SHOWN]
        pages = _read_many(world, {keys.music_task_id: place for keys, _ in newest})
        owed = [page for page in pages if page.state != State.ARCHIVED]
        more = len(found) > len(newest)
        return page_answer(request, "songs.html", owed=owed, more=more, archived=_lately_archived(world, place, owed))


def _lately_archived(world: SongQueries, place: Place, owed: Sequence[SongPage]) -> list[SongPage]:
    """Return what was archived last, as events tell; the archive itself is never listed, it can be large."""
    shown = {page.music_task_id for page in owed}
    songs = [song for song in world.lately_archived(place, LATELY_SHOWN) if song not in shown]
    pages = _read_many(world, dict.fromkeys(songs, place))
    return [page for page in pages if page.state is State.ARCHIVED]  # the others were deleted since


def _add_run(router: APIRouter, world: SongQueries) -> None:
    @router.get("")
    def run(request: Request, dag_id: str, run_id: str, page: str = "1") -> Response:
        return _run_answer(request, world, dag_id, run_id, _number(page, 1))

    @router.get("/tasks/{task_id}/{map_index}")
    def task(request: Request, dag_id: str, run_id: str, task_id: str, map_index: str) -> Response:
        song = world.song_of_task(dag_id, run_id, task_id, _number(map_index, -1))
        place = world.songs_of_run(dag_id, run_id).get(song) if song else None
        if song is None or place is None:
            return _run_answer(request, world, dag_id, run_id, 1)
        return _song_answer(request, _read(world, place, song), place)


def _run_answer(request: Request, world: SongQueries, dag_id: str, run_id: str, number: int) -> Response:
    songs = world.songs_of_run(dag_id, run_id)
    refused = None if songs else world.refusal_of_run(dag_id, run_id)
    pages = max(1, -(-len(songs) // SONGS_PER_PAGE))
    number = min(max(1, number), pages)
    shown = list(songs.items())[(number - 1) * SONGS_PER_PAGE : number * SONGS_PER_PAGE]
    read = _read_many(world, dict(shown))
    return page_answer(
        request,
        "run.html",
        refresh=RUN_REFRESH if any(song.state in PENDING for song in read) else 0,
        run_root=run_root(request, dag_id, run_id),
        songs=read,
        count=counted(len(songs)),
        trouble=refusal(*refused, now=datetime.now(UTC)) if refused else None,
        number=number,
        pages=pages,
    )


def _read_many(world: SongQueries, places: Mapping[str, Place]) -> list[SongPage]:
    """Read some songs side by side, in their order."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(lambda item: _read_one_of_many(world, item[1], item[0]), places.items()))


def _read_one_of_many(world: SongQueries, place: Place, music_task_id: str) -> SongPage:
    """Read a song; one whose record is damaged does not hide the others."""
    try:
        return _read(world, place, music_task_id)
    except ArchiveUnreadable as error:
        log.warning("Song %s: %s", music_task_id, error)
        return unreadable_page(place.keys(music_task_id), error, now=datetime.now(UTC))


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else otherwise


def _first(items: Iterator[Any], count: int) -> Iterator[Any]:
    for _, item in zip(range(count), items, strict=False):
        yield item
