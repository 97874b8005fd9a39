"""docker-compose.yaml as ``docker compose`` reads it: merge keys resolved, variables put in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local_stack.settings import PROJECT

COMPOSE = PROJECT / "docker-compose.yaml"
_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?:(?P<rule>:?[-?])(?P<other>[^{}]*))?\}|(?P<bad>.?))")


class ComposeRefused(Exception):
    """docker compose would refuse the file, with this text."""


@dataclass(frozen=True)
class ComposeFile:
    """The file.

    :param services: by name, as they stand there once everything is put in.
    :param raw: the whole file before variables are put in.
    """

    services: Mapping[str, Mapping[str, Any]]
    raw: Mapping[str, Any]

    def command(self, service: str) -> list[str]:
        """Return entrypoint and command of a service."""
        found = self.services[service]
        return [*map(str, found.get("entrypoint") or []), *map(str, found.get("command") or [])]

    def environment(self, service: str) -> dict[str, str]:
        """Return the environment of a service."""
        return {name: str(value) for name, value in (self.services[service].get("environment") or {}).items()}


def read_compose(values: Mapping[str, str], path: Path = COMPOSE) -> ComposeFile:
    """Read the file.

    :param values: what ``.env`` holds.
    :raises ComposeRefused: when a variable lacks that must be there.
    """
    raw: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return ComposeFile(_put_in(raw["services"], values), raw)


def read_env(text: str) -> dict[str, str]:
    """Read the lines of an ``.env`` file as far as this project uses its rules: quotes around a value are dropped."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {name: value.strip("'\"") for name, _, value in (line.partition("=") for line in lines)}


def interpolated(text: str, values: Mapping[str, str]) -> str:
    """Put variables into a text, by the rules of the compose specification."""

    def found(match: re.Match[str]) -> str:
        name, rule, other = match["name"], match["rule"] or "", match["other"] or ""
        if match["escaped"]:
            return "$"
        if not name:
            raise ComposeRefused(f"Invalid interpolation format in {text!r}")
        value = values.get(name)
        lacks = not value if rule.startswith(":") else value is None
        if lacks and rule.endswith("?"):
            raise ComposeRefused(f"required variable {name} is missing a value: {other}")
        return other if lacks and rule else value or ""

    return _VARIABLE.sub(found, text)


def _put_in(node: Any, values: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _put_in(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_put_in(value, values) for value in node]
    return interpolated(node, values) if isinstance(node, str) else node
