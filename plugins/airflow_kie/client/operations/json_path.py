"""Paths into KIE's answers, in JMESPath (https://jmespath.org): where an id, a state word or the results are.

Three functions are added to the language. ``from_json(value)`` decodes a string that holds JSON (market tasks encode
their results twice) and returns any other value as it is. ``links(value)`` returns the values of an object whose keys
end in ``Url``. ``lower(value)`` returns a text in small letters, and any other value as it is. None raises for any
value, so no answer makes a valid path raise.
"""

from __future__ import annotations

import functools
from typing import Any

import jmespath
from jmespath.functions import Functions, signature

from airflow_kie.client.untrusted import decode_json

_ANYTHING: dict[str, list[str]] = {"types": []}
_EMPTY: tuple[Any, ...] = (None, "", [], {})


class _Functions(Functions):  # type: ignore[misc]
    @signature(_ANYTHING)  # type: ignore[untyped-decorator]
    def _func_from_json(self, value: Any) -> Any:
        try:
            return decode_json(value) if isinstance(value, str) else value
        except ValueError:
            return None

    @signature(_ANYTHING)  # type: ignore[untyped-decorator]
    def _func_links(self, value: Any) -> list[Any]:
        return [item for key, item in value.items() if key.endswith("Url")] if isinstance(value, dict) else []

    @signature(_ANYTHING)  # type: ignore[untyped-decorator]
    def _func_lower(self, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


_OPTIONS = jmespath.Options(custom_functions=_Functions())
_compiled = functools.cache(jmespath.compile)


def value_at(data: Any, path: str) -> Any:
    """Return the value at a path, None where it is missing or empty.

    :param data: a decoded answer.
    :param path: a JMESPath expression of a row; it is compiled once.
    """
    value = _compiled(path).search(data, _OPTIONS)
    return None if value in _EMPTY else value


def values_at(data: Any, path: str) -> list[Any]:
    """Return the values at a path without empty ones; a single value counts as a list of one."""
    found = value_at(data, path)
    return [value for value in (found if isinstance(found, list) else [found]) if value not in _EMPTY]
