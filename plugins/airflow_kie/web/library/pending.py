"""A pending song on its page: start it again, or give it up; by those who may trigger the DAG."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.monitoring.restart import NoEvent, no_run_would_follow, start_again, why_skipped
from airflow_kie.web.pages.changes import ChangeRefused, audit, change_dependencies, message_answer
from airflow_kie.web.pages.queries import Place
from airflow_kie.web.pages.routes import place_of


def add_pending(app: FastAPI) -> None:
    """Add the routes to the app that is mounted in the api-server."""
    router = APIRouter(prefix="/songs/{music_task_id}", dependencies=change_dependencies(SONG_PAGES_DAG_ID))
    router.add_api_route("/retry", retry, methods=["POST"])
    router.add_api_route("/forget", forget, methods=["POST"])
    app.include_router(router, include_in_schema=False)


def retry(request: Request, music_task_id: str, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Start a pending song again: what is paid is used."""
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
    return message_answer("Started again: a run of music_cover follows, and uses what is paid.")


def forget(request: Request, music_task_id: str, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Give a pending song up: nothing starts it again, and what is archived of it stays."""
    archive = SongArchive(place.open(), place.keys(music_task_id))
    pending = archive.pending()
    if pending is None:
        raise ChangeRefused("It is not pending any more.")
    if skipped := why_skipped(pending):
        raise ChangeRefused(f"It was not given up: {skipped}. Wait for its end, or mark the run as failed first.")
    audit(request, "kie_forget", song=music_task_id)
    archive.drop_pending()
    return message_answer("Given up: nothing starts this song again. What KIE has made stays in the ledger.")
