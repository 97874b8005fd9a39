"""The market's models: which exist and which input each requires (KIE's catalogue of August 2026 and April 2026)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from kie_simulator.answers import Answer, refusal


@cache
def _models() -> Mapping[str, list[str]]:
    models: Mapping[str, list[str]] = json.loads((files("kie_simulator") / "market_models.json").read_text())
    return models


def refused_model(body: Mapping[str, Any]) -> Answer | None:
    """Return why KIE refuses a market create, or None if it accepts it."""
    required = _models().get(str(body.get("model")))
    if required is None:
        return refusal(422, "The model name you specified is not supported")
    given = body.get("input")
    if not isinstance(given, Mapping):
        # Observed: malformed input is answered as if the server had failed.
        return refusal(500, "Server exception, please try again later")
    for name in required:
        if given.get(name) in (None, "", []):
            return refusal(422, f"{name}不能为空")
    return None


def result_roles(model: str) -> tuple[str, ...]:
    """Return the roles of the files that a model makes, known by its name."""
    if model.startswith("elevenlabs/"):
        return ("audio",)
    pictures = ("image", "banana", "seedream", "flux", "z-image", "ideogram", "recraft", "qwen")
    if "to-video" not in model and any(word in model for word in pictures):
        return ("image",)
    return ("video",)
