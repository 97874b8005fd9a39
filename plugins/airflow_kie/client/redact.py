"""Keep secrets out of texts: a URL can be a credential, whether it is one of KIE's or one that KIE shall fetch.

A pre-signed address grants what it names to whoever reads it. So no address with a query is stored, logged or shown:
errors and records pass what they hold through :func:`without_urls` and :func:`storable`, wherever it comes from.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

_URL = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_KEY = re.compile(r"(?i)\b(bearer)\s+[^\s\"'<>]+")
SHORTEST_SECRET = 8
"""Characters below which a query's value is not hidden from logs: `X-Amz-Expires=3600` would hide every 3600."""


def without_query(url: str) -> str:
    """Return the URL without user, query and fragment: what may stand in a log, a manifest or an error."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "<malformed URL>"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def without_urls(text: str) -> str:
    """Return the text with every URL cut to its host and every bearer token blotted out.

    KIE's error messages can echo the URLs of a request with their tokens.
    """
    return _KEY.sub(r"\1 ***", _URL.sub(_host_only, text))


def without_queries(text: str) -> str:
    """Return the text with every URL in it as :func:`without_query` returns it."""
    return _URL.sub(lambda found: without_query(found.group()), text)


def is_address(text: str) -> bool:
    """Return whether a text is or holds a URL."""
    return bool(_URL.search(text))


def address_digest(url: str) -> str:
    """Return what stands for an address where a record needs to tell it from others.

    The query does not count: a pre-signed URL is signed again for each attempt and means the same file.

    :param url: the address.
    """
    return f"file-{hashlib.sha256(without_query(url).encode(errors='surrogatepass')).hexdigest()[:24]}"


def storable(value: Any) -> Any:
    """Return a value as it may be stored: each text that is or holds a URL is replaced by that URL's digest.

    :param value: of plain values, lists and mappings.
    """
    if isinstance(value, str):
        found = _URL.search(value)
        return address_digest(found.group()) if found else value
    if isinstance(value, Mapping):
        return {key: storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(storable(item) for item in value)
    return value


def secrets_in(value: Any) -> Iterator[str]:
    """Yield what has to be hidden of a value: each URL with a query or a password, its query, and that query's values.

    :param value: of plain values, lists and mappings.
    """
    if isinstance(value, str):
        for url in _URL.findall(value):
            yield from _secrets_of(url)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secrets_in(item)


def _secrets_of(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        password = parts.password or ""
    except ValueError:
        yield url
        return
    values = [text for _, text in parse_qsl(parts.query)]
    raw = [pair.partition("=")[2] for pair in parts.query.split("&")]
    if parts.query or password:
        yield from (text for text in dict.fromkeys((parts.query, password, *values, *raw)) if _is_secret(text))


def _is_secret(text: str) -> bool:
    return len(text) >= SHORTEST_SECRET


def _host_only(match: re.Match[str]) -> str:
    try:
        return f"<URL at {urlsplit(match.group()).hostname}>"
    except ValueError:  # such as "[http://host]": a bracket that belongs to the text around the URL
        return "<URL>"


def quiet_http_loggers() -> None:
    """Keep httpx from logging whole URLs at INFO, unless somebody set its level on purpose."""
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
