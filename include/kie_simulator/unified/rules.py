"""What a request to ``createTask`` must hold: the model's fields, then what its page says in prose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from kie_simulator.answers import Answer, refusal
from kie_simulator.catalogue import Model, callable_model
from kie_simulator.settings import Settings

Given = Mapping[str, Any]
Messages = Iterator[str]

_UNSUPPORTED = (
    "The model name you specified is not supported. Please verify your input and use one of the supported models "
    "provided by KIE."
)
_V4 = {"prompt": 3000, "lyrics": 3000, "style": 200}
_WITHOUT_CUSTOM_MODE = 3000
_SECTION_SECONDS = 10


def unsupported() -> Answer:
    """Return KIE's refusal of a model that it does not have."""
    return refusal(422, _UNSUPPORTED)


def refused_request(settings: Settings, body: Given) -> Answer | None:
    """Return why ``createTask`` refuses a request, or None if it accepts it."""
    model = callable_model(body.get("model"), settings.newer_models)
    if model is None or model.model in settings.unsupported_models:
        return unsupported()
    given = body.get("input")
    if not isinstance(given, Mapping):
        # Observed: malformed input is answered as if the server had failed.
        return refusal(500, "Server exception, please try again later")
    prose = _PROSE.get(model.model, _nothing)
    message = next(chain(_missing(model, given), _out_of_range(model, given), prose(given, settings)), None)
    return refusal(422, message) if message else None


def blank(given: Given, name: str) -> bool:
    """Return whether a field is missing."""
    return given.get(name) in (None, "", [])


def _missing(model: Model, given: Given) -> Messages:
    conditional = [
        name
        for name, when in model.required_if.items()
        if all(given.get(other) == value for other, value in when.items())
    ]
    yield from (f"{name}不能为空" for name in (*model.required, *conditional) if blank(given, name))
    if model.one_of and not any(all(not blank(given, name) for name in names) for names in model.one_of):
        yield "One of these is required: " + "; ".join(", ".join(names) for names in model.one_of)


def _out_of_range(model: Model, given: Given) -> Messages:
    for name, rule in model.fields.items():
        value = given.get(name)
        if value is None:
            continue
        if "enum" in rule and not isinstance(value, list) and str(value) not in map(str, rule["enum"]):
            yield f"{name} is not within the range of allowed options"
        if "max_length" in rule and len(str(value)) > rule["max_length"]:
            yield f"{name} cannot exceed {rule['max_length']} characters"
        if "max_items" in rule and isinstance(value, list) and len(value) > rule["max_items"]:
            yield f"{name} cannot have more than {rule['max_items']} items"
        if isinstance(value, int | float) and not rule.get("min", value) <= value <= rule.get("max", value):
            yield f"{name} is out of range"


def _nothing(given: Given, settings: Settings) -> Messages:
    yield from ()


def _generate(given: Given, settings: Settings) -> Messages:
    custom = given.get("custom_mode") is True
    media = ("image_urls", "video_urls", "audio_urls")
    enough = ("style", "lyrics", *(("negative_tags",) if custom else media))
    if custom and blank(given, "title"):
        yield "title cannot be blank"
    if custom and not blank(given, "image_urls"):
        yield "image_urls need custom_mode false"
    # By the schema's wording a prompt alone is too little; nobody has seen whether the server minds.
    prompted = settings.prompt_only == "accept" and not blank(given, "prompt")
    if all(blank(given, name) for name in enough) and not prompted:
        yield f"At least one of these is required: {', '.join(enough)}"
    if not custom and len(str(given.get("prompt") or "")) > _WITHOUT_CUSTOM_MODE:
        yield f"prompt cannot exceed {_WITHOUT_CUSTOM_MODE} characters"
    yield from _old_limits(given, settings)


def _old_limits(given: Given, settings: Settings) -> Messages:
    for name, limit in (_V4 if given.get("model") == "V4" else {}).items():
        if len(str(given.get(name) or "")) > limit:
            yield f"{name} cannot exceed {limit} characters"


def _extend(given: Given, settings: Settings) -> Messages:
    if given.get("instrumental") is True:
        yield from (
            f"{name} cannot be given with instrumental"
            for name in ("lyrics", "prompt", "vocal_gender")
            if not blank(given, name)
        )
    yield from _old_limits(given, settings)


def _section(given: Given, settings: Settings) -> Messages:
    try:
        span = float(given["infill_end_s"]) - float(given["infill_start_s"])
    except (TypeError, ValueError):
        span = 0.0
    if span < _SECTION_SECONDS:
        yield f"The section must be at least {_SECTION_SECONDS} seconds long"


def _mashup(given: Given, settings: Settings) -> Messages:
    urls = given.get("upload_url_list")
    if not isinstance(urls, list) or len(urls) < 2:
        yield "upload_url_list needs two URLs"


def _runway(given: Given, settings: Settings) -> Messages:
    if str(given.get("duration")) == "10" and given.get("quality") == "1080p":
        yield "1080p is not available for 10 seconds"


def _veo(given: Given, settings: Settings) -> Messages:
    reference = given.get("generation_type") == "REFERENCE_2_VIDEO"
    if reference and given.get("duration", 8) != 8:
        yield "REFERENCE_2_VIDEO makes 8 seconds only"
    images = given.get("image_urls")
    if isinstance(images, list) and len(images) > 2 and not reference:
        yield "image_urls cannot have more than 2 items"


_PROSE: Mapping[str, Callable[[Given, Settings], Messages]] = {
    "ai-music-api/generate": _generate,
    "ai-music-api/extend": _extend,
    "ai-music-api/upload-and-cover-audio": _old_limits,
    "ai-music-api/upload-and-extend-audio": _old_limits,
    "ai-music-api/replace-section": _section,
    "ai-music-api/mashup": _mashup,
    "runway": _runway,
    "veo-3-1": _veo,
}
