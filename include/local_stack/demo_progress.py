"""Where the songs of a run are: a table that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
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
ALONE = 20
"""Up to so many songs of a run are mapped one by one."""
_BATCH = re.compile(r"songs ([0-9]+) to ([0-9]+)")
"""What the grid calls a task that works on a batch."""

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

    :param titles: titles of the songs, in the order of the run.
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
            songs = self._songs_of(task) if task.name in STEPS else range(0)
            steps = [self.steps[index][task.name] for index in songs if index < len(self.steps)]
            if not steps:
                continue
            before = steps[0].state
            for step in steps:
                step.observe(task)
            if steps[0].state != before and steps[0].state and self._live is None:
                one = f"song {songs[0] + 1} {self.titles[songs[0]]}"
                self._say(one if len(songs) == 1 else task.label, task.name, steps[0])

    def _songs_of(self, task: TaskInstance) -> range:
        """Return the places of the songs that a task works on: of many songs Airflow maps batches."""
        if found := _BATCH.fullmatch(task.label):
            return range(int(found[1]) - 1, int(found[2]))
        if len(self.titles) <= ALONE:
            return range(task.map_index, task.map_index + 1) if task.map_index >= 0 else range(0)
        place = self.titles.index(task.label) if task.label in self.titles else -1  # alone in the last batch
        return range(place, place + 1) if place >= 0 else range(0)

    def _say(self, songs: str, name: str, step: Step) -> None:
        took = f" after {step.seconds:.1f} s" if step.ended and step.seconds is not None else ""
        at = time.monotonic() - self._began
        # print, not rich: lines for a file or a log are not to be wrapped
        print(f"{at:6.1f} s  {songs}: {name} {step.state}{took}", flush=True)

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
