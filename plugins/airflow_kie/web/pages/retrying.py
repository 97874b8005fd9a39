"""The failed songs of a run are started again by one click, by those who may trigger the DAG."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI, Request, Response

from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.pending import list_held
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.monitoring.restart import NoEvent, no_run_would_follow, start_again
from airflow_kie.web.own_threads import PageRouter
from airflow_kie.web.pages import queries
from airflow_kie.web.pages.changes import ChangeRefused, audit, change_dependencies, message_answer

MOST_RETRIED = 200
"""Songs that one click starts again: each takes some requests to S3 and queries."""


def add_retrying(app: FastAPI) -> None:
    """Add the route to the app that is mounted in the api-server."""
    router = PageRouter(dependencies=change_dependencies(SONG_PAGES_DAG_ID))
    router.add_api_route(f"/runs/{SONG_PAGES_DAG_ID}/{{run_id}}/retry", retry, methods=["POST"])
    app.include_router(router, include_in_schema=False)


def retry(request: Request, run_id: str) -> Response:
    """Start the songs of a run again that have failed and that no run has taken since."""
    place = queries.configured_place()
    songs = queries.songs_of_run(SONG_PAGES_DAG_ID, run_id)
    if place is None or any(other != place for other in songs.values()):
        raise ChangeRefused("These songs are not in the archive that [kie] names: clear their failed tasks instead.")
    if problem := no_run_would_follow():
        raise ChangeRefused(problem)
    audit(request, "kie_redrive", run=run_id)
    bucket = place.open()
    failed = [song for song in list_held(bucket, ArchiveKeys(place.prefix)) if song in songs]
    left = (
        f" {counted(len(failed) - MOST_RETRIED)} more have failed: retry again." if len(failed) > MOST_RETRIED else ""
    )
    return message_answer(retried([SongArchive(bucket, place.keys(song)) for song in failed[:MOST_RETRIED]]) + left)


def retried(songs: Sequence[SongArchive]) -> str:
    """Start songs again; return what became of that in a sentence.

    :param songs: pending songs.
    :raises ChangeRefused: when no event could be sent.
    """
    try:
        skipped = len(start_again(songs))
    except NoEvent as error:
        raise ChangeRefused(str(error)) from error
    left = f" {counted(skipped)} skipped: in progress, or the record cannot be read." if skipped else ""
    return f"{counted(len(songs) - skipped)} restarted.{left}"
