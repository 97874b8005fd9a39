"""The tables of the pages that the code decides: ``.venv/bin/python -m tools.tables`` writes them.

A table is between ``<!-- table: NAME -->`` and ``<!-- end -->``; tests/unit/project/test_docs.py compares it.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

import airflow_kie
from airflow_kie.client.errors import KieError, KieSpendingStopped, Remedy, Scope
from airflow_kie.durable import outage_backoff
from airflow_kie.durable.retry_policy import BUDGETS, OTHER
from airflow_kie.get_provider_info import get_provider_info
from airflow_kie.metrics import METRICS
from tools import operations, parameters
from tools.markdown import table

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = tuple(DOCS / f"{name}.md" for name in ("settings", "on-call", "monitoring", "operators", "operations", "cli"))
RULES = DOCS.parent / "include" / "monitoring" / "prometheus_rules.yml"

REACHES: Mapping[Scope, str] = {
    Scope.ACCOUNT: "every song of this KIE account",
    Scope.SERVICE: "every song",
}
HELPS: Mapping[Remedy, str] = {
    Remedy.READ_AGAIN: "reading again, free",
    Remedy.RETRY: "the same request",
    Remedy.NEW_TASK: "a new task",
}
_BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)


def settings_table() -> str:
    """Return the options of the ``[kie]`` section."""
    rows = (
        (f"`{name}`", _code(option["default"]), option["description"])
        for name, option in get_provider_info()["config"]["kie"]["options"].items()
    )
    return table(("option", "default", "what it does"), rows)


def connection_table(kind: str = "kie") -> str:
    """Return the fields of the connection form that a type of connection adds.

    :param kind: the type.
    """
    (form,) = (form for form in get_provider_info()["connection-types"] if form["connection-type"] == kind)
    rows = ((f"`{name}`", field["label"], field["description"]) for name, field in form["conn-fields"].items())
    return table(("in the extra", "in the form", "what it is"), rows)


def song_errors_table() -> str:
    """Return one row for each error that touches one song."""
    rows = ((_reason(error), _meaning(error), _retried(error), error.todo) for error in _errors(Scope.TASK))
    return table(("reason", "what the log says, and when", "retried", "what you do"), rows)


def outages_table() -> str:
    """Return one row for each error that touches an account, KIE or a bucket."""
    rows = (
        (_reason(error), _meaning(error), REACHES[error.scope], _in_a_persons_run(error), error.todo)
        for error in _errors(Scope.ACCOUNT, Scope.SERVICE)
    )
    return table(("reason", "what the log says, and when", "touches", "in your own run", "what you do"), rows)


def metrics_table() -> str:
    """Return one row for each metric."""
    rows = (
        (
            f"`{metric.name}`",
            metric.kind.value,
            metric.unit,
            ", ".join(f"`{tag}`" for tag in metric.tags) or "none",
            metric.meaning,
            f"`{metric.prometheus}`",
        )
        for metric in METRICS.values()
    )
    return table(("metric", "kind", "unit", "tags", "what it says", "in Prometheus"), rows)


def alerts_table() -> str:
    """Return one row for each alert rule."""
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    rows = (
        (f"`{rule['alert']}`", rule["labels"]["severity"], rule["annotations"]["summary"], rule["annotations"]["todo"])
        for rule in rules
    )
    return table(("alert", "severity", "what it says", "what you do"), rows)


def commands_table() -> str:
    """Return one row for each command of ``airflow kie``."""
    from airflow_kie.cli.definition import get_kie_commands

    (group,) = get_kie_commands()
    rows = ((f"`airflow kie {command.name}{_options(command)}`", command.description) for command in group.subcommands)
    return table(("command", "what it does"), rows)


def operations_table() -> str:
    """Return one row for each of KIE's operations."""
    heads = ("operation", "KIE's page", "required", "results", "credits", "kept at KIE", "seen on the real KIE")
    return table(heads, operations.operation_rows())


def models_table() -> str:
    """Return one row for each model of the market."""
    return table(("model", "title", "makes", "required", "credits"), operations.model_rows())


def _options(command: Any) -> str:
    flags = [(arg.flags[-1], arg.kwargs) for arg in command.args]
    ordered = sorted(flags, key=lambda one: (one[0].startswith("-"), not one[1].get("required")))
    return "".join(f" {_option(name, known)}" for name, known in ordered)


def _option(name: str, known: Mapping[str, Any]) -> str:
    """Return an argument as a synopsis has it: what may be left out in brackets."""
    choices = "{" + ",".join(known.get("choices", ())) + "}"
    value = choices if known.get("choices") else name.strip("-").upper().replace("-", "_")
    if not name.startswith("-"):
        shown = f"{value}{' …' if known.get('nargs') in ('+', '*') else ''}"
        return f"[{shown}]" if known.get("nargs") in ("?", "*") else shown
    shown = name if known.get("action") == "store_true" else f"{name} {value}"
    return shown if known.get("required") else f"[{shown}]"


TABLES: Mapping[str, Callable[[], str]] = {
    "commands": commands_table,
    "operations": operations_table,
    "models": models_table,
    "settings": settings_table,
    "connection": connection_table,
    "chat-connection": lambda: connection_table("pydanticai_kie"),
    "song-errors": song_errors_table,
    "outages": outages_table,
    "metrics": metrics_table,
    "alerts": alerts_table,
    **parameters.tables(),
}


def every_error() -> list[type[KieError]]:
    """Return every error class of the package."""
    for module in pkgutil.walk_packages(airflow_kie.__path__, "airflow_kie."):
        importlib.import_module(module.name)
    return list(KieError.by_reason.values())


def with_tables(text: str) -> str:
    """Return a page with its tables as the code has them now.

    :param text: the page.
    """
    return _BLOCK.sub(lambda block: f"{block[1]}\n{TABLES[block[2]]()}\n{block[3]}", text)


def _meaning(error: type[KieError]) -> str:
    first_line = (error.__doc__ or "").strip().partition("\n")[0]
    return f"**{error.what}.** {first_line}"


def _reason(error: type[KieError]) -> str:
    return f"`{error.reason}`"


def _errors(*scopes: Scope) -> list[type[KieError]]:
    found = [error for error in every_error() if error.scope in scopes]
    return sorted(found, key=lambda error: (scopes.index(error.scope), error.remedy is not Remedy.PERSON, error.reason))


def _retried(error: type[KieError]) -> str:
    if error.remedy is Remedy.PERSON:
        return "no"
    budget = BUDGETS.get(error.reason, OTHER)
    return f"{HELPS[error.remedy]}; {budget.retries} times, first after {budget.first:g} s"


def _in_a_persons_run(error: type[KieError]) -> str:
    if error.reason in outage_backoff.WAITED_OUT_FOR_PEOPLE or error is KieSpendingStopped:
        return "waited out"
    return "fails at once" if error.remedy is Remedy.PERSON else f"retried: {_retried(error)}"


def _code(text: str) -> str:
    return f"`{text}`" if text else "none"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_tables(page.read_text()))
