"""What a request costs in credits, before it is sent: a number, a range, or unknown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from airflow_kie.client.catalogue.listed import FREE_CALLS, Asked, asked_model
from airflow_kie.client.catalogue.models import Model, Price, Tier, models
from airflow_kie.client.operations.operation import Operation

_IMAGES = ("num_images", "max_images", "n", "n_variants")
_AT_MOST = frozenset({"max_images", "n_variants"})
"""Of these, the ones that are only the most that there, or paid, can be."""
_VIDEO = ("video_url", "video_urls", "reference_video_urls", "video_list")
_SIZES = frozenset({"duration", "duration_seconds", "frames_per_second", "n_frames", "num_frames", "shots"}) | {
    *("image_resolution", "output_resolution", "text", "dialogue", *_IMAGES, *_VIDEO)
}
"""Fields that say how long, many or large a result is, whichever model has them."""


@dataclass(frozen=True)
class Quote:
    """What a request costs in credits; both None: not known.

    :param low: at least.
    :param high: at most.
    :param why: why it is not known, as part of a sentence.
    """

    low: float | None = None
    high: float | None = None
    why: str = field(default="", compare=False)

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


UNKNOWN = Quote(why="KIE's price list has none for it")
FREE = Quote(0.0, 0.0)


def quote(operation: Operation, body: Mapping[str, Any]) -> Quote:
    """Return what a request costs, by KIE's price list of October 2026; it is never more than the quote's highest.

    :param operation: the row.
    :param body: the request's fields as KIE names them.
    """
    if operation.name in FREE_CALLS:
        return FREE
    asked = asked_model(operation, body)
    if asked is None:
        return UNKNOWN
    if operation.name == "market" and (name := _unknown_field(asked)):
        who = asked.model.model
        return Quote(why=f"the catalogue here has no field {name!r:.60} of {who}, and it may change the price")
    return quote_model(asked.model, asked.given)


def quote_model(model: Model, given: Mapping[str, Any]) -> Quote:
    """Return what a request to a model costs; what the request leaves open makes a range.

    :param model: the model.
    :param given: its fields.
    """
    price = model.price
    if price is None:
        return UNKNOWN
    defaults = {name: rule["default"] for name, rule in model.fields.items() if rule.get("default") is not None}
    asked = defaults | dict(given)
    if why := next((why for name, why in price.unpriced.items() if _given(asked.get(name))), ""):
        return Quote(why=why)
    fitting = [tier.credits for tier in price.tiers if _fits(tier, price, model, asked)]
    if not fitting:
        return Quote(why="KIE's price list has none for these fields")
    counted = _COUNTS.get(price.unit)
    count = counted(model, price, asked) if counted else None
    if count is None:
        return Quote(why=f"it is paid by the {price.unit}, and how many there will be nobody knows beforehand")
    each = price.each
    more = max(0, len(_items(asked.get(each["field"]))) - each["above"]) * each["credits"] if each else 0
    low, high = (round(credits * times + more, 4) for credits, times in zip(_ends(fitting), count, strict=True))
    return Quote(low, high)


def _fits(tier: Tier, price: Price, model: Model, asked: Mapping[str, Any]) -> bool:
    """Return whether a tier may be the price: nothing that is asked for contradicts it."""
    for name, wanted in tier.when.items():
        value = asked.get(name)
        if isinstance(wanted, bool):
            undecided = value is None and model.fields.get(name, {}).get("type") == "boolean"
            forced = name in price.forced and _given(asked.get(price.forced[name]))
            if not (undecided or forced) and _given(value) is not wanted:
                return False
        elif value is not None and str(value).lower() not in [str(one).lower() for one in _items(wanted)]:
            return False
    return True


def _unknown_field(asked: Asked) -> str:
    """Return a field that the model is not known to have, unless other models have it at no cost; empty: none."""
    tiers = asked.model.price.tiers if asked.model.price else ()
    known = {*asked.model.fields, *(name for tier in tiers for name in tier.when)}
    return next((name for name in asked.given if name not in known and name not in _fields_at_no_cost()), "")


@cache
def _fields_at_no_cost() -> frozenset[str]:
    """Return the fields of all models that decide no model's price, such as a seed."""
    listed = [model.price for model in models().values() if model.price]
    deciding = {name for price in listed for tier in price.tiers for name in tier.when}
    for price in listed:
        deciding |= {str(price.each.get("field")), *price.images, *price.forced.values(), *price.unpriced}
    return frozenset({name for model in models().values() for name in model.fields} - deciding - _SIZES)


Count = tuple[float, float]


def _requests(model: Model, price: Price, asked: Mapping[str, Any]) -> Count | None:
    """Return 1; where one asks for several images, the list does not say whether each of them is paid."""
    images = _images(model, price, asked)
    return images and (1, images[1])


def _images(model: Model, price: Price, asked: Mapping[str, Any]) -> Count | None:
    """Return how many images are asked for; where the request does not say, between one and the most."""
    numbers = {name: _number(asked[name]) for name in _IMAGES if name in asked}
    open_ = [name for name in price.images if name and _given(asked.get(name))]
    if numbers:
        most = max(number or math.inf for number in numbers.values())
        exact = not open_ and not _AT_MOST & numbers.keys()
        return None if most == math.inf else (most if exact else 1.0, math.ceil(most))
    if price.images:
        return 1, price.images[open_[0] if open_ else ""]
    rule = next((model.fields[name] for name in _IMAGES if name in model.fields), None)
    ends = (1.0, 1.0) if rule is None else _range(rule)
    return ends and (1, ends[1])


def _seconds(model: Model, price: Price, asked: Mapping[str, Any]) -> Count | None:
    """Return how long the result is; where the request does not say, between what the field takes.

    Where input is paid too, nobody knows the length of a video that is given, only the most that KIE takes.
    """
    rule = model.fields.get("duration", {})
    number = _number(asked["duration"]) if "duration" in asked and rule else None
    length = (number, math.ceil(number)) if number else None if "duration" in asked else _range(rule)
    videos = [name for name in _VIDEO if _given(asked.get(name))] if price.input or "input" in price.unit else []
    if not videos or length is None:
        return length  # None: a duration of 0 or -1 is as long as something else
    return (length[0], length[1] + price.input["seconds"]) if videos == [price.input.get("field")] else None


def _thousands(model: Model, price: Price, asked: Mapping[str, Any]) -> Count | None:
    """Return how many thousand characters are to be spoken; whether KIE rounds up is not known."""
    turns = _items(asked.get("dialogue"))
    given = [turn.get("text") if isinstance(turn, Mapping) else None for turn in turns] or [asked.get("text")]
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        return None
    lengths = (sum(map(len, texts)), sum(len(text.encode("utf-16-le", "surrogatepass")) // 2 for text in texts))
    return (min(lengths) / 1000, math.ceil(max(lengths) / 1000)) if max(lengths) else None


_COUNTS: Mapping[str, Callable[[Model, Price, Mapping[str, Any]], Count | None]] = {
    **dict.fromkeys(("request", "request (2 images)", "video"), _requests),
    "image": _images,
    **dict.fromkeys(("second", "second (input + output)", "second (input video + output)"), _seconds),
    "1000 characters": _thousands,
}
"""How often a price is paid. What is not here (tokens, megapixels, output images) is not known beforehand."""


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _given(value: Any) -> bool:
    return any(value) if isinstance(value, list | tuple) else bool(value)


def _ends(values: list[float]) -> Count:
    return min(values), max(values)


def _range(rule: Mapping[str, Any]) -> Count | None:
    """Return the least and the most that a field of numbers takes; None: not known."""
    numbers = [number for value in rule.get("enum", ()) if (number := _number(value))]
    low, high = _ends(numbers) if numbers else (rule.get("min"), rule.get("max"))
    return (low, high) if low and high else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
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
    if paid := model.price.input:
        yield f"the seconds of {paid['field']} are paid too, {paid['seconds']} of them together at most"
    if unpriced := model.price.unpriced:
        yield f"not known with {' or '.join(unpriced)}"
