"""The limits of a music request, checked before anything is sent (docs.kie.ai suno-api/generate-music)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DISCONTINUED = frozenset({"V4", "V4_5", "V4_5PLUS", "V4_5ALL", "V5", "V5_5"})
"""KIE's pages call them so since September 2026, and still list them; V5_5 was measured to work that month."""
CURRENT = ("V6", "V6_MINI", "V6_WILD")
LIMITS: Mapping[str, tuple[int, int]] = dict.fromkeys((*CURRENT, *sorted(DISCONTINUED, reverse=True)), (5000, 1000)) | {
    "V4": (3000, 200)
}
"""Characters of a custom prompt (the lyrics) and of the style by model; a model that is not listed is left to KIE."""
SIMPLE_PROMPT = 3000
"""Characters of a prompt without custom mode; pages of spring 2026 had 500, those of August have 3000."""
TITLE = 80
MODELS = tuple(LIMITS)


def music_request_errors(body: Mapping[str, Any], *, by_catalogue: bool = True) -> list[str]:
    """Return a sentence for everything that KIE would refuse; an empty list if nothing is known to be wrong.

    :param body: the request's fields under their one name; the API variant that is used fills in a model.
    :param by_catalogue: False: only what no request can do without, not how long its texts are.
    """
    model, prompt = str(body.get("model") or CURRENT[0]), str(body.get("prompt") or "")
    custom, instrumental = bool(body.get("customMode")), bool(body.get("instrumental"))
    problems = []
    if not prompt.strip() and not (custom and instrumental):
        problems.append("The prompt is empty: describe the song (in custom mode: give the lyrics).")
    if custom:
        for name in ("style", "title"):
            if not str(body.get(name) or "").strip():
                problems.append(f"Custom mode needs a {name}.")
    if not by_catalogue:
        return problems
    lyrics, style = LIMITS.get(model, (None, None))
    for name, limit in {"prompt": lyrics if custom else SIMPLE_PROMPT, "style": style, "title": TITLE}.items():
        length = len(str(body.get(name) or ""))
        if limit is not None and length > limit:
            problems.append(f"The {name} has {length} characters; {model} accepts at most {limit}.")
    return problems
