"""Pending songs, one or a selection: start them again, or give them up; by those who may trigger the DAG."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response

from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.monitoring.restart import NoEvent, no_run_would_follow, start_again, who_works_on
from airflow_kie.web.own_threads import PageRouter
from airflow_kie.web.pages.changes import ChangeRefused, audit, body_of, change_dependencies, message_answer
from airflow_kie.web.pages.queries import Place
from airflow_kie.web.pages.retrying import MOST_RETRIED, retried
from airflow_kie.web.pages.routes import place_of

log = logging.getLogger(__name__)


def add_pending(app: FastAPI) -> None:
    """Add the routes to the app that is mounted in the api-server."""
    router = PageRouter(prefix="/songs", dependencies=change_dependencies(SONG_PAGES_DAG_ID))
    router.add_api_route("/selected/retry", retry_selected, methods=["POST"])
    router.add_api_route("/selected/forget", forget_selected, methods=["POST"])
    router.add_api_route("/{music_task_id}/retry", retry, methods=["POST"])
    router.add_api_route("/{music_task_id}/forget", forget, methods=["POST"])
    app.include_router(router, include_in_schema=False)


def retry(request: Request, music_task_id: str, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Restart a pending song: its paid tasks are used."""
    archive = SongArchive(place.open(), place.keys(music_task_id))
    if problem := no_run_would_follow():
        raise ChangeRefused(problem)
    audit(request, "kie_redrive", song=music_task_id)
    try:
        left = start_again([archive])
    except NoEvent as error:
        raise ChangeRefused(str(error)) from error
    if left:
        raise ChangeRefused(f"It was not started: {left[music_task_id]}.")
    return message_answer("Restarted in a new run of music_cover, which uses paid covers.")


def forget(request: Request, music_task_id: str, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Give a pending song up: nothing starts it again, and what is archived of it stays."""
    archive = SongArchive(place.open(), place.keys(music_task_id))
    if problem := _why_kept(archive):
        raise ChangeRefused(problem)
    audit(request, "kie_forget", song=music_task_id)
    archive.drop_pending()
    return message_answer("Given up: this song will not be restarted. Its paid tasks stay in the ledger.")


def retry_selected(request: Request, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Start some pending songs again."""
    songs = _selected(place, body_of(request))
    if problem := no_run_would_follow():
        raise ChangeRefused(problem)
    audit(request, "kie_redrive", songs=[song.keys.music_task_id for song in songs])
    return message_answer(retried(songs))


def forget_selected(request: Request, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Give some pending songs up; those that a run works on stay."""
    chosen = _selected(place, body_of(request))
    songs = [song for song in chosen if not _stays(song)]
    if not songs:
        raise ChangeRefused("None were given up: all are in progress or no longer pending.")
    audit(request, "kie_forget", songs=[song.keys.music_task_id for song in songs])
    for song in songs:
        song.drop_pending()
    kept = len(chosen) - len(songs)
    left = f" {counted(kept)} skipped: in progress, no longer pending, or the record cannot be read." if kept else ""
    return message_answer(f"{counted(len(songs))} given up. Their paid tasks stay in the ledger.{left}")


def _stays(archive: SongArchive) -> bool:
    """Return whether a song of several is not given up; one whose record cannot be read stays, it alone."""
    try:
        return bool(_why_kept(archive))
    except ArchiveUnreadable as error:
        log.warning("%s", error)
        return True


def _why_kept(archive: SongArchive) -> str:
    """Return why a song is not given up; empty: it is."""
    pending = archive.pending()
    if pending is None:
        return "It is no longer pending."
    works = who_works_on(pending)
    return f"It was not given up: {works}. Wait until it has ended, or mark the run as failed first." if works else ""


def _selected(place: Place, body: Mapping[str, Any]) -> Sequence[SongArchive]:
    """Return the songs that a page has sent.

    :raises ChangeRefused: for none, or more than a page has.
    :raises KeyRefused: for an invalid id.
    """
    songs = body.get("songs")
    ids = list(dict.fromkeys(map(str, songs))) if isinstance(songs, list) else []
    if not 0 < len(ids) <= MOST_RETRIED:
        raise ChangeRefused(f"Select 1 to {MOST_RETRIED} songs.")
    bucket = place.open()
    return [SongArchive(bucket, place.keys(song)) for song in ids]
