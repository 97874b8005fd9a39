"""What a part of a stack is."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One process of a stack.

    :param name: its name, also that of its log file.
    :param command: program and arguments; ``url`` is its former address when it is started again, else None.
    :param environment: its whole environment.
    :param address: reads its address from what it wrote since its start, or None when it has no say in that.
    :param ends_by: the signal that asks it to end without waiting for its clients.
    """

    name: str
    command: Callable[[str | None], list[str]]
    environment: Mapping[str, str]
    address: Callable[[str], str | None] | None = None
    ends_by: signal.Signals = signal.SIGTERM
