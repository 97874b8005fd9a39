"""Texts that may be logged, shown and stored: without secrets, and on one line.

A pre-signed address grants what it names to anyone who reads it, whether it is one of KIE's or one for KIE to fetch. So
no address with a query is stored, logged or shown: errors and records pass all that they hold through
:func:`without_urls` and :func:`storable`. And a line break in a title makes a forged log line, an escape sequence
changes what a terminal shows, half a surrogate pair breaks the handler that writes it: hence :func:`one_line`.
"""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

_URL = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_KEY = re.compile(r"(?i)\b(bearer)\s+[^\s\"'<>]+")
SHORTEST_SECRET = 8
"""Characters below which a query's value is not hidden from logs: `X-Amz-Expires=3600` would hide every 3600."""
_BROKEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of controls, invisible formats, lone surrogates, and separators of lines and paragraphs."""
_JOINERS = "\u200c\u200d"
"""Formats that scripts and emoji need within a word."""


def without_query(url: str) -> str:
    """Return the URL without user, query and fragment, for a log, a manifest or an error."""
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


def _host_only(match: re.Match[str]) -> str:
    try:
        return f"<URL at {urlsplit(match.group()).hostname}>"
    except ValueError:  # such as "[http://host]": a bracket that belongs to the text around the URL
        return "<URL>"


def is_address(text: str) -> bool:
    """Return whether a text is or holds a URL."""
    return bool(_URL.search(text))


def storable(value: Any) -> Any:
    """Return a value as it may be stored: each text that is or holds a URL is replaced by that URL's digest.

    The query does not count: a pre-signed URL is signed again for each attempt and means the same file.

    :param value: of plain values, lists and mappings.
    """
    if isinstance(value, str):
        found = _URL.search(value)
        address = without_query(found.group()).encode(errors="surrogatepass") if found else b""
        return f"file-{hashlib.sha256(address).hexdigest()[:24]}" if found else value
    return map_texts(storable, value)


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a value of plain values, lists and mappings; keys do not count."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from texts_in(item)


def map_texts(change: Callable[[str], str], value: Any) -> Any:
    """Return a value of plain values, lists and mappings with every text in it changed; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_texts(change, item) for key, item in value.items()}
    return type(value)(map_texts(change, item) for item in value) if isinstance(value, list | tuple) else value


def secrets_in(value: Any) -> Iterator[str]:
    """Yield what has to be hidden of a value: of each URL its query, that query's values, and its password.

    :param value: of plain values, lists and mappings.
    """
    for url in (url for text in texts_in(value) for url in _URL.findall(text)):
        try:
            parts = urlsplit(url)
            found = [parts.query, parts.password or "", *(value for _, value in parse_qsl(parts.query))]
        except ValueError:
            found = [url]
        else:
            found += [pair.partition("=")[2] for pair in parts.query.split("&")]
        yield from (text for text in dict.fromkeys(found) if len(text) >= SHORTEST_SECRET)


def one_line(text: object) -> str:
    """Return a text with a blank for each character that is not to be seen, and for each run of white space.

    :param text: anyone's text, or what has one.
    """
    shown = str(text)
    if not shown.isprintable():  # else no character is to be replaced
        shown = "".join(" " if _is_broken(character) else character for character in shown)
    return " ".join(shown.split())


def _is_broken(character: str) -> bool:
    return character not in _JOINERS and unicodedata.category(character) in _BROKEN


class OneLineArguments(logging.Handler):
    """Makes the arguments of every record of this package one line, before any handler that writes it.

    Records go from their logger upwards. So this handler, at the package's own logger, sees each before those of the
    root; a filter there would see none of its modules' records.
    """

    def handle(self, record: logging.LogRecord) -> bool:
        """Change the record's arguments; numbers stay numbers, and our own words stay as they are."""
        arguments = record.args
        if isinstance(arguments, Mapping):
            record.args = {name: _argument(value) for name, value in arguments.items()}
        elif arguments:
            record.args = tuple(map(_argument, arguments))
        return True


def _argument(value: Any) -> Any:
    """Return an argument as it is, blanks at its ends included, unless it would write a line of its own."""
    if value is None or isinstance(value, (int, float)):
        return value
    return one_line(value) if any(map(_is_broken, str(value))) else value


def keep_log_lines_whole() -> None:
    """Put the handler at the package's logger, once."""
    package = logging.getLogger("airflow_kie")
    if not any(isinstance(handler, OneLineArguments) for handler in package.handlers):
        package.addHandler(OneLineArguments())


def quiet_http_loggers() -> None:
    """Keep httpx from logging whole URLs at INFO, unless somebody set its level on purpose."""
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
