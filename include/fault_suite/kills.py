"""Carrying out process kills: a song is held at a step, and the process dies while it stands there."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fault_suite.plan import Kill
from fault_suite.s3_proxy import Rule
from fault_suite.stage import RunningTask, Stage
from fault_suite.steps import HOLD, Step

AT_ONCE = 10
"""Songs that are held, or on their way to their step, at one time."""
_SEEN_SECONDS = 1.0
"""A task that has been seen at its step for so long stands in what holds it."""
_GAP = 12.0
"""Seconds between two kills of the same part: it needs them to start."""
_WAIT = 150.0
"""Seconds for a song to come to its step; after that another one is sent."""
_TRIES = 3


@dataclass
class Held:
    """A song on its way to the step at which a process is killed.

    :param kill: what is to be done.
    :param run_id: its run of music_cover.
    :param release: takes away what holds it.
    :param since: monotonic second of its start.
    :param tries: songs that this kill has used up before.
    :param seen: monotonic second at which it was first seen at its step.
    """

    kill: Kill
    run_id: str
    release: Callable[[], None]
    since: float
    tries: int
    seen: float | None = None


class Killer:
    """Carries out the kills of a plan, beside whatever else the suite does.

    :param stage: the stack.
    :param kills: what is to be killed, in order.
    """

    def __init__(self, stage: Stage, kills: Sequence[Kill]) -> None:
        self.stage = stage
        self.songs: list[str] = []
        self.doomed: list[str] = []
        self.done: Counter[tuple[str, str]] = Counter()
        self.missed: list[Kill] = []
        self._waiting = deque((kill, 0) for kill in kills)
        self._held: list[Held] = []
        self._killed_at: dict[str, float] = {}

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be killed."""
        return not self._waiting and not self._held

    def look(self) -> None:
        """Look once: send songs, kill what stands at its step, send another song for one that was too quick."""
        while self._waiting and len(self._held) < AT_ONCE:
            kill, tries = self._waiting.popleft()
            self._held.append(self._send(kill, tries))
        if not self._held:
            return
        tasks = self.stage.tasks("music_cover")
        now = time.monotonic()
        for held in list(self._held):
            found = next((task for task in tasks if _stands(task, held)), None)
            held.seen = (held.seen or now) if found else None
            if found and held.seen is not None and now - held.seen >= _SEEN_SECONDS and self._may(held.kill.victim):
                if self._kill(held.kill.victim, found):
                    self._end(held)
                    self.done[held.kill.victim, held.kill.step.name] += 1
                return  # what was asked is old by now
            if now - held.since > _WAIT:
                self._end(held)
                self._again(held)

    def stop(self) -> None:
        """Let go of every song that is still held."""
        for held in list(self._held):
            self._end(held)
            self.missed.append(held.kill)
        self.missed += [kill for kill, _ in self._waiting]
        self._waiting.clear()

    def _again(self, held: Held) -> None:
        if held.tries + 1 < _TRIES:
            self._waiting.append((held.kill, held.tries + 1))
        else:
            self.missed.append(held.kill)

    def _end(self, held: Held) -> None:
        held.release()
        self._held.remove(held)

    def _may(self, victim: str) -> bool:
        return time.monotonic() - self._killed_at.get(victim, 0.0) > _GAP

    def _send(self, kill: Kill, tries: int) -> Held:
        simulator, step = self.stage.running.simulator, kill.step
        song = simulator.make_music(f"{kill.victim} dies, {step.name}", **step.music)[0].task_id
        self.songs.append(song)
        doomed = ""
        if step.with_doomed:
            doomed = simulator.make_music(state="SENSITIVE_WORD_ERROR", error_message="Not allowed")[0].task_id
            self.doomed.append(doomed)
        release = self._hold(step, song, doomed)
        run_id = self.stage.start([song, *([doomed] if doomed else [])])
        return Held(kill, run_id, release, time.monotonic(), tries)

    def _hold(self, step: Step, song: str, doomed: str) -> Callable[[], None]:
        if step.s3:
            path, method, skip = step.s3
            where = path.format(song=song, doomed=doomed)
            rule = Rule("slow", where, (method,), times=-1, skip=skip, seconds=HOLD)
            self.stage.proxy.add(rule)
            return lambda: self.stage.proxy.remove(rule)
        simulator = self.stage.running.simulator
        if step.kie:
            phase, fields = step.kie
            known: dict[str, Any] = {name: text.format(song=song) for name, text in fields.items()}
            fault = simulator.add_fault(phase, "slow", times=-1, seconds=HOLD, **known)
            return lambda: simulator.clear_faults(fault)
        if step.task_id == "generate_cover":
            simulator.add_fault("task", "takes", kind="cover", source_id=song, seconds=150)
        return lambda: None

    def _kill(self, victim: str, task: RunningTask) -> bool:
        killed = True
        if victim == "task":
            killed = self.stage.kill_process(task.pid)
        elif victim == "supervisor":
            killed = self.stage.kill_process(self.stage.supervisor_of(task.pid))
        else:
            self.stage.kill_part(victim)
            self._killed_at[victim] = time.monotonic()
        return killed


def _stands(task: RunningTask, held: Held) -> bool:
    step = held.kill.step
    first = step.task_id in ("song_list", "report") or task.map_index == 0
    return first and (task.run_id, task.task_id, task.state) == (held.run_id, step.task_id, step.state)
