"""Paths into KIE's answers, as data: where an id, a state word or the result files stand."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

from airflow_kie.client.checked_json import decode_json


class Step(Enum):
    """Steps of a path other than a key."""

    JSON = "json"
    """The value is a string that holds JSON (market tasks encode their results twice)."""
    EACH = "each"
    """Every item of a list. KIE's own examples give one URL as a string too: that counts as a list of one."""
    URLS = "urls"
    """Every value of an object whose key ends in ``Url`` (stems)."""


Path = tuple[str | Step, ...]


def values_at(data: Any, path: Path) -> Iterator[Any]:
    """Yield what stands at a path, leaving out what is missing, null or empty.

    :param data: a decoded answer.
    :param path: keys and :class:`Step` members.
    """
    if not path:
        if data not in (None, "", [], {}):
            yield data
        return
    for value in _one_step(data, path[0]):
        yield from values_at(value, path[1:])


def first_at(data: Any, *paths: Path) -> Any:
    """Return the first value found at any of the paths, or None: spellings differ between KIE's products."""
    for path in paths:
        for value in values_at(data, path):
            return value
    return None


def _one_step(data: Any, step: str | Step) -> Iterator[Any]:
    if step is Step.JSON:
        yield from _from_json(data)
    elif step is Step.EACH:
        yield from data if isinstance(data, list) else [data]
    elif isinstance(data, dict):
        if step is Step.URLS:
            yield from (value for key, value in data.items() if key.endswith("Url"))
        elif step in data:
            yield data[step]


def _from_json(data: Any) -> Iterator[Any]:
    if not isinstance(data, str):
        yield data
        return
    try:
        yield decode_json(data)
    except ValueError:
        return
