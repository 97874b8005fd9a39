"""Carrying out process kills: a song is held at one step after the other, and each time a process dies."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fault_suite.paid import cover_request
from fault_suite.plan import BatchPlan, Kill
from fault_suite.s3_proxy import Action, Rule
from fault_suite.stage import RunningTask, Stage
from fault_suite.steps import HOLD, NO_PROCESS, REPORT

_SEEN_SECONDS = 1.0
"""A task that has been seen at its step for so long is in what holds it."""
GAP = 15.0
"""Seconds between two kills of parts of Airflow: killed faster, a stack of two cores does nothing but start."""
_WAIT = 240.0
"""Seconds for a song to come to its next step; after that the kill is left to another song."""
_LONG = 4000
"""Simulated seconds that a KIE task takes until its time has come."""
_SONGS = 6
"""How many songs a journey may use up."""
_BATCHES = 2
"""How many runs of many songs its kills may use up."""


@dataclass
class Held:
    """A song on its way through the steps at which a process is killed.

    :param kills: what is still to be done, in the order of the chain.
    :param song: its music task id.
    :param run_id: its run of music_cover.
    :param doomed: the id of the song beside it that fails, for the report.
    :param number: how many songs this journey has used.
    :param release: takes away what holds the song.
    :param since: monotonic second at which it began to be held for the next kill.
    :param seen: monotonic second at which it was first seen at that step.
    :param batch: the run of many songs whose first song it is.
    """

    kills: deque[Kill]
    song: str
    run_id: str
    doomed: str
    number: int
    release: Callable[[], object] = lambda: None
    since: float = 0.0
    seen: float | None = None
    batch: BatchPlan | None = None

    @property
    def may_try_again(self) -> bool:
        """Whether what found no moment is left to another song, or run."""
        return self.number < (_BATCHES if self.batch else _SONGS)

    @property
    def patience(self) -> float:
        """Seconds to wait for the next step: of many songs each step takes longer."""
        return _WAIT * (2 if self.batch else 1)


class Killer:
    """Carries out the journeys of a plan, beside whatever else the suite does.

    :param stage: the stack.
    :param journeys: what is to be killed; each on a song of its own.
    :param gap: seconds between two kills of parts of Airflow.
    :param batches: runs of many songs, whose first song is held.
    :param make_others: makes the other songs of such a run, and returns their ids.
    """

    def __init__(
        self,
        stage: Stage,
        journeys: Sequence[Sequence[Kill]],
        gap: float = GAP,
        batches: Sequence[BatchPlan] = (),
        make_others: Callable[[BatchPlan], list[str]] = lambda _: [],
    ) -> None:
        self.stage = stage
        self.gap = gap
        self.make_others = make_others
        self.songs: list[str] = []
        self.doomed: list[str] = []
        self.runs: list[str] = []
        self.batches: dict[str, list[str]] = {}
        """The runs of many songs, with their songs except the one that is held."""
        self.under_batches = 0
        """Kills while the first song of such a run was held."""
        self.done: Counter[tuple[str, str]] = Counter()
        self.missed: list[Kill] = []
        self._left: list[tuple[list[Kill], int, BatchPlan | None]] = [
            *((list(journey), 1, None) for journey in journeys),
            *((list(batch.kills), 1, batch) for batch in batches),
        ]
        self._held: list[Held] = []
        self._part_killed_at = -gap
        self._too_quick: dict[int, list[Kill]] = {}

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be killed."""
        return not self._left and not self._held

    def check(self) -> None:
        """Check once: send songs, kill what has reached its step, go on to the next one."""
        while self._left:
            self._send(*self._left.pop())
        tasks = self.stage.tasks("music_cover") if self._held else []
        for held in list(self._held):
            kill, now = held.kills[0], time.monotonic()
            found = next((task for task in tasks if _is_at_step(task, held)), None)
            held.seen = (held.seen or now) if found else None
            if found and now - (held.seen or now) >= _SEEN_SECONDS and self._may(kill.victim):
                if self._kill(kill.victim, found):
                    self.done[kill.victim, kill.step.name] += 1
                    self.under_batches += held.batch is not None
                    self._next(held)
                return  # what was asked is old by now
            if now - held.since > held.patience or self._is_over(held):
                self._too_quick.setdefault(id(held), []).append(kill)
                self._next(held)

    def stop(self) -> None:
        """Let go of every song that is still held."""
        for held in self._held:
            held.release()
            self.missed += [*self._too_quick.pop(id(held), ()), *held.kills]
        self._held.clear()
        self.missed += [kill for kills, _, _ in self._left for kill in kills]
        self._left.clear()

    def _is_over(self, held: Held) -> bool:
        """Whether a song has been archived although it was still to be held before."""
        manifest = self.stage.bucket / self.stage.prefix / held.song / "manifest.json"
        return held.kills[0].step.name != REPORT and manifest.exists()

    def _next(self, held: Held) -> None:
        held.release()
        held.release, held.seen = lambda: None, None
        held.kills.popleft()
        if held.kills:
            self._hold(held)
            return
        self._held.remove(held)
        again = self._too_quick.pop(id(held), [])
        if again and held.may_try_again:
            self._left.append((again, held.number + 1, held.batch))
        else:
            self.missed += again

    def _may(self, victim: str) -> bool:
        return victim in NO_PROCESS or time.monotonic() - self._part_killed_at >= self.gap

    def _send(self, kills: Sequence[Kill], number: int, batch: BatchPlan | None) -> None:
        simulator = self.stage.running.simulator
        slow = {kill.step.takes for kill in kills} - {None}
        state = "PENDING" if "music" in slow else "SUCCESS"
        song = simulator.make_music(f"{kills[0].victim} dies", state=state)[0].task_id
        for kind in slow:
            simulator.add_fault("task", "takes", seconds=_LONG, **_about(str(kind), song))
        self.songs.append(song)
        doomed = ""
        if any(kill.step.name == REPORT for kill in kills):
            doomed = simulator.make_music(state="SENSITIVE_WORD_ERROR", error_message="Not allowed")[0].task_id
            self.doomed.append(doomed)
        held = Held(deque(kills), song, "", doomed, number, batch=batch)
        self._hold(held)
        others = self.make_others(batch) if batch else [doomed] if doomed else []
        held.run_id = self.stage.start([song, *others], batch_size=1 + len(others) if batch else None)
        self._held.append(held)
        if batch:
            self.batches[held.run_id] = others
        elif not doomed:
            self.runs.append(held.run_id)

    def _hold(self, held: Held) -> None:
        """Hold a song at the step of its next kill."""
        step, simulator = held.kills[0].step, self.stage.running.simulator
        held.since = time.monotonic()
        if step.s3:
            path, method = step.s3
            where = path.format(song=held.song, doomed=held.doomed, request=cover_request(held.song).digest)
            action: Action = "slow_answer" if step.done else "slow"
            rule = self.stage.proxy.add(Rule(action, where, (method,), times=-1, seconds=HOLD))
            held.release = lambda: self.stage.proxy.remove(rule)
        elif step.kie:
            phase, fields = step.kie
            known: dict[str, Any] = {name: text.format(song=held.song) for name, text in fields.items()}
            fault = simulator.add_fault(phase, "slow", times=-1, seconds=HOLD, **known)
            held.release = lambda: simulator.clear_faults(fault)
        elif step.takes:
            about = _about(step.takes, held.song)  # it takes long since its beginning, and now it ends
            held.release = lambda: str(simulator.add_fault("task", "takes", seconds=1, **about))

    def _kill(self, victim: str, task: RunningTask) -> bool:
        if victim == "task":
            return self.stage.kill_process(task.pid)
        if victim == "supervisor":
            return self.stage.kill_process(self.stage.supervisor_of(task.pid))
        self.stage.kill_part(victim)
        self._part_killed_at = time.monotonic()
        return True


def _about(kind: str, song: str) -> dict[str, str]:
    return {"task_id": song} if kind == "music" else {"kind": kind, "source_id": song}


def _is_at_step(task: RunningTask, held: Held) -> bool:
    step = held.kills[0].step
    first = step.task_id in ("song_list", "report") or task.map_index == 0
    return first and (task.run_id, task.task_id, task.state) == (held.run_id, step.task_id, step.state)
