"""What is looked up once a minute, however many requests come: secrets, and clients of S3."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Value = TypeVar("Value")
KEPT_SECONDS = 60.0


@dataclass
class Kept(Generic[Value]):
    """Values by name, each looked up again after a minute; of many threads at once, one looks up.

    :param look_up: gives the value of a name; what it raises is not kept.
    :param clock: seconds that only grow.
    """

    look_up: Callable[[str], Value]
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[float, Value]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, name: str) -> Value:
        """Return the value of a name; names must be few: they are ours, never a request's."""
        with self._lock:
            known = self._known.get(name)
            if known is None or self.clock() - known[0] >= KEPT_SECONDS:
                known = self._known[name] = (self.clock(), self.look_up(name))
            return known[1]
