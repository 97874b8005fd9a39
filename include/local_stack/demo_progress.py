"""Where the songs of a run are: a table that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from local_stack.airflow_api import TERMINAL, TaskInstance

STEPS = ("music_complete", "generate_cover", "cover_details", "archive_to_s3")

# Airflow's states in its own words, and their appearance.
STYLES: Mapping[str, str] = {
    "success": "green",
    "failed": "bold red",
    "upstream_failed": "red",
    "skipped": "yellow",
    "up_for_retry": "yellow",
    "deferred": "magenta",
    "running": "cyan",
}


@dataclass
class Step:
    """One step of one song.

    :param state: Airflow's word; empty before the step has begun.
    :param started: its first start: a step that was deferred starts again when it goes on.
    :param ended: its end, once it has one.
    """

    state: str = ""
    started: datetime | None = None
    ended: datetime | None = None

    def observe(self, task: TaskInstance) -> None:
        """Take over what Airflow says now."""
        self.state = task.state
        if task.started is not None and (self.started is None or task.started < self.started):
            self.started = task.started
        self.ended = task.ended if task.state in TERMINAL else None

    @property
    def seconds(self) -> float | None:
        """Seconds from the first start to the end, or to now."""
        if self.started is None:
            return None
        return max(0.0, ((self.ended or datetime.now(UTC)) - self.started).total_seconds())


class Progress:
    """The songs of one run and their steps, shown while they move.

    :param titles: titles of the songs; a song's place is its map index.
    :param console: where to show them: a table that moves on a terminal, otherwise lines.
    """

    def __init__(self, titles: Sequence[str], console: Console | None = None) -> None:
        self.titles = list(titles)
        self.steps = [{name: Step() for name in STEPS} for _ in titles]
        self.console = console or Console(file=sys.stdout, highlight=False)
        self._began = time.monotonic()
        self._live = Live(self, console=self.console, refresh_per_second=4) if self.console.is_terminal else None

    def observe(self, tasks: Iterable[TaskInstance]) -> None:
        """Take over the states of a run's tasks and show what has changed."""
        for task in tasks:
            if task.name not in STEPS or not 0 <= task.map_index < len(self.steps):
                continue
            step = self.steps[task.map_index][task.name]
            before = step.state
            step.observe(task)
            if step.state != before and step.state and self._live is None:
                self._say(task.map_index, task.name, step)

    def _say(self, index: int, name: str, step: Step) -> None:
        took = f" after {step.seconds:.1f} s" if step.ended and step.seconds is not None else ""
        at = time.monotonic() - self._began
        # print, not rich: lines for a file or a log are not to be wrapped
        print(f"{at:6.1f} s  song {index + 1} {self.titles[index]}: {name} {step.state}{took}", flush=True)

    def __rich__(self) -> Table:
        """Return the table as it is now."""
        table = Table(title=f"music_cover, {time.monotonic() - self._began:.0f} s")
        table.add_column("song")
        for name in STEPS:
            table.add_column(name, min_width=16)
        for title, steps in zip(self.titles, self.steps, strict=True):
            table.add_row(title, *(_cell(steps[name]) for name in STEPS))
        return table

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture standing."""
        if self._live is not None:
            self._live.stop()


def _cell(step: Step) -> Text:
    if not step.state:
        return Text("·", style="dim")
    seconds = f" {step.seconds:.1f} s" if step.seconds is not None else ""
    return Text(f"{step.state}{seconds}", style=STYLES.get(step.state, ""))
