"""Keep secrets out of texts: URLs in KIE's messages can carry tokens, and so can the URLs that are downloaded."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit, urlunsplit

_URL = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_KEY = re.compile(r"(?i)\b(bearer)\s+[^\s\"'<>]+")


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
