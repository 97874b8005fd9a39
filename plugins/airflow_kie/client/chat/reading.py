"""What a chat model's answer is: its JSON or server-sent events, or the refusal that comes in its place.

The body decides, neither the HTTP status nor the Content-Type: KIE refuses within HTTP 200, and one of its recorded
answers had no Content-Type at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_kie.client.answers.envelope import Envelope, Response, decode_envelope, error_in
from airflow_kie.client.chat.models import ChatModel, Dialect
from airflow_kie.client.errors import KieBadAnswer, KieChatInDoubt, KieError, KieGenerationFailed, KieServerError
from airflow_kie.client.untrusted import decode_json

Json = Mapping[str, Any]
_MARKS: Mapping[Dialect, str] = {
    Dialect.COMPLETIONS: "choices",
    Dialect.RESPONSES: "output",
    Dialect.MESSAGES: "content",
    Dialect.CONTENTS: "candidates",
}
"""The field that every answer in a dialect has."""
_ERROR_CODES: Mapping[str, int] = {
    "authentication_error": 401,
    "permission_error": 401,
    "billing_error": 402,
    "insufficient_quota": 402,
    "invalid_request_error": 400,
    "not_found_error": 404,
    "rate_limit_error": 429,
}
"""What the types of OpenAI's and Anthropic's errors are in KIE's codes; any other one is 500."""
_UNDECIDED = frozenset({408, 504})
"""Statuses after which KIE may have charged all the same: it gave up waiting, not working."""


@dataclass(frozen=True)
class Answered:
    """An answer.

    :param parts: its JSON objects: one, or one for each server-sent event.
    :param events: the server-sent events as they came; empty: it is one JSON object.
    """

    parts: tuple[Json, ...] = field(repr=False)
    events: bytes = field(default=b"", repr=False)


def read_answer(chat: ChatModel, response: Response) -> Answered:
    """Return a chat model's answer.

    :raises KieChatInDoubt: when it is not readable, or an error of KIE's own: KIE may have charged for it.
    :raises KieError: what KIE's refusal means; nothing is charged then.
    """
    content = response.content.strip()
    try:
        if content.startswith((b"data:", b"event:", b":")):
            answer = Answered(tuple(_events(content)), content + b"\n\n")
        else:
            decoded = decode_json(content)
            answer = Answered(tuple(decoded) if isinstance(decoded, list) else (decoded,))
    except ValueError:
        raise _without_json(response) from None
    for part in answer.parts:
        if refusal := _refusal(chat, part, response):
            raise refusal
    mark = _MARKS[chat.dialect]
    objects = bool(answer.parts) and all(isinstance(part, dict) for part in answer.parts)
    if not objects or not (answer.events or all(mark in part for part in answer.parts)):
        raise KieChatInDoubt(f"the answer has no {mark}")
    return answer


def _events(content: bytes) -> Iterator[Json]:
    for line in content.splitlines():
        data = line.removeprefix(b"data:").strip()
        if line.startswith(b"data:") and data and data != b"[DONE]":
            yield decode_json(data)


def _refusal(chat: ChatModel, part: Any, response: Response) -> KieError | None:
    """Return what a JSON object refuses, None for one that does not."""
    if not isinstance(part, dict) or _MARKS[chat.dialect] in part:
        return None
    error = part.get("error")
    if isinstance(error, dict) and error:
        named = str(error.get("type") or "")
        code = response.status if response.status >= 400 else _ERROR_CODES.get(named, 500)
        envelope = Envelope(code, str(error.get("message") or named), None, response.status)
    elif "code" in part and "msg" in part:
        envelope = Envelope(_code(part["code"]), str(part["msg"] or ""), None, response.status)
    else:
        return None
    refusal = error_in(envelope, chat.name, {})
    # An error of KIE's own, or an unknown code: neither says what is charged.
    if isinstance(refusal, KieServerError | KieGenerationFailed | KieBadAnswer):
        return KieChatInDoubt(envelope.msg, code=envelope.code, kind=chat.name)
    return refusal


def _code(value: Any) -> int:
    return int(value) if str(value).isdigit() and len(str(value)) < 10 else 500


def _without_json(response: Response) -> KieError:
    """Return the error of an answer that is not JSON: only an HTTP 4xx says that nothing was charged."""
    try:
        decode_envelope(response)
    except (KieBadAnswer, KieServerError) as error:
        facts = error.facts
        if 400 <= response.status < 500 and response.status not in _UNDECIDED:
            return error
        return KieChatInDoubt(facts.message, code=facts.code)
    except KieError as error:
        return error
    return KieChatInDoubt(f"HTTP {response.status}, and it could not be read")
