"""The market's models, as KIE's catalogue of October 2026 names them: fields, required sets and prices."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

Json = Mapping[str, Any]
_FILES = {"image": ("image",), "video": ("video",), "audio": ("audio",), "music": ("audio",), "text": ()}
_TIER_WORDS = {"veo3": "quality", "veo3_fast": "fast", "veo3_lite": "lite"}
"""The dedicated form's names of Veo's tiers; clients send them as ``input.model``, which no page describes."""
_TIER_DEFAULTS = {"veo-3-1": "fast", "veo/extend": "fast"}
"""Undocumented in this form: the default of the dedicated one."""
_SECONDS = 5.0
_UNKNOWN_PRICE = 18.0


@dataclass(frozen=True)
class Model:
    """One model.

    :param live: whether KIE's own list of October 2026 has it.
    :param credits: its price; None where it depends on the request (``tiers``) or is not known.
    :param unit: what the price is for: an image, a second, a request.
    :param endpoint: where it is called if not at ``createTask``; ``?`` where no source says.
    :param one_of: sets of fields, one of which must be given.
    :param required_if: a field, and the values of others that make it required.
    """

    model: str
    title: str
    provider: str
    media: str
    status: str
    required: tuple[str, ...]
    fields: Json
    live: bool = False
    credits: float | None = None
    unit: str = ""
    tiers: Mapping[str, float] = field(default_factory=dict)
    endpoint: str = ""
    one_of: tuple[tuple[str, ...], ...] = ()
    required_if: Json = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """The roles of the files that it makes."""
        return _FILES[self.media]

    def price(self, given: Json) -> float:
        """Return what a task costs in credits.

        :param given: the request's ``input``.
        """
        price = self.credits if self.credits is not None else self._tier(given)
        return round(price * _seconds(given), 2) if self.unit.startswith("second") else price

    def _tier(self, given: Json) -> float:
        words = set(self._words(given))
        fitting = [name for name in self.tiers if words >= set(name.lower().split())]
        first = next(iter(self.tiers), "")
        return self.tiers.get(max(fitting, key=len, default=first), _UNKNOWN_PRICE)

    def _words(self, given: Json) -> Iterator[str]:
        defaults = {name: rule["default"] for name, rule in self.fields.items() if "default" in rule}
        yield _TIER_DEFAULTS.get(self.model, "") if "model" not in given else ""
        for name, value in (defaults | dict(given)).items():
            word = str(value).lower()
            yield from (word, _TIER_WORDS.get(word, ""))
            if name in ("duration", "extend_times"):
                yield f"{word}s"
            if value is True and ("audio" in name or name == "sound"):
                yield "audio"
            if value and name in ("video_url", "video_urls", "reference_video_urls"):
                yield from ("video", "input")


def _seconds(given: Json) -> float:
    try:
        return float(given.get("duration") or _SECONDS)
    except (TypeError, ValueError):
        return _SECONDS


def _row(entry: dict[str, Any]) -> Model:
    required, one_of = tuple(entry.pop("required")), tuple(map(tuple, entry.pop("one_of", ())))
    return Model(required=required, one_of=one_of, **entry)


@cache
def models() -> Mapping[str, Model]:
    """Return every model by its name."""
    rows = json.loads((files("kie_simulator") / "market_models.json").read_text(encoding="utf-8"))
    return {row["model"]: _row(row) for row in rows}


def with_newer(newer: Mapping[str, Json]) -> Mapping[str, Model]:
    """Return every model by its name, some of them changed, or new, since the catalogue was made.

    :param newer: name → the members that differ.
    """
    made: dict[str, Model] = {}
    for name, changes in newer.items():
        before = models().get(name) or Model(name, name, "", "image", "current", (), {}, live=True)
        values: dict[str, Any] = {key: tuple(v) if key == "required" else v for key, v in changes.items()}
        made[name] = replace(before, **values)
    return {**models(), **made} if made else models()


def callable_model(name: object, newer: Mapping[str, Json] | None = None) -> Model | None:
    """Return the model that ``createTask`` accepts under a name, or None."""
    model = with_newer(newer or {}).get(name) if isinstance(name, str) else None
    return None if model is None or model.endpoint or model.status == "discontinued" else model
