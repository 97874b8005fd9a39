"""What a simulated chat model says: a sentence, the first tool that it has not called yet, or JSON of a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]
_PLAIN: Mapping[str, Any] = {"string": "simulated", "integer": 1, "number": 0.5, "boolean": True, "null": None}
_DEEPEST = 8


@dataclass(frozen=True)
class Said:
    """One answer, before a dialect words it.

    :param id: the answer's.
    :param model: who says it.
    :param text: the sentence; empty where a tool is called.
    :param call: the name of the tool that is called.
    :param arguments: what it is called with.
    :param read: tokens of the request.
    :param written: tokens of the answer.
    :param credits: what it costs.
    :param at: simulated unix time in seconds.
    """

    id: str
    model: str
    text: str = ""
    call: str = ""
    arguments: Json = field(default_factory=dict)
    read: int = 0
    written: int = 0
    credits: float = 0.0
    at: float = 0.0


@dataclass(frozen=True)
class Heard:
    """What a request asks for, in no dialect's words.

    :param tools: the schema of each tool's arguments by its name.
    :param called: tools whose result the conversation has.
    :param schema: what the text has to be JSON of; None: of nothing.
    """

    tools: Mapping[str, Json] = field(default_factory=dict)
    called: Sequence[str] = ()
    schema: Json | None = None


def reply(heard: Heard, read: int, model: str, text: str) -> tuple[str, str, Json]:
    """Return a text, or the name of a tool and its arguments.

    :param read: tokens of the request.
    :param model: who answers.
    :param text: what it says instead of a sentence about that.
    """
    for name, schema in heard.tools.items():
        if name not in heard.called:
            return "", name, invented(schema) or {}
    if heard.schema is not None:
        return json.dumps(invented(heard.schema)), "", {}
    return text or f"The simulated {model} has read {read} tokens.", "", {}


def invented(schema: Json, root: Json | None = None, depth: int = 0) -> Any:
    """Return a value that a JSON schema allows.

    :param root: the schema that it is a part of, for its references.
    """
    whole = root or schema
    if reference := str(schema.get("$ref") or ""):
        found: Any = whole
        for step in reference.removeprefix("#/").split("/"):
            found = found.get(step, {})
        return invented(found, whole, depth + 1)
    for choices in ("anyOf", "oneOf", "allOf"):
        if schema.get(choices):
            return invented(schema[choices][0], whole, depth + 1)
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    named = schema.get("type")
    kind = str(named[0] if isinstance(named, list) else named or "object").lower()
    if kind == "array":
        return [invented(schema["items"], whole, depth + 1)] if schema.get("items") and depth < _DEEPEST else []
    if kind == "object":
        inner = schema.get("properties", {}) if depth < _DEEPEST else {}
        return {name: invented(rule, whole, depth + 1) for name, rule in inner.items()}
    return max(schema["minimum"], _PLAIN[kind]) if "minimum" in schema else _PLAIN[kind]
