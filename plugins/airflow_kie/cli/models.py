"""`airflow kie models`: the models of KIE's catalogue, their fields and prices."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.cli.terminal import command, complain, say, say_json
from airflow_kie.client.catalogue.models import Model, search
from airflow_kie.client.catalogue.models import models as all_models
from airflow_kie.client.catalogue.prices import prices


@command()
def models(args: Namespace) -> int:
    """List models, or show the one that is named.

    :param args: `words`, `json`.
    :return: 0; 1 where no model fits.
    """
    text = " ".join(args.words)
    named = all_models().get(text)
    found = [named] if named else list(search(text))
    if not found:
        complain(f"No model of the catalogue has {text!r} in its name, title, provider or media.")
    elif args.json:
        say_json([asdict(model) for model in found])
    elif named:
        for line in _shown(named):
            say(line)
    else:
        for model in found:
            say(f"{model.model}  {model.media}, {model.title}; {', '.join(prices(model))}")
        say(f"{counted(len(found), 'model')}.")
    return 0 if found else 1


def _shown(model: Model) -> Iterator[str]:
    """Yield a model's lines."""
    yield f"{model.model}: {model.title} ({model.provider}, {model.media}, {model.status})"
    if model.endpoint:
        yield f"  called at: {model.endpoint if model.endpoint != '?' else 'not known'}"
    yield from (f"  credits: {line}" for line in prices(model))
    for name, rule in model.fields.items():
        needed = " (required)" if name in model.required else ""
        yield f"  {name}{needed}: {', '.join(_rules(rule))}"
    if model.one_of:
        yield f"  one of: {'; '.join(' and '.join(names) for names in model.one_of)}"
    for name, others in model.required_if.items():
        yield f"  {name} is required where {', '.join(f'{other} is {value}' for other, value in others.items())}"


def _rules(rule: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a field takes."""
    yield str(rule.get("type", "any"))
    if rule.get("enum"):
        yield " | ".join(map(str, rule["enum"]))
    for name, value in rule.items():
        if name not in ("type", "enum", "items", "format"):
            yield f"{name.replace('_', ' ')} {value}"
