"""What operators, sensors, the transfer, the chain, the hook and the notifiers take: tables from their docstrings."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tools.markdown import table

Row = tuple[str, str, str]
"""Name, default and meaning of a parameter."""

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
_TEMPLATE = " †"
"""Marks a parameter that Airflow renders; the page's head says so."""
_SHARED_BY = 3
"""So many names with the same parameter, default and meaning: it stands in the shared table alone."""
_SHARED_LINK = "[parameters of all tasks](#parameters-of-all-tasks)"
_PARAMETER = re.compile(r":param (\w+): (.*?)(?=\n:|\n\n|\Z)", re.S)
_FIELD = re.compile(r"^:(?:param|return|raises)\b.*?(?=\n\n|\n:|\Z)", re.S | re.M)


def tables() -> Mapping[str, Callable[[], str]]:
    """Return what makes the shared table, and the text and the table of each documented name."""
    named = {path.rpartition(".")[2]: functools.partial(description, path) for path in DOCUMENTED}
    return {"shared-parameters": shared_table, **named}


def shared_table() -> str:
    """Return one row for each parameter that several documented names take with the same default and meaning."""
    rows = ((name, ", ".join(folders), default, meaning) for (name, default, meaning), folders in shared().items())
    return table(("parameter", "of", "default", "what it is"), rows)


@functools.cache
def shared() -> Mapping[Row, tuple[str, ...]]:
    """Return each shared parameter, with the folders of the names that take it, in the order of the page.

    :raises ValueError: if one folder's names share two meanings of a parameter, which a reader could not tell apart.
    """
    takers: dict[Row, list[str]] = defaultdict(list)
    for path in DOCUMENTED:
        for row in parameters(imported(path)):
            takers[row].append(path.split(".")[1])
    found = {row: tuple(dict.fromkeys(who)) for row, who in takers.items() if len(who) >= _SHARED_BY}
    known = [(name, folder) for (name, _, _), folders in found.items() for folder in folders]
    twice = {one for one in known if known.count(one) > 1}
    if twice:
        raise ValueError(f"These parameters have two shared meanings in one folder: {sorted(twice)}")
    return dict(sorted(found.items(), key=lambda row: row[1]))


def description(path: str) -> str:
    """Return what is in the docstring of a class or function: its text, its own parameters, and names of shared ones.

    :param path: where it is imported from.
    """
    module, _, name = path.rpartition(".")
    found = imported(path)
    text = _FIELD.sub("", inspect.getdoc(found) or "").strip()
    text = re.sub(r"\n{3,}", "\n\n", text)
    rows = list(parameters(found))
    own = [row for row in rows if row not in shared()]
    others = ", ".join(row[0] for row in rows if row in shared())
    parts = [
        f"    from {module} import {name}",
        _marked(text),
        table(("parameter", "default", "what it is"), own).rstrip() if own else "",
        f"From the {_SHARED_LINK}: {others}." if others else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def imported(path: str) -> Any:
    """Return a documented class or function.

    :param path: where it is imported from.
    """
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def parameters(found: Any) -> Iterator[Row]:
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
        yield f"`{name}`{_TEMPLATE if name in templates else ''}", default, _marked(meanings[name])


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
