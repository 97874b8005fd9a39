"""What a music request must hold (KIE page *Generate Music*): which fields a mode needs, and how long they may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kie_simulator.answers import Answer, refusal

_TITLE_LENGTH = 80
_PROMPT_WITHOUT_CUSTOM_MODE = 3000
_STYLE_AND_PROMPT = {"V4": (200, 3000)}
_NEWER = (1000, 5000)


def refused_song(body: Mapping[str, Any], refused_versions: Sequence[str] = ()) -> Answer | None:
    """Return why KIE refuses a music request, or None if it accepts it.

    :param refused_versions: Suno versions that the dedicated form does not take.
    """
    if body.get("model") in refused_versions:
        return refusal(422, "model error")
    custom, instrumental = bool(body.get("customMode")), bool(body.get("instrumental"))
    for name in ("style", "title") if custom else ():
        if not body.get(name):
            return refusal(422, f"{name} cannot be blank")
    if custom and not instrumental and not body.get("prompt"):
        return refusal(422, "prompt cannot be blank")
    style, prompt = _STYLE_AND_PROMPT.get(str(body.get("model")), _NEWER)
    limits = {
        "title": _TITLE_LENGTH,
        "style": style,
        "prompt": prompt if custom else _PROMPT_WITHOUT_CUSTOM_MODE,
    }
    for name, limit in limits.items():
        if len(str(body.get(name) or "")) > limit:
            return refusal(422, f"{name} cannot exceed {limit} characters")
    return None
