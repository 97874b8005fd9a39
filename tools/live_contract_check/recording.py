"""A recording of what KIE answered, fit to be shown: a test can replay it, and nobody learns whose account it was.

Same form as the recorded traffic of the tests: a list of `{started, request: {method, url, body}, response: {status,
content_type, body}}`, and the step of each. Request headers, and with them the key, are never part of it.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from airflow_kie.client.account import API_URL
from airflow_kie.client.redact import without_urls
from tools.live_contract_check.http_log import Exchange

CALLBACK = "https://example.com/callback"
NOT_JSON = "not JSON"
"""Member of a recorded body that was no JSON."""
FIRST_BALANCE = 1000.0
_WORDS = frozenset(
    [
        *("msg", "errorMessage", "status", "type", "operationType", "createTime", "completeTime"),
        *("model", "model_name", "state", "failCode", "failMsg", "pricingDesc"),
    ]
)
"""Fields whose texts are KIE's own; every other text is a person's, unless it is an id or a link."""
_NESTED = frozenset({"param", "paramJson", "resultJson", "input"})
"""Fields whose texts are JSON themselves, in which ids and texts of people stand."""
_CALLBACKS = frozenset({"callBackUrl", "callbackUrl"})


@dataclass
class _Redactor:
    """Replaces what names somebody: the same thing always by the same, so that a recording still fits together.

    :param ids: every id that was sent or named.
    """

    ids: frozenset[str]
    _first_balance: float | None = field(default=None, init=False)

    def balance(self, value: float) -> float:
        if self._first_balance is None:
            self._first_balance = value
        return round(FIRST_BALANCE + value - self._first_balance, 6)

    def value(self, value: Any, name: str = "") -> Any:
        if isinstance(value, Mapping):
            return {key: self.value(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, name) for item in value]
        if name in _NESTED and isinstance(value, str):
            return self.nested(value)
        return self.text(value, name) if isinstance(value, str) else value

    def nested(self, text: str) -> str:
        inner = _decoded(text)
        if inner is None:
            return f"<{len(text)} characters>" if text else text
        return json.dumps(self.value(inner), ensure_ascii=False, separators=(",", ":"))

    def text(self, text: str, name: str) -> str:
        if not text:
            return text
        if text in self.ids:
            return pseudonym(text)
        if name in _CALLBACKS:
            return CALLBACK
        if text.startswith(("http://", "https://")):
            return link(text)
        if name not in _WORDS:
            return f"<{len(text)} characters>"
        words = without_urls(text)
        for known in self.ids:
            words = words.replace(known, pseudonym(known))
        return words


def _decoded(text: str) -> Any:
    """Return what a JSON text holds; None if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def pseudonym(task_id: str) -> str:
    """Return what replaces an id: of the same length, and always the same for it."""
    return (hashlib.sha256(f"recorded {task_id}".encode()).hexdigest() * 4)[: len(task_id)]


def link(url: str) -> str:
    """Return what replaces a link: its host and its ending stay, and which parameters it had."""
    parts = urlsplit(url)
    name = hashlib.sha256(parts.path.encode()).hexdigest()[:16] + posixpath.splitext(parts.path)[1]
    query = f"?{urlencode({pair.partition('=')[0]: '0' for pair in parts.query.split('&')})}" if parts.query else ""
    return f"https://{parts.hostname}/{name}{query}"


def redacted(exchanges: Sequence[Exchange]) -> list[dict[str, Any]]:
    """Return exchanges as a recording."""
    redactor = _Redactor(frozenset(_ids(exchanges)))
    return [_entry(redactor, exchange) for exchange in exchanges]


def write_recording(path: Path, exchanges: Sequence[Exchange]) -> None:
    """Write a recording as JSON."""
    path.write_text(json.dumps(redacted(exchanges), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _entry(redactor: _Redactor, exchange: Exchange) -> dict[str, Any]:
    answer: Any = dict(exchange.answer) or _not_json(redactor, exchange)
    if exchange.answer:
        data = answer.get("data")
        shown = redactor.balance(data) if isinstance(data, (int, float)) else redactor.value(data)
        answer = {**redactor.value({key: item for key, item in answer.items() if key != "data"}), "data": shown}
    request = exchange.request
    query = {name: redactor.value(text, name) for name, text in request.params.items()}
    return {
        "step": str(exchange.purpose),
        "started": exchange.started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "request": {
            "method": request.method,
            "url": f"{API_URL}{request.path}" + (f"?{urlencode(query)}" if query else ""),
            "body": redactor.value(dict(request.json)) if request.json is not None else None,
        },
        "response": {
            "status": exchange.response.status,
            "content_type": exchange.response.headers.get("content-type", ""),
            "body": answer,
        },
    }


def _not_json(redactor: _Redactor, exchange: Exchange) -> Any:
    """Return what a recording says of a body that is no JSON: its size, and what could be read of it."""
    size = f"<{len(exchange.response.content)} bytes of no JSON>"
    return {NOT_JSON: size, "data": redactor.value(exchange.salvaged)} if exchange.salvaged else size


def _ids(exchanges: Sequence[Exchange]) -> set[str]:
    """Return every text at a place where KIE writes ids."""
    found: set[str] = set()

    def collect(value: Any, name: str) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                collect(item, key)
        elif isinstance(value, list):
            for item in value:
                collect(item, name)
        elif isinstance(value, str) and name in _NESTED:
            collect(_decoded(value), "")
        elif isinstance(value, str) and name.lower().replace("_", "").endswith("id") and len(value) > 3:
            found.add(value)

    for exchange in exchanges:
        collect(exchange.request.params, "")
        collect(exchange.request.json or {}, "")
        collect(exchange.answer or exchange.salvaged, "")
    return found
