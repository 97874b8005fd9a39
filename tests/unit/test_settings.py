"""Options of the [kie] section: empty ones, and what is taken for those that are not set."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import airflow_kie
from airflow_kie import settings
from airflow_kie.get_provider_info import get_provider_info
from local_stack.settings import PROJECT

OPTIONS = get_provider_info()["config"]["kie"]["options"]


def fallbacks(reader: str) -> list[tuple[str, object]]:
    """Return option and fallback of each call of a function of `settings`, in the package and the DAGs."""
    found = []
    for file in [*Path(airflow_kie.__file__).parent.rglob("*.py"), *(PROJECT / "dags").glob("*.py")]:
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or ast.unparse(call.func) not in (reader, f"settings.{reader}"):
                continue
            if not isinstance(call.args[0], ast.Constant):  # one that is called for several options
                continue
            name, *given = map(ast.literal_eval, call.args)
            found.append((str(name), given[0] if given else None))
    return sorted(found, key=str)


@pytest.mark.parametrize(("option", "fallback"), sorted(set(fallbacks("number")), key=str))
def test_an_empty_number_is_the_documented_default(
    monkeypatch: pytest.MonkeyPatch, option: str, fallback: float
) -> None:
    monkeypatch.setenv(f"AIRFLOW__KIE__{option.upper()}", " ")
    assert settings.number(option, fallback) == float(OPTIONS[option]["default"])


@pytest.mark.parametrize(("option", "fallback"), sorted(set(fallbacks("flag")), key=str))
def test_an_empty_flag_is_the_documented_default(
    monkeypatch: pytest.MonkeyPatch, option: str, fallback: bool | None
) -> None:
    monkeypatch.setenv(f"AIRFLOW__KIE__{option.upper()}", "")
    assert str(settings.flag(option, bool(fallback))) == OPTIONS[option]["default"]


def test_a_number_and_a_flag_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__CREDITS_ALERT", "2.5")
    monkeypatch.setenv("AIRFLOW__KIE__RECEIVER", "True")
    assert (settings.number("credits_alert", 0.0), settings.flag("receiver")) == (2.5, True)
