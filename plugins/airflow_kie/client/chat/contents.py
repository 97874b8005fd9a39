"""Google's dialect: OpenAI's chat completions become its ``contents``, and its answers become theirs.

KIE has no ``generateContent`` but only ``streamGenerateContent``, takes the key as a bearer, and Google's library for
Python needs a tenacity that Airflow 3.3.2 does not have: so OpenAI's library asks, and this translates
(docs.kie.ai, market/gemini/gemini-3-flash-v1beta).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_kie.client.errors import KieChatInDoubt, KieContentRejected

Json = Mapping[str, Any]
_DATA_URL = re.compile(r"data:([\w.+/-]+);base64,(.*)", re.DOTALL)
_SETTINGS: Mapping[str, str] = {
    "max_completion_tokens": "maxOutputTokens",
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "seed": "seed",
    "stop": "stopSequences",
}
_SCHEMA_FIELDS = frozenset(
    ("type", "description", "enum", "items", "properties", "required", "minimum", "maximum", "minItems", "maxItems")
)
"""What a tool's parameters may say of a value; Google refuses other fields of a JSON schema."""
_DEEPEST = 32
_ENDED: Mapping[str, str] = {"STOP": "stop", "MAX_TOKENS": "length"}
_FILTERED = frozenset({"SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE"})


def asked_in_contents(body: Json) -> dict[str, Any]:
    """Return a request in Google's words.

    :param body: of OpenAI's chat completions.
    """
    names = {call["id"]: call["function"]["name"] for m in body["messages"] for call in m.get("tool_calls") or ()}
    system = [part for m in body["messages"] if m["role"] in ("system", "developer") for part in _parts(m)]
    contents: list[dict[str, Any]] = []
    for message in body["messages"]:
        if message["role"] in ("system", "developer"):
            continue
        role = "model" if message["role"] == "assistant" else "user"
        parts = list(_result(message, names) if message["role"] == "tool" else _parts(message))
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    asked: dict[str, Any] = {"stream": False, "contents": contents}
    declared = [_declaration(tool["function"]) for tool in body.get("tools") or ()]
    config = _config(body)
    return (
        asked
        | ({"systemInstruction": {"parts": system}} if system else {})
        | ({"tools": [{"functionDeclarations": declared}]} if declared else {})
        | ({"generationConfig": config} if config else {})
    )


def _parts(message: Json) -> Iterator[dict[str, Any]]:
    content = message.get("content")
    listed: Sequence[Json] = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    for part in listed:
        if part["type"] == "text":
            yield {"text": part["text"]}
        elif part["type"] == "image_url":
            url = part["image_url"]["url"]
            inline = _DATA_URL.fullmatch(url)
            if inline:
                yield {"inline_data": {"mime_type": inline[1], "data": inline[2]}}
            else:
                yield {"file_data": {"file_uri": url}}
    for call in message.get("tool_calls") or ():
        made = {"name": call["function"]["name"], "args": json.loads(call["function"]["arguments"] or "{}")}
        signature = ((call.get("extra_content") or {}).get("google") or {}).get("thought_signature")
        # Gemini 3 refuses a call that comes back without the signature that it came with.
        yield {"functionCall": made} | ({"thoughtSignature": signature} if signature else {})


def _result(message: Json, names: Json) -> Iterator[dict[str, Any]]:
    content = message.get("content")
    text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
    response = {"name": names.get(message["tool_call_id"], ""), "response": {"result": text}}
    yield {"functionResponse": response}


def _declaration(function: Json) -> dict[str, Any]:
    schema = function.get("parameters") or {}
    known = {"name": function["name"], "description": function.get("description") or function["name"]}
    return known | {"parameters": _plain(schema, schema)}


def _plain(schema: Json, root: Json, depth: int = 0) -> dict[str, Any]:
    """Return a JSON schema without references, choices and fields that Google does not take."""
    if depth > _DEEPEST:
        return {}
    if reference := str(schema.get("$ref") or ""):
        found: Any = root
        for step in reference.removeprefix("#/").split("/"):
            found = found.get(step, {})
        return _plain(found, root, depth + 1)
    choices = [choice for choice in schema.get("anyOf") or () if choice.get("type") != "null"]
    if choices:
        nullable = {"nullable": True} if len(choices) < len(schema["anyOf"]) else {}
        return _plain(choices[0], root, depth + 1) | nullable
    plain = {name: value for name, value in schema.items() if name in _SCHEMA_FIELDS}
    if "properties" in plain:
        properties = plain["properties"].items()
        plain["properties"] = {name: _plain(rule, root, depth + 1) for name, rule in properties}
    if "items" in plain:
        plain["items"] = _plain(plain["items"], root, depth + 1)
    return plain


def _config(body: Json) -> dict[str, Any]:
    config = {theirs: body[ours] for ours, theirs in _SETTINGS.items() if body.get(ours) is not None}
    if body.get("reasoning_effort"):
        config["thinkingConfig"] = {"thinkingLevel": body["reasoning_effort"]}
    schema = ((body.get("response_format") or {}).get("json_schema") or {}).get("schema")
    return config | ({"responseMimeType": "application/json", "responseJsonSchema": schema} if schema else {})


def completion(parts: Sequence[Json], model: str) -> dict[str, Any]:
    """Return an answer as one of OpenAI's chat completions.

    :param parts: Google's chunks; one where it was not streamed.
    :param model: its name.
    :raises KieContentRejected: when the prompt or the answer was blocked.
    :raises KieChatInDoubt: when there is nothing in it.
    """
    candidates = [part["candidates"][0] for part in parts if part.get("candidates")]
    pieces = [piece for one in candidates for piece in (one.get("content") or {}).get("parts") or ()]
    ended = next((one["finishReason"] for one in reversed(candidates) if one.get("finishReason")), "")
    blocked = next((p["promptFeedback"]["blockReason"] for p in parts if _blocked(p)), ended * (ended in _FILTERED))
    if blocked:
        raise KieContentRejected(f"Google has blocked it ({blocked})", kind=model)
    text = "".join(piece["text"] for piece in pieces if "text" in piece and not piece.get("thought"))
    calls = [_call(number, piece) for number, piece in enumerate(pieces) if piece.get("functionCall")]
    if not text and not calls:
        raise KieChatInDoubt("the answer has neither a text nor a call", kind=model)
    message = {"role": "assistant", "content": text or None} | ({"tool_calls": calls} if calls else {})
    finish = "tool_calls" if calls else _ENDED.get(ended, "stop")
    usage: Json = next((part["usageMetadata"] for part in reversed(parts) if part.get("usageMetadata")), {})
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": _usage(usage)}
    known = next((part["responseId"] for part in parts if part.get("responseId")), None)
    credits = next((part["credits_consumed"] for part in reversed(parts) if "credits_consumed" in part), None)
    return {
        "id": known or "gemini",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        **answer,
        "credits_consumed": credits,
    }


def _blocked(part: Json) -> bool:
    return bool((part.get("promptFeedback") or {}).get("blockReason"))


def _call(number: int, piece: Json) -> dict[str, Any]:
    made = piece["functionCall"]
    function = {"name": made.get("name"), "arguments": json.dumps(made.get("args") or {})}
    call = {"id": made.get("id") or f"call_{number}", "type": "function", "function": function}
    signature = piece.get("thoughtSignature")
    return call | ({"extra_content": {"google": {"thought_signature": signature}}} if signature else {})


def _usage(usage: Json) -> dict[str, int]:
    read = int(usage.get("promptTokenCount") or 0)
    # The page and a recording spell the second differently.
    thought = usage.get("thoughtsTokenCount") or usage.get("thinkingTokenCount") or 0
    written = int(usage.get("candidatesTokenCount") or 0) + int(thought)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def completion_events(whole: Json) -> bytes:
    """Return a chat completion as the server-sent events of a streamed one."""
    (choice,) = whole["choices"]
    message = choice["message"]
    calls = [{"index": number, **call} for number, call in enumerate(message.get("tool_calls") or ())]
    delta = {"role": "assistant", "content": message["content"]} | ({"tool_calls": calls} if calls else {})
    base = {name: whole[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    chunks = (
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
        {"choices": [], "usage": whole["usage"]},
    )
    return b"".join(b"data: %s\n\n" % json.dumps(base | chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
