"""The simulator's own time: it can run faster than the wall clock and can be moved forward."""

from __future__ import annotations

import time


class Clock:
    """Virtual unix time that starts at the real time and passes ``speed`` times as fast.

    :param speed: simulated seconds for each real second.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._virtual = time.time()
        self._real = time.monotonic()

    @property
    def speed(self) -> float:
        """Return how many simulated seconds pass in a real second."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._virtual, self._real = self.now(), time.monotonic()
        self._speed = speed

    def now(self) -> float:
        """Return the simulated unix time in seconds."""
        return self._virtual + (time.monotonic() - self._real) * self._speed

    def advance(self, seconds: float) -> None:
        """Move the simulated time forward.

        :param seconds: simulated seconds to skip.
        """
        self._virtual += seconds

    def real_seconds_until(self, moment: float) -> float:
        """Return how many real seconds pass until a simulated moment, at least 0.

        :param moment: simulated unix time in seconds.
        """
        return max(0.0, (moment - self.now()) / self._speed)
