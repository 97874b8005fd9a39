"""What the api-server serves under ``/kie``: the song pages, and the receiver if it is switched on."""

from __future__ import annotations

from fastapi import FastAPI

from airflow_kie import settings
from airflow_kie._airflow_private.fallback import switched_off
from airflow_kie.hooks.archive import give_up_soon
from airflow_kie.web.head import AnswersHead
from airflow_kie.web.library.choosing import add_choosing
from airflow_kie.web.library.download import add_download
from airflow_kie.web.library.labelling import add_labelling
from airflow_kie.web.library.new_song import add_new_song
from airflow_kie.web.library.pending import add_pending
from airflow_kie.web.library.releases import add_releases
from airflow_kie.web.library.routes import add_library
from airflow_kie.web.library.uploading import add_uploading
from airflow_kie.web.pages.retrying import add_retrying
from airflow_kie.web.pages.routes import add_song_pages
from airflow_kie.web.status.deliveries import add_deliveries
from airflow_kie.web.status.routes import add_status


def create_app() -> FastAPI:
    """Return the app for the api-server. Without `[kie] receiver` none of its routes is open to the public."""
    give_up_soon()
    app = _song_pages()
    if settings.flag("receiver"):
        from airflow_kie.web.receiver.gateway import InProcessGateway
        from airflow_kie.web.receiver.receiver import create_app as create_receiver

        app.mount("", create_receiver(InProcessGateway()))  # last: it gets what no song page has taken
    app.add_middleware(AnswersHead)
    return app


def _empty() -> FastAPI:
    return FastAPI(title="KIE", docs_url=None, redoc_url=None, openapi_url=None)


@switched_off(_empty, "The song pages are off: this api-server cannot check permissions.")
def _song_pages() -> FastAPI:
    app = _empty()
    add_song_pages(app)
    add_library(app)
    add_choosing(app)
    add_download(app)
    add_labelling(app)
    add_status(app)
    add_deliveries(app)
    add_new_song(app)
    add_pending(app)
    add_retrying(app)
    add_releases(app)
    add_uploading(app)
    return app
