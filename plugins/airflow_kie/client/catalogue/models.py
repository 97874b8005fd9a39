"""KIE's models, as its pages and price list of October 2026 name them; tools/catalogue.py makes ``models.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Tier:
    """One price of a model.

    :param credits: for one unit of the price.
    :param name: as KIE's price list calls it; empty where there is one price only.
    :param when: field → the value, or the values, for which it is the price; True and False: given or not.
    """

    credits: float
    name: str = ""
    when: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Price:
    """What a model costs.

    :param unit: what a tier's credits pay for: an image, a second, a request.
    :param tiers: one of them is the price of a request.
    :param each: a list field each of whose items costs `credits` more, from the one after `above`.
    :param input: a list field whose videos' seconds are paid too: at most `seconds` of them together.
    :param images: how many images there are at most where the request does not say: field that is given → number; the
        empty name: none of them is.
    :param forced: a field → another one that switches it on, whatever it says itself.
    :param unpriced: a field → why nobody knows the price where it is given.
    """

    unit: str
    tiers: tuple[Tier, ...]
    each: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)
    forced: Mapping[str, str] = field(default_factory=dict)
    unpriced: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """One model.

    :param model: the name by which a request names it.
    :param title: KIE's title of its page.
    :param provider: who has made the model.
    :param media: what it makes: image, video, audio, music or text.
    :param status: ``current``, ``old-model``, ``discontinued`` or ``unknown``.
    :param endpoint: where it is called if not at ``jobs/createTask``; ``?``: no page says where.
    :param required: fields that KIE refuses to do without.
    :param fields: name → type, enum, min, max, lengths, default; what is not known is left to KIE.
    :param one_of: sets of fields, one of which must be given.
    :param required_if: a field, and the values of others with which it is required.
    :param price: None: not known.
    :param former_title: its title in KIE's older navigation.
    :param price_text: KIE's own words about its price, where KIE was asked.
    """

    model: str
    title: str
    provider: str
    media: str
    status: str
    endpoint: str = ""
    required: tuple[str, ...] = ()
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    one_of: tuple[tuple[str, ...], ...] = ()
    required_if: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    price: Price | None = None
    former_title: str = ""
    price_text: str = ""

    @property
    def is_market(self) -> bool:
        """Whether ``jobs/createTask`` takes it."""
        return not self.endpoint

    @property
    def is_chat(self) -> bool:
        """Whether it is a chat model, which makes no task."""
        return (bool(self.endpoint) and not self.endpoint.startswith("/api/v1/")) or self.endpoint.endswith(
            "/responses"
        )


@cache
def models() -> Mapping[str, Model]:
    """Return every model by its name."""
    rows = json.loads((files("airflow_kie.client.catalogue") / "models.json").read_text(encoding="utf-8"))
    return {row["model"]: _model(row) for row in rows}


def _model(row: dict[str, Any]) -> Model:
    price = row.pop("price", None)
    if price:
        tiers = tuple(Tier(**tier) for tier in price.pop("tiers"))
        row["price"] = Price(tiers=tiers, **price)
    row["one_of"] = tuple(map(tuple, row.pop("one_of", ())))
    return Model(**row | {"required": tuple(row.get("required", ()))})


def search(text: str, known: Mapping[str, Model] | None = None) -> Iterator[Model]:
    """Yield the models in whose name, title, provider or media all words of a text are.

    :param text: words in any order; empty: all models.
    :param known: the catalogue; None: the package's.
    """
    words = text.lower().split()
    for model in (models() if known is None else known).values():
        about = f"{model.model} {model.title} {model.former_title} {model.provider} {model.media}".lower()
        if all(map(about.__contains__, words)):
            yield model
