"""What the form for a new song shows: models with their prices, the balance, and a song whose words are used again.

The page itself triggers DAG `music_generate`, through Airflow's public API and with the rights of who uses it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Response
from fastapi.responses import JSONResponse

from airflow_kie import settings
from airflow_kie.archive.manifest import Manifest, SongRecord
from airflow_kie.client.catalogue.prices import quote
from airflow_kie.client.operations.music_limits import LIMITS, MODELS, SIMPLE_PROMPT, TITLE
from airflow_kie.client.operations.suno import MUSIC
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.web.own_threads import PageRouter
from airflow_kie.web.pages.changes import page_dependencies
from airflow_kie.web.pages.queries import Place
from airflow_kie.web.pages.responses import HEADERS
from airflow_kie.web.pages.routes import place_of
from airflow_kie.web.status.report import BOARD


def add_new_song(app: FastAPI) -> None:
    """Add the route to the app that is mounted in the api-server."""
    router = PageRouter(dependencies=page_dependencies(SONG_PAGES_DAG_ID))
    router.add_api_route("/library/new-song", new_song)
    app.include_router(router, include_in_schema=False)


def new_song(place: Annotated[Place, Depends(place_of)], song: str = "") -> Response:
    """Return what the form shows.

    :param song: one whose words are used again; empty: none.
    """
    report, connection = BOARD.report(patient=0), settings.allowed_connections()[0]
    account = next((one for one in report.accounts if one.connection == connection), None) if report else None
    shown = {
        "models": [{"name": name, "price": str(quote(MUSIC, {"model": name}))} for name in MODELS],
        "limits": {"prompt": SIMPLE_PROMPT, "title": TITLE, "by_model": {name: list(LIMITS[name]) for name in MODELS}},
        "complete": report is not None,
        "balance": f"{account.credits:,.0f} credits" if account and account.credits is not None else "",
        "stopped": account.stop.sentence() if account and account.stop else "",
        "fields": _fields(place, song) if song else {},
    }
    return JSONResponse(shown, headers={"Cache-Control": "no-store", **HEADERS})


def _fields(place: Place, song: str) -> dict[str, Any]:
    manifest = Manifest.read(place.open(), place.keys(song))[0]
    known = manifest.song if manifest else SongRecord()
    lyrics = "\n" in (known.prompt or "")  # of several lines: what was sung, in custom mode
    return {
        "prompt": known.prompt or "",
        "style": known.tags or "",
        "title": (known.title or "")[:TITLE],
        "model": known.model if known.model in MODELS else "",
        "instrumental": bool(known.instrumental),
        "custom_mode": lyrics,
    }
