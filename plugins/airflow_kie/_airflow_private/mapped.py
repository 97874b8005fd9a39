"""Where the values of a mapped task come from: what an XCom holds is data, and Airflow renders it as templates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from airflow_kie._airflow_private.fallback import switched_off


@switched_off(dict, "The fields of a mapped task are then not rendered at all.")
def mapped_over_xcom(task: Any, map_index: int) -> Mapping[str, Any] | None:
    """Return what a mapped task was given outside of its map, by name, if its map itself comes from an XCom.

    Airflow 3.3.2: `MappedOperator._get_specified_expand_input`, `ListOfDictsExpandInput.value`. `expand_kwargs` over an
    XCom gives dicts whose values Airflow renders; of `expand`, and of dicts in the DAG file, it knows what is data.

    :param task: the task instance's own operator.
    :param map_index: which item of the map.
    :return: None where nothing is mapped, or the map is in the DAG file.
    """
    from airflow.sdk.definitions._internal.expandinput import ListOfDictsExpandInput
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    mapped = task.dag.task_dict.get(task.task_id) if task.has_dag() else None
    if not isinstance(mapped, MappedOperator):
        return None
    given = mapped._get_specified_expand_input()
    if not isinstance(given, ListOfDictsExpandInput):
        return None
    if isinstance(given.value, list | tuple) and isinstance(given.value[map_index], Mapping):
        return None
    return mapped.partial_kwargs


def data_of(task: Any, map_index: int, names: Iterable[str]) -> Iterator[Any]:
    """Yield the values of a task's fields that an XCom has given: they are not templates.

    Airflow 3.3.2: an operator's own `dag`. Without what :func:`mapped_over_xcom` needs these are all of its fields.

    :param task: the task instance's own operator.
    :param map_index: which item of the map.
    :param names: of the fields.
    """
    own = None if map_index < 0 else mapped_over_xcom(task, map_index)
    if own is None:
        return
    for name in names:
        value = getattr(task, name, None)
        if name == "op_kwargs" and isinstance(value, Mapping):
            yield from (item for key, item in value.items() if key not in own.get(name, {}))
        elif name not in own:
            yield value


def listed(value: Any) -> Any:
    """Return a value in which the outputs of mapped tasks are lists, at any depth.

    Airflow 3.3.2: `LazyXComSequence`, and what `map` and `zip` make of it: no lists, and not written as JSON. It asks
    Airflow for each item; a slice is one question. Without that each item is one.

    :param value: of a template field, once it is rendered.
    """
    kind = type(value)
    if kind is dict:
        return {name: listed(item) for name, item in value.items()}
    if kind in (list, tuple):
        return kind(map(listed, value))
    if isinstance(value, Sequence) and kind.__module__.startswith("airflow.sdk."):
        return [listed(item) for item in (value[:] if kind.__name__ == "LazyXComSequence" else value)]
    return value
