"""One catalogue for each archive that this process serves."""

from __future__ import annotations

import threading

from airflow_kie.archive.index.segments import Index
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.web.library.catalogue import Catalogue
from airflow_kie.web.pages.queries import Place

_catalogues: dict[Place, Catalogue] = {}
_making = threading.Lock()


def catalogue_of(place: Place) -> Catalogue:
    """Return the catalogue of an archive.

    :param place: from the configuration, or what a run's tasks have stored; never from a request.
    """
    with _making:
        if place not in _catalogues:
            _catalogues[place] = Catalogue(Index(place.open(), ArchiveKeys(place.prefix)))
        return _catalogues[place]
