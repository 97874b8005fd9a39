"""KIE's word about its models beside the package's catalogue, and what a refresh has changed.

KIE's word only ever adds: a model or a field that the package does not know, a longer text, one more value of a list.
What its schema is stricter about than the package is named, and KIE refuses it itself, at no cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from airflow_kie.client.catalogue.discovered import LIMITS, Discovered, Rule
from airflow_kie.client.catalogue.models import Model

_SAME_TYPE = frozenset({"integer", "number"})


def combined(own: Mapping[str, Model], discovered: Mapping[str, Discovered]) -> dict[str, Model]:
    """Return the models that KIE describes, merged with the package's own descriptions.

    :param own: the package's models.
    :param discovered: KIE's, by name.
    """
    return {name: _widened(own[name], one) if name in own else one.as_model() for name, one in discovered.items()}


def _widened(own: Model, discovered: Discovered) -> Model:
    """Return a model of the package with what KIE's schema adds to it."""
    if discovered.endpoint:
        return replace(own, price_text=discovered.price)
    fields = {**own.fields}
    for name, rule in discovered.fields.items():
        fields[name] = _wider(own.fields[name], rule) if name in own.fields else rule
    alternatives = {name for names in discovered.one_of for name in names}
    needed = own.required if discovered.required is None else {*discovered.required, *alternatives}
    required = tuple(name for name in own.required if name in needed)
    return replace(own, fields=fields, required=required, price_text=discovered.price)


def _wider(own: Rule, discovered: Rule) -> Rule:
    """Return what a field takes by either rule; what KIE's does not limit keeps the package's limit."""
    rule = dict(own)
    if own.get("enum") and discovered.get("enum"):
        rule["enum"] = list(dict.fromkeys([*own["enum"], *discovered["enum"]]))
    for name in LIMITS.values():
        if name in own and name in discovered:
            rule[name] = (min if name.startswith("min") else max)(own[name], discovered[name])
    if isinstance(own.get("items"), Mapping) and isinstance(discovered.get("items"), Mapping):
        rule["items"] = _wider(own["items"], discovered["items"])
    return rule


def changes(before: Model | None, after: Model) -> Iterator[str]:
    """Yield a line for each thing that a refresh changes in a model.

    :param before: as it was; None: it was not known.
    :param after: as it is now.
    """
    name = after.model
    if before is None:
        fields = f"fields {', '.join(after.fields)}" if after.fields else "without a schema: requests are not checked"
        yield f"{name}: new model, {after.title} ({after.provider}); {fields}; {after.price_text or 'price not known'}"
        return
    for field_name, rule in after.fields.items():
        if field_name not in before.fields:
            yield f"{name}: new field {field_name}, {_shown(rule)}"
        else:
            yield from (f"{name}: {field_name}{line}" for line in _limit_changes(before.fields[field_name], rule))
    for field_name in before.required:
        if field_name not in after.required:
            yield f"{name}: {field_name} is no longer required (looser)"
    for field_name in after.required:
        if field_name not in before.required:
            yield f"{name}: {field_name} is required (stricter)"
    yield from (f"{name}: field {gone} no longer exists" for gone in before.fields if gone not in after.fields)


def _limit_changes(before: Rule, after: Rule, where: str = "") -> Iterator[str]:
    added = [value for value in after.get("enum", ()) if value not in before.get("enum", ())]
    gone = [value for value in before.get("enum", ()) if value not in after.get("enum", ())]
    if added:
        yield f"{where} also accepts {', '.join(map(str, added))} (looser)"
    if gone:
        yield f"{where} no longer accepts {', '.join(map(str, gone))} (stricter)"
    for name in LIMITS.values():
        if before.get(name) != after.get(name):
            grows = (after.get(name, 0) > before.get(name, 0)) is not name.startswith("min")
            how = "looser" if grows else "stricter"
            yield f"{where}: {name.replace('_', ' ')} {after.get(name)}, before {before.get(name)} ({how})"
    if isinstance(after.get("items"), Mapping):
        yield from _limit_changes(before.get("items", {}), after["items"], f"{where}, each item")


def stricter(own: Model, discovered: Discovered) -> Iterator[str]:
    """Yield a line for each limit in which KIE's schema is stricter than the package, which does not apply it.

    :param own: the package's model.
    :param discovered: KIE's.
    """
    needed = {*own.required, *own.required_if, *(name for names in own.one_of for name in names)}
    for name in discovered.required or ():
        if name in discovered.fields and name not in needed:
            yield f"{own.model}: KIE's schema requires {name}"
    for name, rule in discovered.fields.items():
        yield from (f"{own.model}: {name}{line}" for line in _stricter_limits(own.fields.get(name, {}), rule))


def _stricter_limits(own: Rule, discovered: Rule) -> Iterator[str]:
    gone = [value for value in own.get("enum", ()) if discovered.get("enum") and value not in discovered["enum"]]
    if gone:
        yield f" does not take {', '.join(map(str, gone))} by KIE's schema"
    for name in LIMITS.values():
        if name not in own or name not in discovered or discovered[name] == own[name]:
            continue
        if (discovered[name] > own[name]) is name.startswith("min"):
            yield f" has {name.replace('_', ' ')} {discovered[name]} by KIE's schema, and {own[name]} here"
    kinds = frozenset({own.get("type"), discovered.get("type")}) - {None}
    if len(kinds) == 2 and kinds != _SAME_TYPE:
        yield f" is of type {discovered['type']} by KIE's schema, and {own['type']} here"


def _shown(rule: Rule) -> str:
    values = " | ".join(map(str, rule.get("enum", ())))
    limits = [f"{name.replace('_', ' ')} {rule[name]}" for name in LIMITS.values() if name in rule]
    return ", ".join([str(rule.get("type", "any")), *([values] if values else []), *limits])
