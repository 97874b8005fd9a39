"""KIE's envelope `{code, msg, data}`: HTTP 200 does not mean success, `code` decides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_kie.client import errors
from airflow_kie.client.errors import KieError
from airflow_kie.client.operations.operation import CodeTable
from airflow_kie.client.untrusted import decode_record

COMMON_CODES: CodeTable = {
    **dict.fromkeys((400, 404, 409, 422, 451, 505), errors.KieInvalidRequest),
    **dict.fromkeys((401, 403), errors.KieUnauthorized),
    402: errors.KieOutOfCredits,
    413: errors.KieContentRejected,
    **dict.fromkeys((429, 430, 550), errors.KieRateLimited),
    433: errors.KieKeyLimit,
    455: errors.KieMaintenance,
    **dict.fromkeys((408, 501, 531), errors.KieGenerationFailed),
}
"""What a code means unless an operation's row says otherwise (docs.kie.ai: each operation's page lists codes)."""

_CREDITS = re.compile(r"credits?\b.*\binsufficient|insufficient\b.*\bcredits?|top[ -]up", re.IGNORECASE | re.DOTALL)
_CREDITS_CODES = frozenset({429, 500})
_DIGITS = re.compile(r"[0-9]{1,9}")

LONGEST_RETRY_AFTER = 3600.0
"""Seconds; a longer Retry-After is asked again after this time."""


@dataclass(frozen=True)
class Response:
    """An HTTP answer, whatever library fetched it.

    :param status: HTTP status.
    :param headers: header names in lower case.
    :param content: the body's bytes.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Envelope:
    """A decoded answer.

    :param code: the business code; 200 is success.
    :param msg: KIE's words.
    :param data: whatever the operation answers.
    :param http_status: the HTTP status that it came with.
    :param retry_after: seconds, from the Retry-After header.
    """

    code: int
    msg: str = field(repr=False)
    data: Any = field(repr=False)
    http_status: int
    retry_after: float | None = None


def decode_envelope(response: Response) -> Envelope:
    """Decode an answer; the body decides, not the Content-Type (KIE leaves it out at times).

    :raises KieServerError: for a gateway's page or a 5xx without envelope.
    :raises KieBadAnswer: for anything else that is not an envelope.
    """
    retry_after = _seconds(response.headers.get("retry-after"))
    try:
        body = decode_record(response.content)
    except ValueError:
        raise _without_envelope(response, retry_after) from None
    code = _whole(body.get("code")) if isinstance(body, dict) else None
    if code is None:
        raise _without_envelope(response, retry_after)
    if code < 400 <= response.status:
        code = response.status
    return Envelope(code, str(body.get("msg") or ""), body.get("data"), response.status, retry_after)


def error_in(envelope: Envelope, kind: str, table: CodeTable) -> KieError | None:
    """Return what an envelope's code means, or None for success.

    A code that neither table has is a server error from 500 on and a refused request from 400 on; below it says neither
    yes nor no (a client has seen 201 for "pending"). A text about credits wins over 429 and 500: KIE has sent both with
    it.

    :param envelope: the decoded answer.
    :param kind: the operation's name.
    :param table: codes that mean something else for this operation than in the common table.
    """
    if envelope.code == 200:
        return None
    refused = errors.KieInvalidRequest if envelope.code >= 400 else errors.KieBadAnswer
    fallback = errors.KieServerError if envelope.code >= 500 else refused
    error = table.get(envelope.code) or COMMON_CODES.get(envelope.code, fallback)
    if envelope.code in _CREDITS_CODES and _CREDITS.search(envelope.msg):
        error = errors.KieOutOfCredits
    return error(envelope.msg, code=envelope.code, kind=kind, retry_after=envelope.retry_after)


def _without_envelope(response: Response, retry_after: float | None) -> KieError:
    status = response.status
    if status in (401, 403, 429):
        return COMMON_CODES[status](f"HTTP {status}", code=status, retry_after=retry_after)
    if status >= 500:
        return errors.KieServerError(f"HTTP {status} from a gateway", code=status, retry_after=retry_after)
    kind = (
        "an HTML page" if response.content.lstrip()[:1] == b"<" else f"{len(response.content)} bytes that are not JSON"
    )
    return errors.KieBadAnswer(f"HTTP {status} with {kind} instead of a KIE answer", code=status)


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if _DIGITS.fullmatch(value.strip()) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _seconds(header: str | None) -> float | None:
    """Return Retry-After's seconds; its date form is not worth a parser: KIE documents neither."""
    seconds = _whole(header)
    return None if seconds is None else min(float(seconds), LONGEST_RETRY_AFTER)
