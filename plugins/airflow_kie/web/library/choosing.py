"""Choosing a song's cover and take, by those who may trigger the DAG: kept in its folder, sent to other DAGs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response

from airflow_kie._airflow_private.metadata import send_asset_event
from airflow_kie.archive.choice import CHOSEN_KINDS, Choice, ChoiceRefused, changed_choice
from airflow_kie.archive.index.entry import entry_of
from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.manifest import Manifest
from airflow_kie.assets import CHOSEN
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.web.library.catalogues import catalogue_of
from airflow_kie.web.own_threads import PageRouter
from airflow_kie.web.pages.changes import ChangeRefused, audit, body_of, change_dependencies, message_answer, user_name
from airflow_kie.web.pages.choice_view import choice_sentence
from airflow_kie.web.pages.queries import Place
from airflow_kie.web.pages.responses import NothingToShow
from airflow_kie.web.pages.routes import place_of

log = logging.getLogger(__name__)


def add_choosing(app: FastAPI) -> None:
    """Add the route with which a choice is made to the pages of the archive's songs, and of a run's."""
    for prefix, dag_id in (("", SONG_PAGES_DAG_ID), ("/runs/{dag_id}/{run_id}", None)):
        router = PageRouter(prefix=prefix, dependencies=change_dependencies(dag_id))
        router.add_api_route("/songs/{music_task_id}/choice", choose, methods=["POST"])
        app.include_router(router, include_in_schema=False)


def choose(request: Request, music_task_id: str, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Choose a cover or a take, reject them, or go back to the choice before; see :func:`changed_choice`."""
    keys, changes = place.keys(music_task_id), body_of(request)
    bucket = place.open()
    manifest = Manifest.read(bucket, keys)[0]
    if manifest is None:
        raise NothingToShow("This song is not archived", "There is nothing to choose yet.")
    audit(request, "kie_choose", song=music_task_id, **{name: changes[name] for name in _NAMES if name in changes})
    by, now = user_name(request), datetime.now(UTC)
    try:
        choice = Choice.update(bucket, keys, lambda stored: changed_choice(stored, manifest, changes, by=by, now=now))
    except ChoiceRefused as error:
        raise ChangeRefused(str(error)) from error
    catalogue_of(place).add(entry_of(manifest, choice))
    _announce(place, keys, choice)
    return message_answer(choice_sentence(choice, manifest.files))


_NAMES = (*CHOSEN_KINDS, "rejected", "undo")


def _announce(place: Place, keys: SongKeys, choice: Choice) -> None:
    """Tell other DAGs; what is chosen is stored already, and stays so where that fails."""
    extra = {
        "music_task_id": keys.music_task_id,
        "bucket": place.bucket,
        "choice_key": keys.choice,
        "manifest_key": keys.manifest,
        **{name: (file.key if (file := getattr(choice, name)) else None) for name in CHOSEN_KINDS},
        "rejected": choice.rejected,
        "by": choice.by,
    }
    try:
        send_asset_event(CHOSEN.uri, keys.music_task_id, extra)
    except Exception:
        log.exception("%s: the choice is stored, but its event could not be sent.", keys.name)
