"""Songs of one run under which processes are killed, one after the other: what was struck, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kie_forms import BOTH
from openlineage_events import of_run, read_events
from song_stack import SongStack, eventually

CRASHES = ("the create is in flight", "the id is stored", "the triggerer waits", "the scheduler is gone")
CRASHES_IN_FORMS = tuple((crash, BOTH[n % 2]) for n, crash in enumerate(CRASHES))
"""Each crash and the form of the song under it, the forms in turn: tests/unit/operators dies in both at each point."""

LATE = 240
"""Simulated seconds until KIE ends a cover that is to wait: half a minute of the stack's."""


@dataclass(frozen=True)
class Crashed:
    """A form run under whose songs processes were killed.

    :param run_id: the run.
    :param songs: the song that each crash struck, by the crash and the song's form.
    :param killed: the task processes that were killed, by their song.
    """

    run_id: str
    songs: Mapping[tuple[str, str], str]
    killed: Mapping[str, int]

    def struck_by(self, crash: str) -> list[str]:
        """Return the songs that a crash struck."""
        return [song for (name, _), song in self.songs.items() if name == crash]


@dataclass(frozen=True)
class _Run:
    """A run on its way.

    :param songs: the stack.
    :param run_id: the run.
    :param order: its songs, in the order of its list.
    """

    songs: SongStack
    run_id: str
    order: list[str]

    def creating(self, song: str) -> dict[str, Any]:
        """Return the task that asks for a song's cover."""
        return self.songs.task(self.run_id, "generate_cover", self.order.index(song))

    def paid_and_running(self, song: str) -> dict[str, Any]:
        """Wait until the cover is paid for while its task still runs, and return the task."""

        def found() -> dict[str, Any] | None:
            paid, task = self.songs.charges([song])[song] == 1, self.creating(song)
            return task if paid and task["state"] == "running" and task["pid"] else None

        return eventually(found, f"{song} is paid for while its create runs", pause=0.05)

    def starts_reported(self, song: str) -> int:
        """Return how many legs of a song's task have reported their start to OpenLineage."""
        logs = self.songs.running.settings.airflow_home / "logs" / "dag_id=music_cover" / f"run_id={self.run_id}"
        legs = logs / "task_id=generate_cover" / f"map_index={self.order.index(song)}"
        return sum(log.read_text(errors="replace").count("`START` event") for log in legs.glob("attempt=*.log"))

    def wait_frozen(self, stored: list[str], waiting: list[str]) -> dict[str, dict[str, Any]]:
        """Kill the triggerer once some songs wait in it, and let the tasks of others stand still once they go on.

        :param stored: songs whose task has gone on after its first leg, and reads; a callback may wake it at any time.
        :param waiting: songs whose task waits.
        :return: the tasks that stand still, by their song.
        """
        deferred: set[str] = set()
        frozen: dict[str, dict[str, Any]] = {}

        def struck() -> bool:
            for song in set(stored) - frozen.keys():
                task = self.creating(song)
                reads = task["state"] == "running" and task["pid"] and self.starts_reported(song) > 1
                if reads and self.songs.freeze_task(task):
                    frozen[song] = task
            if len(deferred) < len(waiting):
                deferred.update(song for song in waiting if self.creating(song)["state"] == "deferred")
                if len(deferred) == len(waiting):
                    self.songs.running.kill("triggerer")
            return len(frozen) == len(stored) and len(deferred) == len(waiting)

        eventually(struck, f"{waiting} have waited in the triggerer, {stored} go on: {deferred}, {frozen}", pause=0.05)
        return frozen

    def wait_told_of_failures(self, count: int) -> None:
        """Wait until the scheduler has told OpenLineage of so many tasks' end."""

        def told() -> bool:
            events = of_run(read_events(self.songs.running.settings.home / "lineage"), "music_cover", self.run_id)
            return sum(event["eventType"] == "FAIL" for event in events) >= count

        eventually(told, "the scheduler has told of the first tasks' end")


def crash_songs(songs: SongStack) -> Crashed:
    """Run songs and kill, one after the other, a task in its create, the triggerer, the scheduler, a resumed task.

    All of them run at once, so that the triggerer and the scheduler strike every song that is on its way. Those whose
    task is killed lose their pending record too, between their first try and the second.
    """
    simulator = songs.running.simulator
    struck = {key: songs.songs(", ".join(key), form=key[1])[0] for key in CRASHES_IN_FORMS}
    in_flight, stored, waiting = (Crashed("", struck, {}).struck_by(crash) for crash in CRASHES[:3])
    for song in in_flight:  # the create takes effect, and its answer takes longer than the task lives
        simulator.add_fault("create", "slow", kind="cover", source_id=song, seconds=600)
    for song in [*stored, *waiting]:  # none of these has ended before the first tasks are killed, on a busy machine too
        simulator.add_fault("task", "takes", kind="cover", source_id=song, seconds=LATE)
    slow_reads = [  # every read of these covers takes long enough to find the task that reads
        simulator.add_fault("details", "slow", kind="cover", source_id=song, seconds=20, times=-1) for song in stored
    ]
    order = list(struck.values())
    run = _Run(songs, songs.trigger("music_cover", {"music_task_ids": order}), order)

    first = {song: run.paid_and_running(song) for song in in_flight}
    for song, task in first.items():
        songs.pending(song).unlink()
        songs.kill_task(task)
    resumed = run.wait_frozen(stored, waiting)
    run.wait_told_of_failures(len(in_flight))
    for song in stored:
        songs.pending(song).unlink()
    songs.running.kill("scheduler")  # before the tasks: nobody is left who would tell of their end
    for task in resumed.values():
        songs.kill_task(task)
    for fault in slow_reads:
        simulator.clear_faults(fault)
    return Crashed(run.run_id, struck, {song: int(task["pid"]) for song, task in {**first, **resumed}.items()})
