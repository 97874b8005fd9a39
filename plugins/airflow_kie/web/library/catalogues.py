"""One catalogue for each archive that this process serves, and where its results are."""

from __future__ import annotations

import threading

from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys, SongKeys, TaskKeys
from airflow_kie.client.errors import KieConnectionInvalid
from airflow_kie.web.library.catalogue import Catalogue
from airflow_kie.web.library.catalogue_file import shared_file
from airflow_kie.web.library.catalogue_lines import SCHEMA
from airflow_kie.web.pages.queries import Place

MUSIC = "suno.music"
_catalogues: dict[Place, Catalogue] = {}
_making = threading.Lock()


def catalogue_of(place: Place) -> Catalogue:
    """Return the catalogue of an archive.

    :param place: from the configuration, or what a run's tasks have stored; never from a request.
    """
    with _making:
        known = _catalogues.get(place)
        try:
            index = Index(place.open(), ArchiveKeys(place.prefix))
        except KieConnectionInvalid:
            if known is None:
                raise
            return known
        if known is None:
            where = (str(index.bucket.client.meta.endpoint_url), index.bucket.name, place.prefix)
            known = _catalogues[place] = Catalogue(index, shared_file(*where, SCHEMA))
        known.index = index  # the connection may have other credentials by now
        return known


def keys_of(place: Place, operation: str, task_id: str) -> SongKeys | TaskKeys:
    """Return the keys of a result.

    :raises KeyRefused: for an invalid id or operation.
    """
    return place.keys(task_id) if operation == MUSIC else TaskKeys(place.prefix, operation, task_id)
