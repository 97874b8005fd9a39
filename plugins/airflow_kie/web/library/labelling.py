"""Labels that people set and remove on results, by those who may trigger the DAG: kept in the manifests, searchable."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from pydantic import ValidationError

from airflow_kie.archive.inbox.song_request import Labelled, counted
from airflow_kie.archive.index.entry import IndexEntry, entry_of
from airflow_kie.archive.layout import SongKeys, TaskKeys
from airflow_kie.archive.manifest import Manifest, TaskManifest
from airflow_kie.archive.record_base import label_map
from airflow_kie.archive.s3.errors import ArchiveUnreadable
from airflow_kie.client.task_ids import KeyRefused
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.web.library.catalogues import catalogue_of, keys_of
from airflow_kie.web.library.download import MOST_RESULTS
from airflow_kie.web.own_threads import PageRouter
from airflow_kie.web.pages.changes import ChangeRefused, audit, body_of, change_dependencies, message_answer, user_name
from airflow_kie.web.pages.queries import Place
from airflow_kie.web.pages.routes import place_of

log = logging.getLogger(__name__)
MOST_LABELS = 10
_PARALLEL = 8


def add_labelling(app: FastAPI) -> None:
    """Add the route to the app that is mounted in the api-server."""
    router = PageRouter(dependencies=change_dependencies(SONG_PAGES_DAG_ID))
    router.add_api_route("/library/labels", label, methods=["POST"])
    app.include_router(router, include_in_schema=False)


def label(request: Request, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Set a label on results, each ``<operation>/<task id>``, or remove it: with an empty value."""
    body = body_of(request)
    asked, (name, value) = body.get("results"), _label(body.get("name"), body.get("value"))
    asked = list(dict.fromkeys(_texts([asked] if isinstance(asked, str) else asked)))
    if not 0 < len(asked) <= MOST_RESULTS:
        raise ChangeRefused(f"Select 1 to {MOST_RESULTS} results.")
    try:
        results = [keys_of(place, *str(result).partition("/")[::2]) for result in asked]
    except KeyRefused as error:
        raise ChangeRefused("This result is not in the library.") from error
    audit(request, "kie_label", results=asked, label=name, value=value or None)
    by, now, bucket = user_name(request), datetime.now(UTC), place.open()

    def changed(keys: SongKeys | TaskKeys) -> IndexEntry | None:
        record: type[TaskManifest] = Manifest if isinstance(keys, SongKeys) else TaskManifest

        def labelled(stored: TaskManifest | None) -> TaskManifest:
            if stored is None:
                raise ArchiveUnreadable(f"{bucket.url(keys.manifest)} does not exist")
            known = label_map(stored.labels)
            if (value and name not in known and len(known) >= MOST_LABELS) or known.get(name, "") == value:
                return stored
            return stored.labelled(name, value, by=by, at=now)

        try:
            manifest = record.update(bucket, keys, labelled)
        except ArchiveUnreadable as error:
            log.warning("%s could not be labelled: %s", keys.name, error)
            return None
        return entry_of(manifest) if label_map(manifest.labels).get(name, "") == value else None

    with ThreadPoolExecutor(_PARALLEL) as pool:
        entries = [entry for entry in pool.map(changed, results) if entry]
    if entries:
        catalogue_of(place).add(*entries)
    left = len(results) - len(entries)
    rest = f" {counted(left, 'result')} unchanged: not archived, or already with {MOST_LABELS} labels." if left else ""
    what = f"Label {name}: {value} is set on" if value else f"Label {name} is removed from"
    return message_answer(f"{what} {counted(len(entries), 'result')}.{rest}", 200 if entries else 400)


def _texts(asked: Any) -> list[str]:
    if not isinstance(asked, list) or not all(isinstance(one, str) for one in asked):
        raise ChangeRefused("This result is not in the library.")
    return asked


def _label(name: Any, value: Any) -> tuple[str, str]:
    """Return a label as a form has sent it.

    :raises ChangeRefused: when it is none.
    """
    text = {True: "true", None: ""}.get(value, value) if not isinstance(value, list | dict) else None
    try:
        ((name, value),) = Labelled.model_validate({"labels": {name: text}}).labels.items()
    except (ValidationError, ValueError, TypeError) as error:
        raise ChangeRefused("A label has a name and a value, each of at most 256 characters.") from error
    return name, value.strip()
