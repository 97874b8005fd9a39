"""How long to wait for something, on a machine that may stand still meanwhile."""

from __future__ import annotations

import time

_LOOK = 10.0
"""Seconds that one look, with the pause before it, counts for at most."""


class Patience:
    """Time to wait for something, of which a machine that stands still takes next to nothing.

    A laptop that was closed, or a virtual machine that was held up for minutes, has not waited: what it waits for stood
    still as well. So the time between two looks counts for a few seconds at most.

    :param seconds: how long to wait.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._left = seconds
        self._looked = time.monotonic()

    def is_over(self) -> bool:
        """Look at the time: say whether it has been waited for long enough."""
        now = time.monotonic()
        self._left -= min(now - self._looked, _LOOK)
        self._looked = now
        return self._left <= 0
