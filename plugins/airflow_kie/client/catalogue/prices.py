"""What a request costs in credits, before it is sent: a number, a range, or unknown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_kie.client.catalogue.listed import FREE_CALLS, asked_model
from airflow_kie.client.catalogue.models import Model, Tier
from airflow_kie.client.operations.operation import Operation

_IMAGES = ("num_images", "max_images", "n")
_VIDEO = ("video_url", "video_urls", "reference_video_urls", "video_list")


@dataclass(frozen=True)
class Quote:
    """What a request costs in credits; both None: not known.

    :param low: at least.
    :param high: at most.
    """

    low: float | None = None
    high: float | None = None

    @property
    def known(self) -> bool:
        """Whether anything is known."""
        return self.high is not None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return "unknown"
        if self.low == self.high:
            return f"{self.high:g} credit{'' if self.high == 1 else 's'}"
        return f"{self.low:g} to {self.high:g} credits"


UNKNOWN = Quote()
FREE = Quote(0.0, 0.0)


def quote(operation: Operation, body: Mapping[str, Any]) -> Quote:
    """Return what a request costs, by KIE's price list of October 2026.

    :param operation: the row.
    :param body: the request's fields as KIE names them.
    """
    if operation.name in FREE_CALLS:
        return FREE
    asked = asked_model(operation, body)
    return quote_model(asked.model, asked.given) if asked else UNKNOWN


def quote_model(model: Model, given: Mapping[str, Any]) -> Quote:
    """Return what a request to a model costs; what the request leaves open makes a range.

    :param model: the model.
    :param given: its fields.
    """
    if model.price is None:
        return UNKNOWN
    defaults = {name: rule["default"] for name, rule in model.fields.items() if rule.get("default") is not None}
    asked = defaults | dict(given)
    fitting = [tier.credits for tier in model.price.tiers if _fits(tier, model, asked)]
    counted = _COUNTS.get(model.price.unit)
    count = counted(model, asked) if counted else None
    if not fitting or count is None:
        return UNKNOWN
    each = model.price.each
    more = max(0, len(_items(asked.get(each["field"]))) - each["above"]) * each["credits"] if each else 0
    low, high = (round(credits * times + more, 4) for credits, times in zip(_ends(fitting), count, strict=True))
    return Quote(low, high)


def _fits(tier: Tier, model: Model, asked: Mapping[str, Any]) -> bool:
    """Return whether a tier may be the price: nothing that is asked for contradicts it."""
    for name, wanted in tier.when.items():
        value = asked.get(name)
        if isinstance(wanted, bool):
            open_ = value is None and model.fields.get(name, {}).get("type") == "boolean"
            if not open_ and bool(value) is not wanted:
                return False
        elif value is not None and str(value).lower() not in [str(one).lower() for one in _items(wanted)]:
            return False
    return True


Count = tuple[float, float]


def _one(model: Model, asked: Mapping[str, Any]) -> Count | None:
    return 1, 1


def _images(model: Model, asked: Mapping[str, Any]) -> Count | None:
    """Return how many images are asked for; `max_images` is only the most that there can be."""
    name = next((name for name in _IMAGES if name in asked), None)
    number = _number(asked[name]) if name else 1.0
    return None if number is None else (1.0 if name == "max_images" else number, number)


def _seconds(model: Model, asked: Mapping[str, Any]) -> Count | None:
    """Return how long the result is; where the request does not say, between what the field takes."""
    if "duration" in asked:
        number = _number(asked["duration"])
        return (number, number) if number else None  # 0 and -1: as long as something else
    rule = model.fields.get("duration", {})
    lengths = [number for value in rule.get("enum", ()) if (number := _number(value))]
    low, high = _ends(lengths) if lengths else (rule.get("min"), rule.get("max"))
    return (low, high) if low and high else None


def _seconds_with_input(model: Model, asked: Mapping[str, Any]) -> Count | None:
    """Return the seconds of the result where no video is given, whose length nobody knows."""
    return None if any(asked.get(name) for name in _VIDEO) else _seconds(model, asked)


def _thousands(model: Model, asked: Mapping[str, Any]) -> Count | None:
    """Return how many thousand characters are to be spoken; whether KIE rounds up is not known."""
    texts = [asked["text"]] if "text" in asked else [turn.get("text") for turn in _items(asked.get("dialogue"))]
    length = sum(len(str(text)) for text in texts if text) / 1000
    return (length, math.ceil(length)) if length else None


_COUNTS: Mapping[str, Callable[[Model, Mapping[str, Any]], Count | None]] = {
    **dict.fromkeys(("request", "request (2 images)", "video"), _one),
    "image": _images,
    "second": _seconds,
    "second (input + output)": _seconds_with_input,
    "second (input video + output)": _seconds_with_input,
    "1000 characters": _thousands,
}
"""How often a price is paid. What is not here (tokens, megapixels, output images) is not known beforehand."""


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _ends(values: list[float]) -> Count:
    return min(values), max(values)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < math.inf else None


def prices(model: Model) -> Iterator[str]:
    """Yield a model's prices as people read them."""
    if model.price is None:
        yield "not known"
        return
    for tier in model.price.tiers:
        yield f"{tier.name + ': ' if tier.name else ''}{tier.credits:g} per {model.price.unit}"
    if each := model.price.each:
        above = f" after no. {each['above']}" if each["above"] else ""
        yield f"{each['credits']:g} more for each of {each['field']}{above}"
