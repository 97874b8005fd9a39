"""What the system tests of the chain share: songs on a running stack, what was paid for them, what is archived."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from local_stack.airflow_api import AirflowApi
from local_stack.archive_check import ArchivedSong, check_song, claimed_songs
from local_stack.bucket import BucketPath
from local_stack.running import RunningStack
from local_stack.timeout import Timeout
from stored_times import set_modified_at

TIMEOUT_SECONDS = 1500.0
"""Seconds: the longest wait, for what was begun all at once, took 92 of them on two cores that did other work too.
Nothing here is measured by the clock."""
PENDING = "kie://api.kie.ai/suno/pending"
T = TypeVar("T")


def eventually(find: Callable[[], T | None], what: str, seconds: float = TIMEOUT_SECONDS, pause: float = 0.5) -> T:
    """Ask until there is an answer and return it.

    :param find: returns None, False or nothing as long as it is not yet so.
    :param what: what is waited for, for the failure.
    """
    timeout = Timeout(seconds)
    while not (found := find()):
        assert not timeout.expired(), f"After {seconds:.0f} s it is still not so: {what}"
        time.sleep(pause)
    return found


def files_holding(text: str, *folders: Path) -> list[str]:
    """Return the files that hold a text or have it in their path; those of a running stack come and go meanwhile."""
    found = []
    for file in (Path(folder, name) for top in folders for folder, _, names in os.walk(top) for name in names):
        with contextlib.suppress(FileNotFoundError):
            if text in str(file) or (file.is_file() and text.encode() in file.read_bytes()):
                found.append(str(file))
    return found


@dataclass(frozen=True)
class SongStack:
    """A running stack, seen from its songs.

    :param running: the stack.
    """

    running: RunningStack

    @property
    def airflow(self) -> AirflowApi:
        """Airflow's API."""
        return self.running.airflow

    @property
    def bucket(self) -> BucketPath:
        """The archive's bucket."""
        return self.running.bucket

    # --- songs ---

    def songs(self, *titles: str, **order: Any) -> list[str]:
        """Make songs on the simulator, finished ones by default, and return their music task ids."""
        return [song.task_id for song in self.running.simulator.make_music(*titles, **order)]

    def drop(self, name: str, text: str) -> None:
        """Put an object into the inbox."""
        (self.bucket / "inbox" / name).write_text(text)

    # --- what people and systems ask of Airflow ---

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run, as the form does, and return its id."""
        return self.airflow.trigger(dag_id, conf)

    def send_event(self, music_task_id: str, **extra: Any) -> None:
        """Report "music complete", as a system outside Airflow would."""
        self.airflow.create_asset_event(PENDING, {**extra, "music_task_id": music_task_id})

    def reorder(self, music_task_ids: Sequence[str]) -> None:
        """Set the list that DAG reordered_songs works on."""
        value = {"key": "song_order", "value": json.dumps(list(music_task_ids))}
        known = [entry["key"] for entry in self.airflow.pages("/variables", "variables")]
        method, path = ("PATCH", "/variables/song_order") if "song_order" in known else ("POST", "/variables")
        self.airflow.call(method, path, value)

    def ended(self, dag_id: str, run_id: str) -> str:
        """Wait for the end of a run and return its state."""
        return self.airflow.wait_run(dag_id, run_id, TIMEOUT_SECONDS)

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear all tasks of a run."""
        self.airflow.clear(dag_id, run_id)

    def look_into_inbox(self) -> str:
        """Let DAG cover_inbox run once and return how the run ended."""
        return self.ended("cover_inbox", self.trigger("cover_inbox"))

    # --- what became of them ---

    def charges(self, music_task_ids: Sequence[str]) -> Mapping[str, int]:
        """Return how many covers were paid for each song."""
        paid = Counter(charge["source_id"] for charge in self.running.simulator.ledger("cover"))
        return {task_id: paid[task_id] for task_id in music_task_ids}

    def forms(self, music_task_ids: Sequence[str]) -> Mapping[str, str]:
        """Return in which form KIE was asked for the cover of each song."""
        paid = {charge["source_id"]: charge["form"] for charge in self.running.simulator.ledger("cover")}
        return {task_id: paid[task_id] for task_id in music_task_ids}

    def cover_task_of(self, music_task_id: str) -> str:
        """Return the cover task that was paid for a song."""
        (charge,) = [c for c in self.running.simulator.ledger("cover") if c["source_id"] == music_task_id]
        return str(charge["task_id"])

    def archived(self, music_task_id: str) -> ArchivedSong:
        """Return what the archive holds of a song, each file compared with its manifest."""
        return check_song(self.bucket, self.running.settings.prefix, music_task_id)

    def wait_archived(self, music_task_ids: Sequence[str]) -> None:
        """Wait until every song is archived and owed nothing."""
        for task_id in music_task_ids:
            eventually(
                lambda song=task_id: self.archived(song).whole and not self.pending(song).exists(),  # type: ignore[misc]
                f"song {task_id} is archived: {self.archived(task_id)}",
            )

    def manifest(self, music_task_id: str) -> dict[str, Any]:
        """Return a song's manifest."""
        manifest: dict[str, Any] = json.loads(self.archived(music_task_id).manifest.read_text())
        return manifest

    def labels(self, music_task_id: str) -> dict[str, str]:
        """Return the labels in a song's manifest."""
        return {label["name"]: label["value"] for label in self.manifest(music_task_id)["labels"]}

    def pending(self, music_task_id: str) -> BucketPath:
        """Return where a song's pending record stands while it is owed something."""
        return self.bucket / self.running.settings.prefix / "_pending" / f"{music_task_id}.json"

    def let_age(self, music_task_ids: Sequence[str], minutes: float) -> None:
        """Make songs' pending records, and the failures in them, older."""
        then = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=minutes)
        for task_id in music_task_ids:
            path = self.pending(task_id)
            record = json.loads(path.read_text())
            if record["last_failure"]:
                record["last_failure"]["at"] = then.isoformat()
                path.write_text(json.dumps(record))
            set_modified_at(self.running.settings, path, then)
            for folder in ("_retry", "_failed"):
                for marker in (path.parent.parent / folder).iterdir():
                    if marker.name.startswith(f"{task_id}."):
                        set_modified_at(self.running.settings, marker, then)

    def contents(self, music_task_id: str) -> dict[str, bytes]:
        """Return every file of a song's folder."""
        folder = self.bucket / self.running.settings.prefix / music_task_id
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def holding(self, text: str) -> list[str]:
        """Return the objects that hold a text or have it in their key; those of songs under way come and go."""
        found = []
        for path in self.bucket.objects():
            with contextlib.suppress(FileNotFoundError):
                if text in path.key or text.encode() in path.read_bytes():
                    found.append(path.key)
        return found

    # --- runs ---

    def event_runs(self, music_task_id: str) -> list[str]:
        """Return the runs of music_cover that an event has woken and that have taken a song, the first one first."""
        claims = claimed_songs(self.bucket, self.running.settings.prefix)
        runs = [run["dag_run_id"] for run in self.airflow.runs("music_cover")]
        return [run for run in runs if music_task_id in claims.get(run, ())]

    def taken_by(self, run_id: str) -> list[str]:
        """Return the songs that such a run has taken."""
        return claimed_songs(self.bucket, self.running.settings.prefix)[run_id]

    def map_index(self, run_id: str, music_task_id: str) -> int:
        """Return the map index of a song in a run that works on a few."""
        listed = eventually(lambda: self.airflow.xcom("music_cover", run_id, "song_list"), "the run lists its songs")
        return [song["music_task_id"] for song in listed].index(music_task_id)

    def task(self, run_id: str, task_id: str, map_index: int = -1, dag_id: str = "music_cover") -> dict[str, Any]:
        """Return a task instance as Airflow's API shows it; without a state while its list is not there yet."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances"
        shown = self.airflow.pages(path, "task_instances", task_id=task_id)
        return next((task for task in shown if task["map_index"] == map_index), {"state": None, "pid": None})

    def kill_task(self, task: Mapping[str, Any]) -> None:
        """Kill the process in which a task runs, as the kernel does when memory is short."""
        assert self._signal(task, signal.SIGKILL), f"The process of {task} has ended before."

    def freeze_task(self, task: Mapping[str, Any]) -> bool:
        """Let the process in which a task runs stand still, and say whether it was there."""
        return self._signal(task, signal.SIGSTOP)

    def _signal(self, task: Mapping[str, Any], number: signal.Signals) -> bool:
        with contextlib.suppress(OSError):
            if os.getsid(int(task["pid"])) == self.running.state.keeper.pid:  # a number may be somebody else's by now
                os.kill(int(task["pid"]), number)
                return True
        return False
