"""The limits of a music request, checked before anything is sent (docs.kie.ai suno-api/generate-music)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

PROMPT = MappingProxyType({"V4": 3000, "V4_5": 5000, "V4_5PLUS": 5000, "V4_5ALL": 5000, "V5": 5000, "V5_5": 5000})
"""Characters of a custom prompt (the lyrics) by model; a model that is not listed is left to KIE."""
STYLE = MappingProxyType({"V4": 200, "V4_5": 1000, "V4_5PLUS": 1000, "V4_5ALL": 1000, "V5": 1000, "V5_5": 1000})
"""Characters of the style by model."""
SIMPLE_PROMPT = 3000
"""Characters of a prompt without custom mode; pages of spring 2026 had 500, those of August have 3000."""
TITLE = 80
MODELS = tuple(PROMPT)


def music_request_errors(body: Mapping[str, Any]) -> list[str]:
    """Return a sentence for everything that KIE would refuse; an empty list if nothing is known to be wrong.

    :param body: the request's fields as KIE names them.
    """
    model, prompt = str(body.get("model") or ""), str(body.get("prompt") or "")
    custom, instrumental = bool(body.get("customMode")), bool(body.get("instrumental"))
    problems = [] if model else ["No model is named, such as V5."]
    if not prompt.strip() and not (custom and instrumental):
        problems.append("The prompt is empty: say what the song is about (in custom mode: give the lyrics).")
    if custom:
        for name in ("style", "title"):
            if not str(body.get(name) or "").strip():
                problems.append(f"Custom mode needs a {name}.")
    limits = (
        ("prompt", PROMPT.get(model) if custom else SIMPLE_PROMPT),
        ("style", STYLE.get(model)),
        ("title", TITLE),
    )
    for name, limit in limits:
        length = len(str(body.get(name) or ""))
        if limit is not None and length > limit:
            problems.append(f"The {name} has {length} characters; {model or 'KIE'} takes at most {limit}.")
    return problems
