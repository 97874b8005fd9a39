"""How long to wait for something, on a machine that may be suspended meanwhile."""

from __future__ import annotations

import time

_LONGEST_STEP = 10.0
"""Seconds that one check, with the pause before it, counts for at most."""


class Timeout:
    """Time to wait for something, of which a suspended machine takes next to nothing.

    A laptop that was closed, or a virtual machine that was suspended for minutes, has not waited: what it waits for was
    suspended as well. So the time between two checks counts for a few seconds at most.

    :param seconds: how long to wait.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._left = seconds
        self._checked = time.monotonic()

    def expired(self) -> bool:
        """Say whether the time has passed; to be called again and again while waiting."""
        now = time.monotonic()
        self._left -= min(now - self._checked, _LONGEST_STEP)
        self._checked = now
        return self._left <= 0
