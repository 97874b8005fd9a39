"""Requests as KIE's pages show them, and answers as the libraries of OpenAI and Anthropic expect them.

The pages of the chat completions and of the responses show each message's content as a list; ``stream`` is sent
always, since KIE streams where it is left out. The example of the responses has no id, model or time.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from airflow_kie.client.chat.contents import asked_in_contents, completion, completion_events
from airflow_kie.client.chat.models import ChatModel, Dialect
from airflow_kie.client.chat.reading import Answered

Json = Mapping[str, Any]
HEADERS: Mapping[Dialect, Mapping[str, str]] = {Dialect.MESSAGES: {"anthropic-version": "2023-06-01"}}
"""Further headers that a dialect wants."""
KEY_HEADERS: Mapping[Dialect, str] = {Dialect.MESSAGES: "X-Api-Key", Dialect.CONTENTS: "X-Goog-Api-Key"}
"""Where a dialect's pages have the key; observed: ``Authorization`` does for all of them, and is sent as well."""


def asked(chat: ChatModel, body: Json) -> dict[str, Any]:
    """Return a request's body as KIE's page of the model shows it.

    :param chat: the model.
    :param body: what OpenAI's or Anthropic's library has written.
    """
    return _ASKED[chat.dialect](chat, {"stream": False, **body})


def answered(chat: ChatModel, answer: Answered, *, stream: bool) -> tuple[bytes, str]:
    """Return an answer as the library reads it, and its content type.

    :param chat: the model.
    :param answer: what KIE has answered.
    :param stream: whether the library has asked for server-sent events.
    """
    if chat.dialect is Dialect.CONTENTS:
        whole = _completed(chat, completion(answer.parts, chat.name))
        return (completion_events(whole), _EVENTS) if stream else (json.dumps(whole).encode(), _JSON)
    if answer.events:
        return answer.events, _EVENTS
    return json.dumps(_completed(chat, answer.parts[0])).encode(), _JSON


_JSON, _EVENTS = "application/json", "text/event-stream"


def _completions(chat: ChatModel, body: dict[str, Any]) -> dict[str, Any]:
    body.pop("model", None)  # the path names it
    messages = [_listed(message, "text", "text") for message in body.get("messages", ())]
    return body | {"messages": messages}


def _responses(chat: ChatModel, body: dict[str, Any]) -> dict[str, Any]:
    if isinstance(body.get("input"), list):
        body["input"] = [_listed(item, "input_text", "output_text") for item in body["input"]]
    return body


def _listed(message: Json, read: str, written: str) -> dict[str, Any]:
    """Return a message whose content is a list of parts.

    :param read: the type of a text that the model reads.
    :param written: the type of one that it has written.
    """
    content = message.get("content")
    if not isinstance(content, str):
        return dict(message)
    kind = written if message.get("role") == "assistant" else read
    return {**message, "content": [{"type": kind, "text": content}]}


_ASKED: Mapping[Dialect, Callable[[ChatModel, dict[str, Any]], dict[str, Any]]] = {
    Dialect.COMPLETIONS: _completions,
    Dialect.RESPONSES: _responses,
    Dialect.MESSAGES: lambda chat, body: body,
    Dialect.CONTENTS: lambda chat, body: asked_in_contents(body),
}
_MISSING: Mapping[Dialect, Mapping[str, Callable[[ChatModel], Any]]] = {
    Dialect.COMPLETIONS: {
        "id": lambda chat: f"chatcmpl-{uuid.uuid4().hex}",
        "object": lambda chat: "chat.completion",
        "created": lambda chat: int(time.time()),
        "model": lambda chat: chat.name,
    },
    Dialect.RESPONSES: {
        "id": lambda chat: f"resp_{uuid.uuid4().hex}",
        "object": lambda chat: "response",
        "created_at": lambda chat: int(time.time()),
        "model": lambda chat: chat.name,
        "parallel_tool_calls": lambda chat: False,
        "tool_choice": lambda chat: "auto",
        "tools": lambda chat: [],
    },
    Dialect.MESSAGES: {"model": lambda chat: chat.name, "stop_sequence": lambda chat: None},
    Dialect.CONTENTS: {},
}
"""What the libraries need and KIE's examples leave out."""


def _completed(chat: ChatModel, answer: Json) -> dict[str, Any]:
    return {name: make(chat) for name, make in _MISSING[chat.dialect].items() if name not in answer} | dict(answer)
