"""How long a song of the unified form is."""

from __future__ import annotations

import random

from kie_simulator.settings import Settings
from kie_simulator.tasks import Task, given

# Measured: 30 s asked of V6 came as 28.8 to 30.4 s; V6_MINI made about 185 to 204 s whatever was asked.
_HONOURED = ("V6", "V6_WILD", "V5_5")
_OFF = (-1.2, 0.4)
_OWN = (185.0, 204.0)


def asked_seconds(settings: Settings, task: Task, number: int) -> float | None:
    """Return a track's length in seconds where the request asks for one; None if the song has its own.

    :param number: which of the task's tracks.
    """
    fields = given(task)
    asked, version = fields.get("duration"), str(fields.get("model", "V6"))
    if task.form != "unified" or not isinstance(asked, int | float):
        return None
    rng = random.Random(f"{task.id}/{number}")  # noqa: S311 - draws durations, protects nothing
    if settings.durations_honoured and version in _HONOURED and fields.get("custom_mode", True):
        return round(asked + rng.uniform(*_OFF), 2)
    return round(rng.uniform(*_OWN), 2)
