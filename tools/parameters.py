"""What operators, sensors, the transfer, the chain, the hook and the notifiers take: tables from their docstrings."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

DOCUMENTED = (
    "airflow_kie.task_groups.music_cover.archive_covers",
    "airflow_kie.operators.suno.KieGenerateMusicOperator",
    "airflow_kie.operators.suno.KieGenerateCoverOperator",
    "airflow_kie.operators.task.KieTaskOperator",
    "airflow_kie.operators.call.KieCallOperator",
    "airflow_kie.operators.upload.KieUploadOperator",
    "airflow_kie.sensors.task.KieTaskSensor",
    "airflow_kie.transfers.results_to_s3.KieResultsToS3Operator",
    "airflow_kie.sensors.suno.KieMusicSensor",
    "airflow_kie.sensors.suno.KieCoverSensor",
    "airflow_kie.transfers.kie_to_s3.KieCoverToS3Operator",
    "airflow_kie.operators.song_list.KieSongListOperator",
    "airflow_kie.operators.report.KieSongReportOperator",
    "airflow_kie.hooks.kie.KieHook",
)
"""Import paths, in the order of the page."""
_GENERIC = frozenset({"operation", "request", "requests", "kie_task_id"})
"""Parameters of the generic operator and sensor, which their typed front ends fill in."""
_PARAMETER = re.compile(r":param (\w+): (.*?)(?=\n:|\n\n|\Z)", re.S)
_FIELD = re.compile(r"^:(?:param|return|raises)\b.*?(?=\n\n|\n:|\Z)", re.S | re.M)


def tables() -> Mapping[str, Callable[[], str]]:
    """Return what makes the text and the table of each documented name."""
    return {path.rpartition(".")[2]: functools.partial(description, path) for path in DOCUMENTED}


def description(path: str) -> str:
    """Return what is in the docstring of a class or function: its text, then its parameters.

    :param path: where it is imported from.
    """
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    text = _FIELD.sub("", inspect.getdoc(found) or "").strip()
    text = re.sub(r"\n{3,}", "\n\n", text)
    called = f"    from {module} import {name}"
    rows = "\n".join(f"| {' | '.join(row)} |" for row in parameters(found))
    table = f"\n\n| parameter | default | what it is |\n|---|---|---|\n{rows}" if rows else ""
    return f"{called}\n\n{_marked(text)}{table}\n"


def parameters(found: Any) -> Iterator[tuple[str, str, str]]:
    """Yield name, default and meaning of each parameter: a class's own, inherited ones, and those of Airflow.

    :param found: a class, or a function.
    :raises KeyError: for a parameter that no docstring explains.
    """
    classes = [each for each in inspect.getmro(found) if _is_ours(each)] if inspect.isclass(found) else [found]
    meanings = dict(_explained(reversed(classes)))
    templates = getattr(found, "template_fields", ())
    generic = _GENERIC if getattr(found, "kind", "") else frozenset()
    own = {parameter.name: _default(parameter) for each in reversed(classes) for parameter in _own(each)}
    named = {name: own[name] for each in classes for name in (parameter.name for parameter in _own(each))}
    for name, default in {**named, **{one: "Airflow's" for one in meanings if one not in named}}.items():
        if name in generic:
            continue
        templated = " A template." if name in templates else ""
        yield f"`{name}`", default, f"{_marked(meanings[name])}{templated}".replace("|", "\\|")


def _own(found: Any) -> Iterable[inspect.Parameter]:
    if inspect.isclass(found) and "__init__" not in vars(found):
        return ()
    given = inspect.signature(vars(found)["__init__"] if inspect.isclass(found) else found).parameters.values()
    return [each for each in given if each.name != "self" and each.kind is not inspect.Parameter.VAR_KEYWORD]


def _explained(classes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for each in classes:
        for name, meaning in _PARAMETER.findall(inspect.cleandoc(each.__doc__ or "")):
            yield name, " ".join(meaning.split())


def _is_ours(each: type) -> bool:
    return each.__module__.startswith("airflow_kie.")


def _default(parameter: inspect.Parameter) -> str:
    return "needed" if parameter.default is inspect.Parameter.empty else f"`{parameter.default!r}`"


def _marked(text: str) -> str:
    """Return a docstring's text as Markdown."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
