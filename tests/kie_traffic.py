"""Recorded or written traffic with KIE: asking a server the same requests, and comparing shapes of answers."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

import httpx

ONE_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def shape(value: Any) -> Any:
    """Return a value with the names of its members and the types of its leaves."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "null" if value is None else "string"


def opened(value: Any, name: str = "") -> Any:
    """Return an answer with the JSON that stands in texts of ``param``, ``paramJson`` and ``resultJson`` decoded."""
    if isinstance(value, dict):
        return {key: opened(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [opened(inner) for inner in value]
    if value and isinstance(value, str) and name in ("param", "paramJson", "resultJson", "input"):
        return opened(json.loads(value))
    return value


def leaves(value: Any, path: str = "") -> set[str]:
    """Return the path of every leaf, with ``[]`` for whatever stands in a list."""
    if isinstance(value, dict):
        return {leaf for key, inner in value.items() for leaf in leaves(inner, f"{path}.{key}" if path else key)}
    if isinstance(value, list):
        return {leaf for inner in value for leaf in leaves(inner, f"{path}[]")}
    return {path}


def ask(kie: httpx.Client, request: dict[str, Any], ids: dict[str, str]) -> httpx.Response:
    """Send a request again.

    :param ids: the server's own ids by those of the traffic.
    """
    url = urlsplit(request["url"])
    path = f"{url.path}?{url.query}" if url.query else url.path
    body = json.dumps(request["body"])
    for recorded, simulated in ids.items():
        path, body = path.replace(recorded, simulated), body.replace(recorded, simulated)
    if "file-stream-upload" in path:
        form = {"uploadPath": "images/test-uploads"}
        return kie.post(path, data=form, files={"file": ("pixel.png", ONE_PIXEL, "image/png")})
    return kie.request(request["method"], path, json=json.loads(body))
