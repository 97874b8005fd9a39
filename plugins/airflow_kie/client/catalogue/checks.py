"""What KIE would refuse of a request, as its catalogue says, before anything is sent or paid."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_kie.client.catalogue.listed import Asked, asked_model
from airflow_kie.client.catalogue.models import Model, models
from airflow_kie.client.operations.account import UPLOADED
from airflow_kie.client.operations.operation import Operation
from airflow_kie.client.redact import without_urls
from airflow_kie.client.untrusted import NOTHING

log = logging.getLogger(__name__)

LONGEST_VALUE = 40
"""Characters of a value that a message quotes."""
MOST_NAMED = 12
"""Allowed values that a message names."""
Rule = Mapping[str, Any]


def request_errors(
    operation: Operation,
    body: Mapping[str, Any],
    *,
    by_catalogue: bool = True,
    newer: Callable[[], Mapping[str, Model]] = dict,
) -> list[str]:
    """Return a sentence for everything that KIE would refuse; an empty list where nothing is known to be wrong.

    A model or field that the catalogue does not know is sent to KIE, with one warning in a process.

    :param operation: the row.
    :param body: the request's fields as KIE names them.
    :param by_catalogue: False: only the fields without which no request of the operation is one.
    :param newer: returns the models that KIE itself describes. It is called where the package's own catalogue
        objects to a request, or does not know what is in it, and only then.
    """
    if not isinstance(body, Mapping):  # such as the JSON text that a template renders to
        return [f'a {type(body).__name__} was given, not a map such as {{"prompt": "{{{{ params.prompt }}}}"}}']
    missing = operation.missing({name: value for name, value in body.items() if value != NOTHING})
    if missing:
        return [f"{operation.title} lacks {', '.join(missing)}"]
    if not by_catalogue:
        return []
    found = _Found.of(operation, body, models())
    if (found.errors or found.unknown) and (discovered := newer()):
        wider = _Found.of(operation, body, {**models(), **discovered})
        if found.errors and not wider.errors:
            log.info("KIE's own schema accepts what this package's catalogue rejects: %s.", "; ".join(found.errors))
        found = wider
    for text in (*found.unknown, *found.old):
        _warn(text)
    return found.errors


@dataclass(frozen=True)
class _Found:
    """What a catalogue says of a request.

    :param errors: what KIE would refuse.
    :param unknown: what the catalogue does not know.
    :param old: what KIE may have given up.
    """

    errors: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    old: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, operation: Operation, body: Mapping[str, Any], known: Mapping[str, Model]) -> _Found:
        """Return what a catalogue says of a request."""
        market, found = operation.name == "market", cls()
        asked = asked_model(operation, body, known)
        if market and not isinstance(body["input"], Mapping):
            found.errors.append("input is not an object with the model's fields")
        elif asked is None:
            if market:
                named = _shown(body["model"])
                found.unknown.append(f"The catalogue here does not have model {named}; the request is sent unchecked.")
        elif not asked.model.is_market:
            chat = "a chat model, which makes no task: use it with @task.llm (docs/guides/chat.md)"
            how = chat if asked.model.is_chat else f"called at {asked.model.endpoint}"
            found.errors.append(f"model {asked.model.model} is {how}, and not at jobs/createTask")
        else:
            if asked.model.status == "discontinued":
                found.old.append(f"KIE's pages no longer have the model {asked.model.model}; KIE may reject it.")
            required = asked.model.required if market else ()
            found.errors.extend(_errors(asked, required, title=operation.title))
            if required:  # the dedicated form has fields of its own
                who, names = asked.model.model, asked.names
                unnamed = [spelled for name, spelled in names.items() if name not in asked.model.fields]
                found.unknown.extend(
                    f"The catalogue here does not have field {spelled!r:.60} of {who}; it is sent unchecked."
                    for spelled in unnamed
                )
        return found


def _errors(asked: Asked, required: Sequence[str], title: str = "") -> Iterator[str]:
    """Yield what is wrong with a model's fields, in the request's spelling of them."""
    model, given = asked.model, asked.given
    who = model.model if required or not title else title
    for name in required:
        if given.get(name, "") in ("", NOTHING):
            yield f"{who} needs {name}{_allowed(model.fields.get(name, {}))}"
    if model.one_of and not any(all(given.get(name) for name in names) for names in model.one_of):
        yield f"{who} needs {' or '.join(' and '.join(names) for names in model.one_of)}"
    for name, others in model.required_if.items():
        if not given.get(name) and all(given.get(other) == value for other, value in others.items()):
            yield f"{who} needs {name} if {', '.join(f'{o} is {v}' for o, v in others.items())}"
    for name, spelled in asked.names.items():
        rule = model.fields.get(name)
        if rule is not None and given[name] != "" and (problem := _problem(rule, given[name])):
            yield f"{who}: {spelled} must be {problem}"


def _problem(rule: Rule, value: Any) -> str:
    """Return what a field must be, and what was given instead; empty where that fits.

    A number that is written as a text is let through: fields that are templates hold texts.
    """
    if rule.get("enum") and not isinstance(value, list | Mapping):
        if str(value).lower() in (str(allowed).lower() for allowed in rule["enum"]):
            return ""
        return f"one of {_named(rule['enum'])}, not {_shown(value)}"
    check = _CHECKS.get(str(rule.get("type")))
    return check(rule, value) if check else ""


def _of_boolean(rule: Rule, value: Any) -> str:
    return "" if isinstance(value, bool) else f"true or false, not {_shown(value)}"


def _of_number(rule: Rule, value: Any) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return f"a number, not {_shown(value)}"
    low, high = rule.get("min", number), rule.get("max", number)
    return "" if low <= number <= high else f"{_range(rule, '') or 'a number'}, not {_shown(value)}"


def _of_string(rule: Rule, value: Any) -> str:
    if isinstance(value, list | Mapping):
        return f"a text, not {_shown(value)}"
    text = str(value)
    if rule.get("format") == "uri" and not text.startswith(("https://", "http://", UPLOADED)):
        return f"an http(s) address, not {_shown(value)}"
    fits = rule.get("min_length", 0) <= len(text) <= rule.get("max_length", len(text))
    return "" if fits else f"{_range(rule, '_length')} characters long, not {len(text)}"


def _of_array(rule: Rule, value: Any) -> str:
    if not isinstance(value, list | tuple):
        return f"a list, not {_shown(value)}"
    if not rule.get("min_items", 0) <= len(value) <= rule.get("max_items", len(value)):
        return f"a list of {_range(rule, '_items')} items, not {len(value)}"
    items = rule.get("items", {})
    found = next((problem for item in value if (problem := _problem(items, item))), "")
    return f"a list of items, each {found}" if found else ""


def _of_object(rule: Rule, value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"an object, not {_shown(value)}"
    missing = [name for name in rule.get("required", ()) if value.get(name) in (None, "")]
    return f"an object with {', '.join(missing)}" if missing else ""


_CHECKS: Mapping[str, Callable[[Rule, Any], str]] = {
    "boolean": _of_boolean,
    "integer": _of_number,
    "number": _of_number,
    "string": _of_string,
    "array": _of_array,
    "object": _of_object,
}


def _range(rule: Rule, suffix: str) -> str:
    low, high = (rule.get(f"{end}{suffix}") for end in ("min", "max"))
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else f"at most {high}" if high is not None else ""


def _allowed(rule: Rule) -> str:
    return f" ({_named(rule['enum'])})" if rule.get("enum") else ""


def _named(values: Sequence[Any]) -> str:
    more = f" and {len(values) - MOST_NAMED} more" if len(values) > MOST_NAMED else ""
    return ", ".join(map(str, values[:MOST_NAMED])) + more


def _shown(value: Any) -> str:
    """Return a value as a message may quote it: short, and without addresses."""
    text = repr(without_urls(value) if isinstance(value, str) else value)
    return text if isinstance(value, str | int | float) and len(text) <= LONGEST_VALUE else f"a {type(value).__name__}"


@functools.lru_cache(maxsize=256)
def _warn(text: str) -> None:
    """Log a sentence once in a process."""
    log.warning(text)
