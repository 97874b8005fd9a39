"""The event of a task that starts songs, as it is filled."""

from __future__ import annotations

from typing import Any


class Partitions:
    """What a task adds to its outlet's event."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.extra: dict[str, Any] = {}

    def add_partitions(self, keys: list[str]) -> None:
        """Add a partition for each song."""
        self.keys += keys
