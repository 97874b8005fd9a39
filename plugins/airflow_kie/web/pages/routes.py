"""The song pages: pictures, sound and state of a song, for those who may read the DAG. They need a login of Airflow.

`/songs` and `/songs/<music task id>` show what the configured bucket holds, to readers of DAG `music_cover`.
`/runs/<dag>/<run>` shows the songs of a run to readers of that DAG, from the bucket that the run's tasks have stored.
No address names a bucket or a key: files are found by the manifest of their song, and streamed through the api-server.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from airflow_kie._airflow_private.api_server import may_trigger
from airflow_kie._airflow_private.metadata import run_is_active
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.pending import list_pending
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.links.kie import GENERATE_DAG_ID, SONG_PAGES_DAG_ID
from airflow_kie.web.own_threads import PageRouter, in_own_thread
from airflow_kie.web.pages import queries
from airflow_kie.web.pages.changes import may_change, page_dependencies
from airflow_kie.web.pages.choice_view import shown_choice
from airflow_kie.web.pages.extras_view import DRAW_PRICE, EXTRAS_DAG_ID
from airflow_kie.web.pages.files import file_answer
from airflow_kie.web.pages.progress import progress_of
from airflow_kie.web.pages.queries import Place
from airflow_kie.web.pages.responses import HEADERS, NothingToShow, add_refusals, address, page_answer
from airflow_kie.web.pages.view_model import SongPage, State, song_page, trouble_of, unreadable_page

log = logging.getLogger(__name__)

SONGS_PER_PAGE = 24
PENDING_SHOWN = 50
PENDING_LISTED = 2000
"""Of more pending songs, those whose ids come first: S3 lists by key, and botocore takes 0.17 processor-seconds to read
1,000 of them, with each load of the page."""
ARCHIVED_SHOWN = 12
CHANGING = (State.IN_PROGRESS, State.WAITING)
"""States of a song that changes by itself: its page shows by itself what is new."""
SONG_REFRESH = 5
"""Seconds after which the page of such a song is requested again, while somebody sees it."""
RUN_REFRESH = 15
"""The same for the page of a run, which reads up to 24 songs."""
_PARALLEL = 8
"""Requests to S3 at a time, for a page of many songs."""


def add_song_pages(app: FastAPI) -> None:
    """Add the song pages to the app that is mounted in the api-server."""
    overview = PageRouter(dependencies=page_dependencies(SONG_PAGES_DAG_ID))
    overview.add_api_route("/songs", songs)
    of_run = PageRouter(prefix="/runs/{dag_id}/{run_id}", dependencies=page_dependencies())
    of_run.add_api_route("", run)
    of_run.add_api_route("/tasks/{task_id}/{map_index}", task)
    for router in (overview, of_run):
        router.add_api_route("/songs/{music_task_id}", song)
        router.add_api_route("/songs/{music_task_id}/files/{name}", file)
        app.include_router(router, include_in_schema=False)
    add_refusals(app)


@in_own_thread
def place_of(request: Request) -> Place:
    """Return where a song is archived: as the run in the path has stored it; without a run, as [kie] names it."""
    named = request.path_params
    if "run_id" in named:
        place = queries.songs_of_run(named["dag_id"], named["run_id"]).get(named["music_task_id"])
        if place is None:
            raise NothingToShow("This run has no such song", "The run's page lists its songs.")
        return place
    place = queries.configured_place()
    if place is None:
        raise NothingToShow("No bucket is configured", "Set bucket in the [kie] section of Airflow's configuration.")
    return place


# --- one song ---


def song(request: Request, music_task_id: str, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Show a song."""
    return _song_answer(request, _read(place, music_task_id), place)


def file(
    request: Request, music_task_id: str, name: str, place: Annotated[Place, Depends(place_of)], download: str = ""
) -> Response:
    """Send a file of a song."""
    page = _read(place, music_task_id, files_only=True)
    found = next((file for file in page.files if file.name == name), None)
    if found is None:
        raise NothingToShow("File not found", "The song's page lists the files that are archived.")
    return file_answer(request, place.open(), page, found, download=bool(download))


def _song_answer(request: Request, page: SongPage, place: Place) -> Response:
    named = request.path_params
    of_run = address(request, "runs", named["dag_id"], named["run_id"]) if "run_id" in named else ""
    of_song = f"{of_run or address(request)}/songs/{quote(page.music_task_id, safe='')}"
    choice, changing = shown_choice(place, page), may_change(request)
    can_be_retried = page.state in (State.FAILED, State.WAITING) and not of_run
    may_extend = bool(page.offers) and not of_run and may_trigger(request.state.kie_user, EXTRAS_DAG_ID)
    may_label = changing and page.state is State.ARCHIVED and not of_run
    lives = may_extend or may_label or (changing and bool(choice or can_be_retried))
    key = f"suno.music/{quote(page.music_task_id, safe='')}" if page.state is State.ARCHIVED and not of_run else ""
    scripts = {
        "neighbours.js": bool(key),
        "changes.js": lives,
        "refresh.js": lives or page.state in CHANGING,
        "extras.js": may_extend,
        "texts.js": bool(page.of_medium("text", "application") + page.of_medium("text", "application", extras=True)),
    }
    return page_answer(
        request,
        "song.html",
        404 if page.state is State.UNKNOWN else 200,
        refresh=SONG_REFRESH if page.state in CHANGING else 0,
        scripts=tuple(name for name, is_used in scripts.items() if is_used),
        key=key,
        may_extend=may_extend,
        may_generate=may_trigger(request.state.kie_user, GENERATE_DAG_ID),
        draw_price=DRAW_PRICE,
        may_label=may_label,
        extras_open=may_extend or any(file.extra for file in page.files),
        can_be_retried=can_be_retried and changing,
        page=page,
        choice=choice,
        may_change=changing,
        stored_in=f"s3://{place.bucket}/{place.keys(page.music_task_id).folder}",
        of_song=of_song,
        files=f"{of_song}/files",
        of_run=of_run,
    )


def _read(place: Place, music_task_id: str, *, files_only: bool = False) -> SongPage:
    """Read a song from its bucket.

    :param files_only: leave out what only the page shows.
    :raises KeyRefused: for an invalid id.
    :raises KieError: when the bucket cannot be read.
    """
    keys = place.keys(music_task_id)
    archive = SongArchive(place.open(), keys)
    manifest = archive.manifest()
    pending = None if files_only else archive.pending()
    working = pending.working if pending else None
    active = working is not None and run_is_active(working.dag_id, working.run_id)
    return song_page(keys, manifest, pending, active=active, now=datetime.now(UTC))


# --- many songs ---


def songs(request: Request, place: Annotated[Place, Depends(place_of)], id: str = "") -> Response:
    """Show what is pending and what was archived last; lead an id that is typed to its song."""
    wanted = id.strip()
    if wanted:
        place.keys(wanted)  # an invalid id gets its sentence here
        return RedirectResponse(address(request, "songs", wanted), 303, HEADERS)
    listing = list_pending(place.open(), ArchiveKeys(place.prefix))
    found = list(itertools.islice(listing, PENDING_LISTED))
    newest = heapq.nlargest(PENDING_SHOWN, found, key=lambda item: item[1].last_modified)
    pages = _read_many({keys.music_task_id: place for keys, _ in newest})
    pending = [page for page in pages if page.state is not State.ARCHIVED]
    # By events: the archive itself is never listed, it can be large.
    last = dict.fromkeys(queries.last_archived(place, ARCHIVED_SHOWN), place)
    archived = [page for page in _read_many(last) if page.state is State.ARCHIVED]
    changing = may_change(request)
    return page_answer(
        request,
        "songs.html",
        scripts=("changes.js", "pending.js") if changing and pending else (),
        pending=pending,
        more=len(found) > len(newest),
        listed=PENDING_LISTED if next(listing, None) else 0,
        archived=archived,
        may_change=changing,
    )


def run(request: Request, dag_id: str, run_id: str, page: str = "1", step: str = "") -> Response:
    """Show the songs of a run, all or those at a step."""
    songs = queries.songs_of_run(dag_id, run_id)
    progress = progress_of(dag_id, run_id) if len(songs) > SONGS_PER_PAGE else None
    if progress and step:
        songs = {song: songs[song] for song in progress.at(step) if song in songs}
    failure = None if songs else queries.failure_of_run(dag_id, run_id)
    pages = max(1, -(-len(songs) // SONGS_PER_PAGE))
    number = min(max(1, _number(page, 1)), pages)
    read = _read_many(dict(itertools.islice(songs.items(), (number - 1) * SONGS_PER_PAGE, number * SONGS_PER_PAGE)))
    return page_answer(
        request,
        "run.html",
        refresh=RUN_REFRESH if any(song.state in CHANGING for song in read) else 0,
        scripts=("changes.js", "refresh.js") if _may_retry(request, dag_id) else (),
        run_root=address(request, "runs", dag_id, run_id),
        songs=read,
        count=counted(len(songs)),
        progress=progress,
        step=step if progress else "",
        can_be_retried=_may_retry(request, dag_id) and any(song.state is State.FAILED for song in read),
        trouble=trouble_of(failure) if failure else None,
        number=number,
        pages=pages,
    )


def _may_retry(request: Request, dag_id: str) -> bool:
    return dag_id == SONG_PAGES_DAG_ID and may_change(request)


def task(request: Request, dag_id: str, run_id: str, task_id: str, map_index: str) -> Response:
    """Show the song of a task instance, or all of its run."""
    songs = queries.songs_of_run(dag_id, run_id)
    song = queries.song_of_task(dag_id, run_id, task_id, _number(map_index, -1))
    song = song or (next(iter(songs)) if len(songs) == 1 else None)
    place = songs.get(song) if song else None
    if song is None or place is None:
        return run(request, dag_id, run_id)
    return _song_answer(request, _read(place, song), place)


def _read_many(places: Mapping[str, Place]) -> list[SongPage]:
    """Read some songs side by side, in their order."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(_read_one_of_many, places.values(), places))


def _read_one_of_many(place: Place, music_task_id: str) -> SongPage:
    """Read a song; one whose record is damaged does not hide the others."""
    try:
        return _read(place, music_task_id)
    except ArchiveUnreadable as error:
        log.warning("Song %s: %s", music_task_id, error)
        return unreadable_page(place.keys(music_task_id), error, now=datetime.now(UTC))


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else otherwise
