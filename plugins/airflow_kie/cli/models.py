"""`airflow kie models`: the models of KIE's catalogue, their fields and prices; `--refresh` asks KIE itself."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from airflow_kie import settings
from airflow_kie.archive.inbox.song_request import counted
from airflow_kie.cli.arguments import open_archive
from airflow_kie.cli.terminal import command, complain, say, say_json
from airflow_kie.client.api import Kie
from airflow_kie.client.catalogue.discovered import Discovered, listed, with_schema
from airflow_kie.client.catalogue.models import Model, search
from airflow_kie.client.catalogue.models import models as own_models
from airflow_kie.client.catalogue.prices import prices
from airflow_kie.client.catalogue.widened import changes, combined, stricter
from airflow_kie.client.errors import KieError, KieRateLimited, Scope
from airflow_kie.client.operations.market import MODELS
from airflow_kie.hooks.catalogue import add_discovered, read_discovered
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.checks.findings import error_text

TRIES = 5
"""How often a question is asked that comes too soon after one of another program: KIE drops it."""


@command()
def models(args: Namespace) -> int:
    """List models, or show the one that is named; with `refresh`, ask KIE about them first.

    :param args: `words`, `json`, `refresh`, `kie_conn_id`.
    :return: 0; 1 where no model fits, or KIE could not be asked about one.
    """
    text = " ".join(args.words)
    if args.refresh:
        return int(not _refreshed(args.kie_conn_id or settings.allowed_connections()[0], text))
    known = {**own_models(), **_discovered()}
    named = known.get(text)
    found = [named] if named else list(search(text, known))
    if not found:
        complain(f"No model of the catalogue has {text!r} in its name, title, provider or media.")
    if args.json:
        say_json([asdict(model) for model in found])
    elif named:
        for line in _shown(named):
            say(line)
    elif found:
        for model in found:
            say(f"{model.model}  {model.media}, {model.title}; {', '.join(_prices(model))}")
        say(f"{counted(len(found), 'model')}.")
    return 0 if found else 1


def _discovered() -> Mapping[str, Model]:
    """Return what KIE says of its models; empty, with a sentence, where the bucket cannot be read."""
    if not settings.text("bucket"):
        return {}
    try:
        bucket, keys = open_archive()
        return combined(own_models(), read_discovered(bucket, keys.catalogue))
    except KieError as error:
        complain(f"KIE's newer models are left out: {error_text(error)}")
        return {}


def _prices(model: Model) -> list[str]:
    return [model.price_text] if model.price is None and model.price_text else list(prices(model))


@dataclass
class _Refresh:
    """One refresh.

    :param kie: asks.
    :param before: the models as they were, by name.
    :param read: what KIE says.
    :param failed: names of the models about which it could not be asked.
    """

    kie: Kie
    before: Mapping[str, Model]
    read: list[Discovered] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def ask(self, path: str = "") -> Any:
        """Return KIE's answer to a question about models, which are asked one after the other, 1.1 s apart."""
        for left in reversed(range(TRIES)):
            try:
                return self.kie.call(replace(MODELS, path=f"{MODELS.path}{path}"))
            except KieRateLimited as error:
                if not left:
                    raise
                time.sleep(max(MODELS.pace, error.facts.retry_after or 0.0))
        return None

    def about(self, wanted: Sequence[Discovered]) -> None:
        """Read the schemas of models; one that cannot be read stops no other, unless KIE itself cannot be asked."""
        for one in wanted:
            own = own_models().get(one.model)
            try:
                called_elsewhere = own is not None and not own.is_market
                schema = None if called_elsewhere else self.ask(f"/{quote(one.model, safe='/')}/schema")
                self.read.append(one if called_elsewhere else with_schema(one, schema))
            except KieError as error:
                self.failed.append(one.model)
                complain(f"{one.model}: {error_text(error)}")
                if error.scope is Scope.ACCOUNT:
                    return

    def lines(self) -> Iterator[str]:
        """Yield what has changed, and what KIE is stricter about than the package."""
        own = own_models()
        after = combined(own, {one.model: one for one in self.read})
        for one in self.read:
            yield from changes(self.before.get(one.model), after[one.model])
        for one in self.read:
            if one.model in own:
                yield from stricter(own[one.model], one)


def _refreshed(conn_id: str, text: str) -> bool:
    """Ask KIE about its models and keep what it says; return whether nothing failed."""
    bucket, keys = open_archive()
    kept = read_discovered(bucket, keys.catalogue)
    refresh = _Refresh(KieHook(conn_id).get_conn(), {**own_models(), **combined(own_models(), kept)})
    every = listed(refresh.ask(), datetime.now(UTC).isoformat(timespec="seconds"))
    named = text.lower().split()
    wanted = [one for one in every if all(word in f"{one.model} {one.title} {one.provider}".lower() for word in named)]
    say(f"KIE lists {counted(len(every), 'model')}. Asking about {len(wanted)}, one a second.")
    gone = sorted(kept.keys() - {one.model for one in every})
    try:
        refresh.about(wanted)
    finally:  # what was read until an interruption is kept
        add_discovered(bucket, keys.catalogue, refresh.read, gone)
        for line in (*refresh.lines(), *(f"{name}: KIE no longer lists it" for name in gone)):
            say(line)
    say(f"KIE's answers about {counted(len(refresh.read), 'model')} are stored in {bucket.url(keys.catalogue)}.")
    if refresh.failed:
        complain(f"KIE could not be asked about {', '.join(refresh.failed)}; their stored answers are kept.")
    return not refresh.failed


def _shown(model: Model) -> Iterator[str]:
    """Yield a model's lines."""
    yield f"{model.model}: {model.title} ({model.provider}, {model.media}, {model.status})"
    if model.endpoint:
        yield f"  called at: {model.endpoint if model.endpoint != '?' else 'not known'}"
    yield from (f"  credits: {line}" for line in prices(model))
    if model.price_text:
        yield f"  price, as KIE describes it: {model.price_text}"
    for name, rule in model.fields.items():
        needed = " (required)" if name in model.required else ""
        yield f"  {name}{needed}: {', '.join(_rules(rule))}"
    if model.one_of:
        yield f"  one of: {'; '.join(' and '.join(names) for names in model.one_of)}"
    for name, others in model.required_if.items():
        yield f"  {name} is required if {', '.join(f'{other} is {value}' for other, value in others.items())}"


def _rules(rule: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a field takes."""
    yield str(rule.get("type", "any"))
    if rule.get("enum"):
        yield " | ".join(map(str, rule["enum"]))
    for name, value in rule.items():
        if name not in ("type", "enum", "items", "format"):
            yield f"{name.replace('_', ' ')} {value}"
