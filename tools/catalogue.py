"""The package's catalogue of KIE's models, made from the simulator's: ``.venv/bin/python -m tools.catalogue``.

KIE's price list names a price by words ("720p audio", "10s 4k", "video input"). Here each word becomes a condition on
the request's fields, so that the package only compares. tests/unit/client/catalogue/test_prices.py compares every
price with the words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "include" / "kie_simulator" / "market_models.json"
TARGET = ROOT / "plugins" / "airflow_kie" / "client" / "catalogue" / "models.json"

Json = Mapping[str, Any]
_AUDIO = ("generate_audio", "generate_audio_switch", "sound", "audio")
_VIDEO = ("video_url", "video_urls", "reference_video_urls", "video_list")
_SECONDS = ("duration", "extend_times")
_EXTRA = re.compile(r"(?:input )?image(?: after the (first|fifth))?")
_AFTER = {"first": 1, "fifth": 5, None: 0}
_IMAGES = ("reference_image_urls", "image_urls")
_FORMER = {
    "wan/2-2-a14b-image-to-video-turbo": "Wan - Image to Video",
    "wan/2-2-a14b-text-to-video-turbo": "Wan - Text to Video",
}
"""Titles of KIE's older navigation."""
_WORDS: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "seedream/5-pro-image-to-image": {"1k": ("quality", "basic"), "2k": ("quality", "high")},
    "seedream/5-pro-text-to-image": {"1k": ("quality", "basic"), "2k": ("quality", "high")},
    "grok-imagine/text-to-image": {"standard": ("enable_pro", False), "quality": ("enable_pro", True)},
    "kling-3.0/motion-control": {"720p": ("mode", ["720p", "std"]), "1080p": ("mode", ["1080p", "pro"])},
    # No page describes this field of the unified form; clients send the dedicated form's names in it.
    "veo-3-1": {"lite": ("model", "veo3_lite"), "fast": ("model", "veo3_fast"), "quality": ("model", "veo3")},
    "veo/extend": {"lite": ("model", "lite"), "fast": ("model", "fast"), "quality": ("model", "quality")},
    "flux1-kontext": {"pro": ("model", "flux-kontext-pro"), "max": ("model", "flux-kontext-max")},
}
"""Words of the price list that no field of the model names."""
_INPUT_SECONDS = {
    **dict.fromkeys(("bytedance/seedance-2", "bytedance/seedance-2-fast", "bytedance/seedance-2-mini"), 15),
    "bytedance/seedance-2-5": 30,
    **dict.fromkeys(("minimax-h3/reference-to-video", "wan/3-0-video", "wan/3-0-video-prime"), 15),
}
"""Models whose price is for input and output (kie.ai/seedance-2-0: "With video = Price x (Input + Output)"): how many
seconds the videos of a request may have together, as docs.kie.ai says."""
_MOST_IMAGES = {name: {"enable_sequential": 12, "": 4} for name in ("wan/2-7-image", "wan/2-7-image-pro")}
"""How many images a request without their number makes at most, with a field and without any (docs.kie.ai)."""
_ALSO = {"veo-3-1": ("quality 4k", 380), "veo3": ("4k", 380)}
"""A price of which KIE's lists disagree: 370 in one, and for a video from a text 380 in the other, at the same USD."""
_FORCED = {"kling-3.0/video": {"sound": "multi_shots"}}
"""A field that another one switches on, whatever it says itself (docs.kie.ai: "multi_shots is true, sound must be")."""
_SOUND = "KIE's page says that generate_audio costs more, which is its default, and no list of its prices says how much"
_SEARCH = "no page of KIE's says what web_search costs"
_SEEDANCE = ("bytedance/seedance-2", "bytedance/seedance-2-5", "bytedance/seedance-2-fast", "bytedance/seedance-2-mini")
_UNPRICED = {
    **{name: {"generate_audio": _SOUND, "web_search": _SEARCH} for name in _SEEDANCE},
    "pixverse-v6/image-to-video": {"template_id": "a template has a length of its own, which no page says"},
}
"""Fields with which nobody knows the price, and why."""


def _conditions(model: Json, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the conditions that the words of a price come to; what depends on no field of the request has none."""
    words = name.lower().replace("video input", "video_input").rpartition(" to ")[2].split()
    for word in words:
        seconds = word[:-1] if re.fullmatch(r"\d+s", word) else ""
        if found := _WORDS.get(model["model"], {}).get(word):
            yield found
        elif word == "audio" or word == "video_input":
            fields_of = _AUDIO if word == "audio" else _VIDEO
            yield from ((field, True) for field in fields_of if field in model["fields"])
        elif seconds:
            yield from ((field, seconds) for field in _SECONDS if field in model["fields"])
        else:
            fields = model["fields"].items()
            named = [(f, value) for f, rule in fields for value in rule.get("enum", ()) if str(value).lower() == word]
            if not named and re.fullmatch(r"\d+[pk]", word) and "resolution" in model["fields"]:
                named = [("resolution", word)]  # the price list knows one that the page does not
            yield from named[:1]


def _completed(model: Json, tiers: list[dict[str, Any]]) -> None:
    """Add to each price that it is not for what another one is for: without sound, below 4K."""
    asked = [dict(tier.get("when", {})) for tier in tiers]
    for field in dict.fromkeys(field for when in asked for field in when):
        named = [when[field] for when in asked if field in when]
        enum = model["fields"].get(field, {}).get("enum", ())
        rest: Any = False if named == [True] * len(named) else [value for value in enum if value not in named]
        rivals = [{name: value for name, value in when.items() if name != field} for when in asked if field in when]
        for when, tier in zip(asked, tiers, strict=True):
            with_video = any(when.get(name) is True for name in _VIDEO)  # is one price with sound and without
            rival = any(rival.items() <= when.items() for rival in rivals)
            if field not in when and rival and (rest if rest is not False else not with_video):
                tier.setdefault("when", {})[field] = rest


def _conditional(model: Json) -> Iterator[tuple[str, Any]]:
    """Yield what else a price depends on; see the package's class Price."""
    name = model["model"]
    if seconds := _INPUT_SECONDS.get(name):
        field = next(field for field in _VIDEO if field in model["fields"])
        yield "input", {"field": field, "seconds": seconds}
    tables: Mapping[str, Json] = {"images": _MOST_IMAGES, "forced": _FORCED, "unpriced": _UNPRICED}
    yield from ((member, table[name]) for member, table in tables.items() if name in table)


def price(model: Json) -> dict[str, Any] | None:
    """Return a model's price: what it is for, one row for each tier, and on what else it depends."""
    if "unit" not in model:
        return None
    if model["unit"] == "1M tokens":
        return {"unit": model["unit"], "tiers": [{"name": n, "credits": c} for n, c in model["tiers"].items()]}
    tiers, more = [], {}
    for name, credits in model.get("tiers", {}).items():
        if extra := _EXTRA.fullmatch(name):
            field = next((field for field in _IMAGES if field in model["fields"]), None)
            more = {"each": {"field": field, "above": _AFTER[extra[1]], "credits": credits}} if field else {}
            continue
        tiers.append(
            {"name": name, "credits": credits} | ({"when": w} if (w := dict(_conditions(model, name))) else {})
        )
    _completed(model, tiers)
    name, higher = _ALSO.get(model["model"], ("", 0))
    also = {"name": f"{name} from a text, by another list", "credits": higher}
    tiers += [tier | also for tier in tiers if tier["name"] == name]
    more |= dict(_conditional(model))
    return {"unit": model["unit"], "tiers": tiers or [{"credits": model["credits"]}], **more}


def entry(model: Json) -> dict[str, Any]:
    """Return a model's line in the package's catalogue."""
    kept = ("model", "title", "provider", "media", "status", "endpoint", "required", "one_of", "required_if", "fields")
    line = {name: model[name] for name in kept if model.get(name)}
    former = {"former_title": _FORMER[model["model"]]} if model["model"] in _FORMER else {}
    return line | former | ({"price": found} if (found := price(model)) else {})


def made() -> str:
    """Return the content of the package's catalogue: one line a model."""
    models = json.loads(SOURCE.read_text(encoding="utf-8"))
    lines = (json.dumps(entry(model), ensure_ascii=False, separators=(",", ":")) for model in models)
    return "[\n" + ",\n".join(lines) + "\n]\n"


if __name__ == "__main__":
    TARGET.write_text(made(), encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)} is made.")
