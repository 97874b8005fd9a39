"""A request for every model of KIE's catalogue, made of what the catalogue says of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_kie.client.catalogue.models import Model

FILE = "https://files.example/in.png"
_NAMED = {"task_id": "t-1", "taskId": "t-1", "audio_id": "a-1"}


def request_for(model: Model, **known: Any) -> dict[str, Any]:
    """Return the fields that a model needs, each with a value that its rule allows.

    :param known: values to use, such as the ids of a song.
    """
    names = [*model.required, *(model.one_of[0] if model.one_of else ())]
    given = {name: known.get(name) or _value(name, model.fields.get(name, {})) for name in names}
    for name, others in model.required_if.items():
        if all(given.get(other) == value for other, value in others.items()):
            given[name] = _value(name, model.fields[name])
    return given


def _value(name: str, rule: Mapping[str, Any]) -> Any:
    if rule.get("enum"):
        return rule.get("default", rule["enum"][0])
    if rule.get("type") == "array":
        return [_item(name, rule.get("items", {}))] * rule.get("min_items", 1)
    if rule.get("type") == "boolean":
        return False
    if rule.get("type") in ("integer", "number"):
        return rule.get("default", rule.get("min", 5))
    if rule.get("format") == "uri" or "url" in name:
        return FILE
    return _NAMED.get(name) or "a fox in the rain".ljust(rule.get("min_length", 0), ".")[: rule.get("max_length", 99)]


def _item(name: str, rule: Mapping[str, Any]) -> Any:
    if rule.get("type") == "object":
        return {field: _word(rule.get(field)) for field in rule.get("required", ("url",))}
    return FILE if rule.get("format") == "uri" or "url" in name else "fox"


def _word(allowed: Any) -> Any:
    return allowed[0] if isinstance(allowed, list) else "fox"
