"""Longer troubles: KIE, the account or the bucket down for a while, and what people do to runs in the meantime."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil  # type: ignore[import-untyped]

from fault_suite.s3_proxy import Rule
from fault_suite.stage import Stage
from local_stack.archive_check import claimed_songs
from local_stack.parts import AIRFLOW_PARTS
from local_stack.timeout import Timeout

_WAIT_SECONDS = 900.0
_WAITS = ("Rescheduled until ", "; it is read again")
"""What a task says that waits for the end of an outage: rescheduled, or still waiting for what it could not read."""


@dataclass
class Episode:
    """What an episode leaves behind.

    :param stage: the stack.
    :param seconds: how long the longest outages last; others half of it.
    :param outage_songs: how many songs meet an outage.
    :param songs: the songs that were in it; all of them must be archived in the end.
    :param faults: what struck them, by name.
    :param complaints: a sentence for each difference from what must happen.
    """

    stage: Stage
    seconds: float
    outage_songs: int
    songs: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def make(self, count: int, **order: object) -> list[str]:
        """Make songs on the simulator."""
        made = [song.task_id for song in self.stage.running.simulator.make_music(count=count, **order)]
        self.songs += made
        return made

    def wait(self, so: Callable[[], object], what: str, seconds: float = _WAIT_SECONDS) -> bool:
        """Wait until something is so; complain and return False when it does not come."""
        timeout = Timeout(seconds)
        while not so():
            if timeout.expired():
                self.complaints.append(f"not true after {seconds:.0f} s: {what}")
                return False
            time.sleep(0.4)
        return True

    def archived(self, songs: list[str]) -> bool:
        """Whether every song has its manifest."""
        folder = self.stage.bucket / self.stage.prefix
        return all((folder / song / "manifest.json").exists() for song in songs)

    def deferred(self, dag_id: str, run_id: str, task_id: str, count: int) -> bool:
        """Whether so many instances of a task of a run are deferred."""
        tasks = self.stage.tasks(dag_id, ("deferred",))
        return len([task for task in tasks if (task.run_id, task.task_id) == (run_id, task_id)]) >= count

    def slow_covers(self, songs: list[str]) -> None:
        """Let the covers of songs take long, so that something can happen in the meantime."""
        for song in songs:
            self.stage.running.simulator.add_fault("task", "takes", kind="cover", source_id=song, seconds=150)


def _outage(episode: Episode, begin: Callable[[], Callable[[], int]], name: str, part: float) -> None:
    """Send songs into an outage, end it after a while: no run fails, and every song goes on by itself."""
    songs = episode.make(episode.outage_songs)
    logs = _TaskLogs(episode.stage)
    end = begin()
    for song in songs:
        episode.stage.send_event(song)
    episode.wait(lambda: logs.count(*_WAITS), f"{name}: a song waits for its end")
    time.sleep(episode.seconds * part)
    episode.faults[name] = end()
    episode.wait(lambda: episode.archived(songs), f"{name}: its songs are archived")
    failed = [run["dag_run_id"] for run in _runs_of(episode.stage, songs) if run["state"] == "failed"]
    if failed:
        episode.complaints.append(f"{name}: a run failed instead of waiting: {', '.join(failed)}")


class _TaskLogs:
    """Counts what the tasks' logs say from now on."""

    def __init__(self, stage: Stage) -> None:
        self._folder = stage.running.settings.airflow_home / "logs"
        self._before = {path: path.stat().st_size for path in self._folder.rglob("attempt=*.log")}

    def count(self, *words: str) -> int:
        """Return how often any of these was logged."""
        found = 0
        for path in self._folder.rglob("attempt=*.log"):
            with path.open(errors="replace") as file:
                file.seek(self._before.get(path, 0))
                found += sum(any(word in _event(line) for word in words) for line in file)
        return found


def _event(line: str) -> str:
    try:
        return str(json.loads(line).get("event", ""))
    except (ValueError, AttributeError):
        return ""


def _runs_of(stage: Stage, songs: list[str]) -> list[Mapping[str, str]]:
    runs = stage.ask(lambda: stage.airflow.runs("music_cover"))
    claims = claimed_songs(stage.bucket, stage.prefix)
    return [run for run in runs if {*songs} & {*claims.get(run["dag_run_id"], ())}]


def _kie(action: str, **options: object) -> Callable[[Stage], Callable[[], int]]:
    def begin(stage: Stage) -> Callable[[], int]:
        simulator = stage.running.simulator
        fault = simulator.add_fault("api", action, times=-1, **options)

        def end() -> int:
            struck = next(entry["struck"] for entry in simulator.faults() if entry["id"] == fault)
            simulator.clear_faults(fault)
            return int(struck)

        return end

    return begin


def _s3(**options: object) -> Callable[[Stage], Callable[[], int]]:
    def begin(stage: Stage) -> Callable[[], int]:
        rule = stage.proxy.add(Rule("error", "", times=-1, **options))  # type: ignore[arg-type]

        def end() -> int:
            stage.proxy.remove(rule)
            return rule.struck

        return end

    return begin


def _no_credits(stage: Stage) -> Callable[[], int]:
    simulator = stage.running.simulator
    simulator.set_credits(0)

    def end() -> int:
        simulator.set_credits(10_000)
        return 1

    return end


OUTAGES: Mapping[str, Callable[[Stage], Callable[[], int]]] = {
    "window of 455": _kie("code", code=455, msg="Under maintenance"),
    "credit drought": _no_credits,
    "window of 401": _kie("code", code=401, msg="You do not have access permissions"),
    "bucket gone": _s3(status=404, code="NoSuchBucket"),
    "AccessDenied for a while": _s3(status=403, code="AccessDenied"),
}
"""What is down for a while: each begins, and returns what ends it and says how often it has struck."""


def _outages(name: str, part: float = 0.5) -> Callable[[Episode], None]:
    return lambda episode: _outage(episode, lambda: OUTAGES[name](episode.stage), name, part)


def _paused(episode: Episode) -> None:
    """Events to a paused DAG are lost; the pending records remember the songs."""
    stage, songs = episode.stage, episode.make(3)
    stage.ask(lambda: stage.airflow.pause("music_cover"))
    for number, song in enumerate(songs):
        stage.drop_into_inbox(f"paused-{number}.json", {"music_task_id": song})
    stage.reconcile()
    time.sleep(4)
    stage.ask(lambda: stage.airflow.unpause("music_cover"))
    stage.reconcile()
    episode.faults["DAG paused while events came"] = 1
    episode.wait(lambda: episode.archived(songs), "songs whose events were lost are archived after a reconciliation")


def _cleared(episode: Episode) -> None:
    stage, songs = episode.stage, episode.make(3)
    episode.slow_covers(songs)
    run_id = stage.start(songs)
    episode.wait(lambda: episode.deferred("music_cover", run_id, "generate_cover", 3), "three covers are waited for")
    stage.ask(lambda: stage.airflow.clear("music_cover", run_id))
    episode.faults["run cleared while it waited"] = 1
    episode.wait(lambda: episode.archived(songs), "the songs of a cleared run are archived")


def _reordered(episode: Episode) -> None:
    stage, songs = episode.stage, episode.make(3)
    episode.slow_covers(songs)
    stage.set_order(songs)
    run_id = stage.start([], "songs_in_order")
    episode.wait(lambda: episode.deferred("songs_in_order", run_id, "generate_cover", 3), "three covers are waited for")
    stage.set_order(songs[::-1])
    stage.ask(lambda: stage.airflow.clear("songs_in_order", run_id))
    episode.faults["list reordered and run cleared"] = 1
    episode.wait(lambda: episode.archived(songs), "the songs of a reordered list are archived")


def _deleted(episode: Episode) -> None:
    """A run that is deleted takes its task store along; the bucket still records what is paid."""
    stage, (song,) = episode.stage, episode.make(1)
    episode.slow_covers([song])
    run_id = stage.start([song])
    episode.wait(lambda: episode.deferred("music_cover", run_id, "generate_cover", 1), "the cover is waited for")
    stage.delete_run(run_id)
    episode.faults["run deleted"] = 1
    time.sleep(4)
    stage.reconcile()
    episode.wait(lambda: episode.archived([song]), "the song of a deleted run is archived after a reconciliation")


def _redeployed(episode: Episode) -> None:
    """Every process of Airflow is ended, as an upgrade does, and started again."""
    stage, songs = episode.stage, episode.make(3)
    episode.slow_covers(songs)
    run_id = stage.start(songs)
    episode.wait(lambda: episode.deferred("music_cover", run_id, "generate_cover", 3), "three covers are waited for")
    before = {part: stage.running.pid(part) for part in AIRFLOW_PARTS}
    for pid in before.values():
        psutil.Process(pid).send_signal(signal.SIGTERM)
    for part, pid in before.items():
        stage.wait_well(part, pid)
    episode.faults["redeployed"] = 1
    episode.wait(lambda: episode.archived(songs), "songs that waited over a redeployment are archived")


EPISODES: Mapping[str, Callable[[Episode], None]] = {
    "maintenance": _outages("window of 455"),
    "drought": _outages("credit drought"),
    "key refused": _outages("window of 401"),
    "bucket gone": _outages("bucket gone", 1.0),
    "access denied": _outages("AccessDenied for a while", 1.0),
    "paused": _paused,
    "cleared": _cleared,
    "reordered": _reordered,
    "deleted": _deleted,
    "redeployed": _redeployed,
}
