"""What KIE itself says of its models: the answers of its discovery endpoints, read into rows.

KIE's text for agents (September 2026) describes them; a schema is an OpenAPI document, whose `input` may be one of
several objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from airflow_kie.client.catalogue.models import Model
from airflow_kie.client.errors import KieBadAnswer
from airflow_kie.client.operations.market import JOBS, MODELS

Rule = Mapping[str, Any]
Json = Mapping[str, Any]

MOST_MODELS = 2_000
MOST_FIELDS = 200
MOST_VALUES = 500
LONGEST_TEXT = 300
_DEEPEST = 6
"""Levels at which a schema is read: references, lists of objects."""
LIMITS: Mapping[str, str] = {
    "minimum": "min",
    "maximum": "max",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_items",
    "maxItems": "max_items",
}
"""A schema's words for limits, and the catalogue's."""
_MEDIA = ("video", "image", "music", "audio", "text", "chat")


@dataclass(frozen=True)
class Discovered:
    """One model as KIE describes it.

    :param model: its name.
    :param title: KIE's title.
    :param provider: who has made it.
    :param media: what it makes, by the first of its task types that says so; ``any`` where none does.
    :param price: KIE's words about its price.
    :param endpoint: where it is called if not at ``jobs/createTask``; ``?``: KIE gives no schema.
    :param required: fields that KIE's schema requires; None: it does not say.
    :param fields: name → type, enum, min, max, lengths, default.
    :param one_of: sets of fields, one of which must be given.
    :param read_at: ISO time at which KIE was asked.
    """

    model: str
    title: str = ""
    provider: str = ""
    media: str = "any"
    price: str = ""
    endpoint: str = ""
    required: tuple[str, ...] | None = None
    fields: Mapping[str, Rule] = field(default_factory=dict)
    one_of: tuple[tuple[str, ...], ...] = ()
    read_at: str = ""

    @classmethod
    def from_json(cls, value: Any) -> Discovered | None:
        """Return a stored row, None for one that cannot be read."""
        try:
            row = cls(**{name: value[name] for name in cls.__dataclass_fields__ if name in value})
            required = None if row.required is None else tuple(map(str, row.required))
            one_of = tuple(tuple(map(str, names)) for names in row.one_of)
            fields = {str(name): dict(rule) for name, rule in row.fields.items()}
        except (TypeError, ValueError, AttributeError, KeyError):
            return None
        return replace(row, required=required, one_of=one_of, fields=fields) if isinstance(row.model, str) else None

    def to_json(self) -> dict[str, Any]:
        """Return the row as it is stored."""
        kept = {name: value for name, value in asdict(self).items() if value not in ("", {}, ()) or name == "required"}
        return {name: value for name, value in kept.items() if value is not None}

    def as_model(self) -> Model:
        """Return it as a model that the package does not know."""
        return Model(
            self.model,
            self.title or self.model,
            self.provider,
            self.media,
            "current",
            self.endpoint,
            self.required or (),
            self.fields,
            self.one_of,
            price_text=self.price,
        )


# --- what KIE answers


def listed(data: Any, read_at: str) -> list[Discovered]:
    """Return the models of KIE's list, without their fields.

    :param data: the `data` of KIE's answer.
    :param read_at: ISO time.
    :raises KieBadAnswer: when it is not a list of models.
    """
    entries = data.get("models") if isinstance(data, Mapping) else None
    if not isinstance(entries, list):
        raise KieBadAnswer("KIE's answer is not a list of models", kind=MODELS.name)
    named = [entry for entry in entries[:MOST_MODELS] if isinstance(entry, Mapping) and _name(entry.get("model"))]
    return [
        Discovered(
            _name(entry["model"]),
            _text(entry.get("title")),
            _text(entry.get("provider")),
            _medium(entry.get("taskType")),
            _text(entry.get("pricingDesc")),
            read_at=read_at,
        )
        for entry in named
    ]


def with_schema(discovered: Discovered, data: Any) -> Discovered:
    """Return a model of the list with what KIE's schema says of its fields.

    :param data: the `data` of KIE's answer; its `openapi` is null for models that are called elsewhere.
    :raises KieBadAnswer: when it cannot be understood.
    """
    document = data.get("openapi") if isinstance(data, Mapping) else None
    if document is None:
        return replace(discovered, endpoint="?")
    try:
        path, body = next(
            (str(path), operations["post"]["requestBody"]["content"]["application/json"]["schema"])
            for path, operations in document["paths"].items()
            if "post" in operations
        )
        schema = _Schema(document)
        given = schema.resolved(schema.resolved(body)["properties"]["input"])
    except (KeyError, TypeError, AttributeError, StopIteration):
        raise KieBadAnswer(f"KIE's schema of {discovered.model} cannot be understood", kind=MODELS.name) from None
    if path != JOBS.create:
        return replace(discovered, endpoint=_text(path))
    required, one_of = schema.required(given)
    return replace(discovered, required=required, one_of=one_of, fields=schema.fields(given))


class _Schema:
    """A model's OpenAPI document.

    :param document: as KIE sends it.
    """

    def __init__(self, document: Json) -> None:
        self._document = document

    def resolved(self, value: Any, depth: int = 0) -> Json:
        """Return a schema in place of a reference to it."""
        while isinstance(value, Mapping) and isinstance(value.get("$ref"), str) and depth < _DEEPEST:
            found: Any = self._document
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found.get(part) if isinstance(found, Mapping) else None
            value, depth = found, depth + 1
        return value if isinstance(value, Mapping) else {}

    def branches(self, given: Json) -> list[Json]:
        """Return the alternatives of a schema, one of which applies."""
        found = [given.get(word) for word in ("oneOf", "anyOf")]
        return [self.resolved(branch) for branches in found if isinstance(branches, list) for branch in branches]

    def fields(self, given: Json) -> dict[str, Rule]:
        """Return the fields of an object, those of its alternatives too."""
        objects = [given, *self.branches(given)]
        named: dict[str, Rule] = {}
        for one in objects:
            properties = one.get("properties")
            for name, rule in list(properties.items())[:MOST_FIELDS] if isinstance(properties, Mapping) else ():
                named.setdefault(_text(name), self.rule(rule))  # names of some pages end in a blank
        return named

    def required(self, given: Json) -> tuple[tuple[str, ...] | None, tuple[tuple[str, ...], ...]]:
        """Return the fields that an object needs, None where the schema does not say, and the sets of which one is."""
        always = _names(given.get("required"))
        of_branches = [_names(branch.get("required")) for branch in self.branches(given)]
        if not of_branches or None in of_branches:
            return always, ()
        sets = [set(names or ()) for names in of_branches]
        common = set.intersection(*sets)
        alternatives = tuple(tuple(sorted(names - common)) for names in sets)
        named = tuple(sorted({*(always or ()), *common}))
        return named, alternatives if all(alternatives) else ()

    def rule(self, value: Any, depth: int = 0) -> Rule:
        """Return what a field takes; what is not understood limits nothing."""
        schema = self.resolved(value)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((word for word in kind if word != "null"), None)
        rule: dict[str, Any] = {"type": kind} if isinstance(kind, str) else {}
        values = schema.get("enum")
        if isinstance(values, list):
            rule["enum"] = [one for one in values[:MOST_VALUES] if _is_plain(one)]
        for word, name in LIMITS.items():
            if isinstance(schema.get(word), int | float) and not isinstance(schema[word], bool):
                rule[name] = schema[word]
        if _is_plain(schema.get("default")):
            rule["default"] = schema["default"]
            if rule.get("enum") and schema["default"] not in rule["enum"]:
                rule["enum"].append(schema["default"])  # of one page the default is not among its own values
        if schema.get("format") == "uri":
            rule["format"] = "uri"
        if "items" in schema and depth < _DEEPEST:
            rule["items"] = self.rule(schema["items"], depth + 1)
        if kind == "object" and (names := _names(schema.get("required"))):
            rule["required"] = list(names)
        return rule


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= LONGEST_TEXT)


def _name(value: Any) -> str:
    """Return a model's name, empty for what can be none: it is a part of a path."""
    fits = isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable() and " " not in value
    return value if fits and not {"..", ".", ""} & set(value.split("/")) else ""


def _names(value: Any) -> tuple[str, ...] | None:
    return tuple(_text(name) for name in value if isinstance(name, str)) if isinstance(value, list) else None


def _text(value: Any) -> str:
    return " ".join(value.split())[:LONGEST_TEXT] if isinstance(value, str) else ""


def _medium(kinds: Any) -> str:
    """Return what a model makes: of ``image-to-video`` the word behind the last ``to``."""
    types: Sequence[Any] = kinds if isinstance(kinds, list) else [kinds]
    ends = [word.rpartition("to-")[2].lower() for word in types if isinstance(word, str)]
    return next((medium for end in ends for medium in _MEDIA if medium in end), "any")
