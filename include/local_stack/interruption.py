"""A command's end by signal: Ctrl-C, a closed terminal, kill."""

from __future__ import annotations

import signal


class Interrupted(Exception):
    """The command was interrupted.

    :param number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted ({signal.Signals(number).name})")
        self.number = number
