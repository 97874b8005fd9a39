"""Processes die under songs that are on their way: no song is paid for twice, and each is archived whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from song_stack import SongStack, eventually

CRASHES = ("the create is in flight", "the id is stored", "the triggerer waits", "the scheduler is gone")


@dataclass(frozen=True)
class Crashed:
    """A form run under whose songs processes were killed.

    :param run_id: the run.
    :param songs: the song that each crash struck.
    :param killed: the task processes that were killed, by their song.
    """

    run_id: str
    songs: dict[str, str]
    killed: dict[str, int]


@pytest.fixture(scope="module")
def crashed(songs: SongStack) -> Crashed:
    """Run four songs and kill, one after the other, a task in its create, the triggerer, a resumed task, the scheduler.

    All four run at once, so that the triggerer and the scheduler strike every song that is on its way.
    """
    simulator = songs.running.simulator
    struck = dict(zip(CRASHES, songs.songs("In Flight", "Stored", "Triggerer", "Scheduler"), strict=True))
    order = list(struck.values())
    in_flight, stored, waiting = order[0], order[1], order[2]
    # The create takes effect, and its answer takes longer than the task lives.
    simulator.add_fault("create", "slow", kind="cover", source_id=in_flight, seconds=30)
    # Every read of this cover takes long enough to find the task that reads.
    slow_reads = simulator.add_fault("details", "slow", kind="cover", source_id=stored, seconds=4, times=-1)
    run_id = songs.trigger("music_cover", {"music_task_ids": order})

    def creating(song: str) -> dict[str, Any]:
        return songs.task(run_id, "generate_cover", order.index(song))

    def kill_while(song: str, state: str) -> int:
        def found() -> dict[str, Any] | None:
            paid = songs.charges([song])[song] == 1
            task = creating(song)
            return task if paid and task["state"] == state and task["pid"] else None

        task = eventually(found, f"generate_cover of {song} is {state} and paid for", pause=0.05)
        songs.kill_task(task)
        return int(task["pid"])

    killed = {in_flight: kill_while(in_flight, "running")}
    for song in (stored, waiting):
        eventually(lambda song=song: creating(song)["state"] == "deferred", f"{song} is deferred")  # type: ignore[misc]
    songs.running.kill("triggerer")
    killed[stored] = kill_while(stored, "running")
    simulator.clear_faults(slow_reads)
    songs.running.kill("scheduler")
    return Crashed(run_id, struck, killed)


@pytest.mark.parametrize("moment", CRASHES)
def test_a_song_struck_by_a_crash_is_paid_for_once_and_archived_whole(
    songs: SongStack, crashed: Crashed, moment: str
) -> None:
    song = crashed.songs[moment]
    songs.wait_archived([song])
    assert songs.charges([song]) == {song: 1}
    assert songs.manifest(song)["cover_task_ids"] == [songs.cover_task_of(song)]
    assert len(songs.contents(song)) == 3  # two covers and the manifest


def test_a_run_that_lost_its_processes_ends_well_by_itself(songs: SongStack, crashed: Crashed) -> None:
    assert songs.ended("music_cover", crashed.run_id) == "success"
    assert len(set(crashed.killed.values())) == 2
