"""Answers of ``createTask`` that hold the result itself, without a task to read."""

from __future__ import annotations

from kie_simulator.answers import Answer
from kie_simulator.settings import Settings
from kie_simulator.simulation import Simulation
from kie_simulator.tasks import Json, Task
from kie_simulator.unified.rows import operation_of


def is_inline(settings: Settings, task: Task) -> bool:
    """Return whether a task's result is in the answer to its create."""
    return task.model in settings.inline_models


def inline_answer(sim: Simulation, task: Task, base_url: str) -> Answer:
    """Return the answer with a task's result, and no task id.

    Two clients report the result in ``data``, or in ``data.data`` with a code of its own.
    """
    task.finish_within(0)
    family = operation_of(task).family
    made: Json = family.details(sim.reading(task, base_url))["response"]
    nested = {"code": 200, "msg": "success", "data": made}
    return Answer(data=nested if sim.settings.inline_shape == "nested" else made)
