"""Answering the API with faults applied: instead of the effect, or to the answer after it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.responses import HTMLResponse, Response

from kie_simulator.answers import Answer
from kie_simulator.connection import Reset
from kie_simulator.faults import Fault

Spoilt = Answer | Response

BAD_GATEWAY = (
    "<!DOCTYPE html><html><head><title>api.kie.ai | 502: Bad gateway</title></head>"
    "<body><h1>Bad gateway</h1><p>Error code 502</p><p>cloudflare</p></body></html>"
)


def _code(fault: Fault, answer: Answer) -> Spoilt:
    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    return Answer(fault.code, fault.msg, fault.data, http=fault.http, headers=headers)


def _http(fault: Fault, answer: Answer) -> Spoilt:
    status = fault.http or fault.code
    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    return Answer(status, fault.msg, fault.data, http=status, headers=headers)


_GONE = {
    "json": Answer(404, "Not Found", http=404),
    "code": Answer(505, "This feature has been disabled."),
}


def _gone(fault: Fault, answer: Answer) -> Spoilt:
    return _GONE.get(fault.gone) or HTMLResponse("<html><body><h1>404 Not Found</h1></body></html>", 404)


def unescaped(body: Mapping[str, Any]) -> str:
    """Echo the request as KIE does: quotes within it end the string, and the body is no JSON (recorded).

    :param body: of an answer, or of a callback.
    """
    text, data = json.dumps(body, ensure_ascii=False), body.get("data")
    for name in ("param", "paramJson"):
        echo = data.get(name) if isinstance(data, dict) else None
        if isinstance(echo, str):
            text = text.replace(json.dumps(echo, ensure_ascii=False), f'"{echo}"')
    return text


def _param_unescaped(fault: Fault, answer: Answer) -> Spoilt:
    return Response(unescaped(answer.body()), media_type=answer.media_type)


def _missing_fields(fault: Fault, answer: Answer) -> Spoilt:
    body = answer.body()
    for name in fault.fields:
        outer, _, inner = name.partition(".")
        if inner and isinstance(body.get(outer), dict):
            body[outer] = {key: value for key, value in body[outer].items() if key != inner}
        else:
            body.pop(outer, None)
    return _Bare(body)


class _Bare(Response):
    """A JSON object as it is, without the envelope being completed."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__(json.dumps(body, ensure_ascii=False), media_type="application/json;charset=UTF-8")


_SPOIL: Mapping[str, Callable[[Fault, Answer], Spoilt]] = {
    "code": _code,
    "http": _http,
    "html": lambda fault, answer: HTMLResponse(BAD_GATEWAY, fault.http or 502),
    "gone": _gone,
    "param_unescaped": _param_unescaped,
    "malformed": lambda fault, answer: Response('{"code":200,"msg":"succ', media_type="application/json"),
    "empty": lambda fault, answer: Response(b"", media_type="application/json"),
    "missing_fields": _missing_fields,
    "no_content_type": lambda fault, answer: dataclasses.replace(answer, media_type=""),
    "reset_before": lambda fault, answer: Reset(),
    "reset_after": lambda fault, answer: Reset(),
}


async def _spoil(faults: Sequence[Fault], answer: Spoilt) -> Spoilt:
    for fault in faults:
        if fault.action == "slow":
            await asyncio.sleep(fault.seconds)
        elif fault.action in _SPOIL and isinstance(answer, Answer):
            answer = _SPOIL[fault.action](fault, answer)
    return answer


async def answered(faults: Sequence[Fault], effect: Callable[[], Awaitable[Answer]], *, http_errors: bool) -> Response:
    """Return the response to a request after the faults that strike it.

    :param faults: the faults in order.
    :param effect: does what was asked and returns the answer; not called when a fault comes before the effect.
    :param http_errors: whether error codes become HTTP statuses.
    """
    before = [fault for fault in faults if not fault.takes_effect]
    nothing = Answer()
    answer: Spoilt = await _spoil(before, nothing)
    if answer is nothing:
        answer = await _spoil([fault for fault in faults if fault.takes_effect], await effect())
    return answer.response(http_errors=http_errors) if isinstance(answer, Answer) else answer
