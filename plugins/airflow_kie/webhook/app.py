"""Everything of ours that the api-server serves under ``/kie``: the song pages, and the receiver if it is on."""

from __future__ import annotations

from fastapi import FastAPI

from airflow_kie import settings
from airflow_kie.webhook.song_world import SongWorld
from airflow_kie.webhook.songs import add_song_pages


def create_app() -> FastAPI:
    """Return the app for the api-server. Without `[kie] receiver` none of its routes is open to the public."""
    app = FastAPI(title="KIE", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    add_song_pages(app, SongWorld())
    if settings.flag("receiver"):
        from airflow_kie.webhook.airflow_world import AirflowWorld
        from airflow_kie.webhook.receiver import create_app as create_receiver

        app.mount("", create_receiver(AirflowWorld()))  # last: it gets what is no song page
    return app
