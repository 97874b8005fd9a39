"""Requests and answers of each dialect, as KIE's pages of the chat models show them (docs.kie.ai, market)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kie_simulator.chat.inventing import Heard, Json, Said


@dataclass(frozen=True)
class Dialect:
    """How a chat endpoint is spoken to.

    :param asked: the field of the conversation.
    :param key_header: a header that may hold the key in place of ``Authorization``.
    :param heard: reads a request.
    :param answer: words an answer.
    :param events: words it as server-sent events: each its name, which may be empty, and its data.
    :param done: what ends the events.
    """

    asked: str
    heard: Callable[[Json], Heard]
    answer: Callable[[Said], dict[str, Any]]
    events: Callable[[Said], Iterator[tuple[str, Json]]]
    key_header: str = ""
    done: str = ""

    def stream(self, said: Said) -> str:
        """Return an answer as server-sent events."""
        lines = [f"event: {name}\n" * bool(name) + f"data: {json.dumps(data)}\n\n" for name, data in self.events(said)]
        return "".join(lines) + (f"data: {self.done}\n\n" if self.done else "")


def _pieces(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def _chat_heard(body: Json) -> Heard:
    functions = [tool.get("function", {}) for tool in body.get("tools") or ()]
    called = {
        call["id"]: call["function"]["name"]
        for message in body.get("messages") or ()
        for call in message.get("tool_calls") or ()
    }
    given = [called.get(m.get("tool_call_id"), "") for m in body.get("messages") or () if m.get("role") == "tool"]
    # KIE's own search is a tool without parameters, which the model does not call itself.
    tools = {function["name"]: function["parameters"] for function in functions if function.get("parameters")}
    return Heard(tools, given, ((body.get("response_format") or {}).get("json_schema") or {}).get("schema"))


def _chat_call(said: Said) -> list[dict[str, Any]]:
    function = {"name": said.call, "arguments": json.dumps(said.arguments)}
    return [{"id": f"call_{said.id}", "type": "function", "function": function}] if said.call else []


def _chat_usage(said: Said) -> dict[str, Any]:
    total = said.read + said.written
    return {"prompt_tokens": said.read, "completion_tokens": said.written, "total_tokens": total}


def _chat_answer(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None, "annotations": []}
    calls = _chat_call(said)
    choice = {
        "index": 0,
        "message": message | ({"tool_calls": calls} if calls else {}),
        "logprobs": None,
        "finish_reason": "tool_calls" if calls else "stop",
    }
    return {
        "id": f"chatcmpl-{said.id}",
        "object": "chat.completion",
        "created": int(said.at),
        "model": said.model,
        "choices": [choice],
        "usage": _chat_usage(said),
        "credits_consumed": said.credits,
    }


def _chat_events(said: Said) -> Iterator[tuple[str, Json]]:
    base = {
        "id": f"chatcmpl-{said.id}",
        "object": "chat.completion.chunk",
        "created": int(said.at),
        "model": said.model,
    }
    calls = [{"index": 0, **call} for call in _chat_call(said)]
    deltas: list[dict[str, Any]] = [{"tool_calls": calls}] if calls else [{"content": t} for t in _pieces(said.text)]
    for delta in [{"role": "assistant", "content": ""}, *deltas]:
        yield "", base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    ended = {"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}
    yield "", base | {"choices": [ended]}
    yield "", base | {"choices": [], "usage": _chat_usage(said), "credits_consumed": said.credits}


def _responses_heard(body: Json) -> Heard:
    given_input = body.get("input")
    items = given_input if isinstance(given_input, list) else []
    called = {item.get("call_id"): item.get("name", "") for item in items if item.get("type") == "function_call"}
    given = [called.get(item.get("call_id"), "") for item in items if item.get("type") == "function_call_output"]
    tools = {tool["name"]: tool["parameters"] for tool in body.get("tools") or () if tool.get("type") == "function"}
    return Heard(tools, given, ((body.get("text") or {}).get("format") or {}).get("schema"))


def _responses_item(said: Said) -> dict[str, Any]:
    if said.call:
        arguments = json.dumps(said.arguments)
        ids = {"id": f"fc_{said.id}", "call_id": f"call_{said.id}"}
        return {"type": "function_call", **ids, "name": said.call, "arguments": arguments, "status": "completed"}
    content = [{"type": "output_text", "text": said.text, "annotations": []}]
    return {
        "type": "message",
        "role": "assistant",
        "id": f"msg_{said.id}",
        "content": content,
        "status": "completed",
    }


def _responses_answer(said: Said) -> dict[str, Any]:
    # The page's example has no id, no model and no time.
    usage = {
        "total_tokens": said.read + said.written,
        "output_tokens": said.written,
        "input_tokens": said.read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    reasoning = {"type": "reasoning", "id": f"rs_{said.id}", "summary": []}
    output = [reasoning, _responses_item(said)]
    return {"output": output, "usage": usage, "credits_consumed": said.credits, "status": "completed"}


def _responses_events(said: Said) -> Iterator[tuple[str, Json]]:
    whole = _responses_answer(said)
    credits = whole.pop("credits_consumed")
    whole |= {"id": f"resp_{said.id}", "object": "response", "created_at": int(said.at), "model": said.model}
    item = _responses_item(said)
    of_item = {"item_id": item["id"], "output_index": 0}
    parts: list[dict[str, Any]] = [{"type": "response.created", "response": whole | {"output": [], "usage": None}}]
    if said.call:
        parts.append({"type": "response.output_item.added", "output_index": 0, "item": item | {"arguments": ""}})
        parts.append({"type": "response.function_call_arguments.delta", **of_item, "delta": item["arguments"]})
    else:
        parts.append({"type": "response.output_item.added", "output_index": 0, "item": item | {"content": []}})
        empty = {"type": "output_text", "text": "", "annotations": []}
        parts.append({"type": "response.content_part.added", **of_item, "content_index": 0, "part": empty})
        for text in _pieces(said.text):
            delta = {"type": "response.output_text.delta", **of_item, "content_index": 0, "delta": text}
            parts.append(delta | {"logprobs": []})
    parts.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    parts.append({"type": "response.completed", "response": whole, "credits_consumed": credits})
    for number, part in enumerate(parts):
        yield part["type"], part | {"sequence_number": number}


def _claude_heard(body: Json) -> Heard:
    blocks = [b for m in body.get("messages") or () if isinstance(m.get("content"), list) for b in m["content"]]
    called = {block["id"]: block["name"] for block in blocks if block.get("type") == "tool_use"}
    given = [called.get(block.get("tool_use_id"), "") for block in blocks if block.get("type") == "tool_result"]
    return Heard({tool["name"]: tool["input_schema"] for tool in body.get("tools") or ()}, given)


def _claude_block(said: Said) -> dict[str, Any]:
    if not said.call:
        return {"type": "text", "text": said.text}
    known = {"type": "tool_use", "id": f"toolu_{said.id}", "name": said.call}
    return known | {"input": dict(said.arguments), "caller": {"type": "direct"}}


def _claude_answer(said: Said) -> dict[str, Any]:
    usage = {
        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
        "output_tokens": said.written,
        "service_tier": "standard",
        "cache_creation_input_tokens": 0,
        "input_tokens": said.read,
        "cache_read_input_tokens": 0,
    }
    return {
        "role": "assistant",
        "usage": usage,
        "stop_reason": "tool_use" if said.call else "end_turn",
        "model": said.model,
        "id": f"msg_{said.id}",
        "credits_consumed": said.credits,
        "type": "message",
        "content": [_claude_block(said)],
    }


def _claude_events(said: Said) -> Iterator[tuple[str, Json]]:
    whole, block = _claude_answer(said), _claude_block(said)
    start = {name: value for name, value in whole.items() if name != "credits_consumed"}
    start |= {"content": [], "stop_reason": None, "usage": whole["usage"] | {"output_tokens": 1}}
    yield "message_start", {"type": "message_start", "message": start}
    nothing: Json = {"input": {}} if said.call else {"text": ""}
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": {**block, **nothing}}
    deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": text} for text in _pieces(said.text)]
    if said.call:
        deltas = [{"type": "input_json_delta", "partial_json": json.dumps(said.arguments)}]
    for delta in deltas:
        yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": said.written}
    counted = {"usage": usage, "credits_consumed": said.credits}
    yield "message_delta", {"type": "message_delta", "delta": ended, **counted}
    yield "message_stop", {"type": "message_stop"}


def _gemini_heard(body: Json) -> Heard:
    parts = [part for content in body.get("contents") or () for part in content.get("parts") or ()]
    given = [part["functionResponse"].get("name", "") for part in parts if part.get("functionResponse")]
    declared = [one for tool in body.get("tools") or () for one in tool.get("functionDeclarations") or ()]
    tools = {one["name"]: one.get("parameters") or {} for one in declared}
    return Heard(tools, given, (body.get("generationConfig") or {}).get("responseJsonSchema"))


def _gemini_answer(said: Said) -> dict[str, Any]:
    call = {"args": dict(said.arguments), "name": said.call, "id": said.id[:8]}
    part = {"functionCall": call, "thoughtSignature": f"sig-{said.id}"} if said.call else {"text": said.text}
    usage = {
        "candidatesTokenCount": said.written,
        "thoughtsTokenCount": 0,
        "totalTokenCount": said.read + said.written,
        "promptTokenCount": said.read,
    }
    return {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
        "modelVersion": said.model,
        "usageMetadata": usage,
        "credits_consumed": said.credits,
        "responseId": said.id,
    }


def _gemini_events(said: Said) -> Iterator[tuple[str, Json]]:
    whole = _gemini_answer(said)
    if not said.call:
        begun, rest = _pieces(said.text)
        yield "", {"candidates": [{"content": {"role": "model", "parts": [{"text": begun}]}}], "responseId": said.id}
        whole["candidates"][0]["content"]["parts"] = [{"text": rest}]
    yield "", whole


CHAT = Dialect("messages", _chat_heard, _chat_answer, _chat_events, done="[DONE]")
RESPONSES = Dialect("input", _responses_heard, _responses_answer, _responses_events, done="[DONE]")
CLAUDE = Dialect("messages", _claude_heard, _claude_answer, _claude_events, key_header="x-api-key")
GEMINI = Dialect("contents", _gemini_heard, _gemini_answer, _gemini_events, key_header="x-goog-api-key")
_ENDINGS: Mapping[str, Dialect] = {
    "/chat/completions": CHAT,
    "/responses": RESPONSES,
    "/messages": CLAUDE,
    ":streamGenerateContent": GEMINI,
}


def dialect_at(path: str) -> Dialect | None:
    """Return the dialect that an endpoint speaks; None: it is none of a chat model."""
    return next((dialect for ending, dialect in _ENDINGS.items() if path.endswith(ending)), None)
