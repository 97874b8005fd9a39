"""The runs of ``./run bench``: ours, the same work by Airflow's own operators, and tasks that do nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from local_stack.airflow_api import AirflowRefused
from local_stack.environment import SIMULATOR, SIMULATOR_KEY
from local_stack.running import RunningStack
from local_stack.timeout import Timeout

DAG = "music_cover"
PENDING = "kie://api.kie.ai/suno/pending"
KIE_HTTP: Mapping[str, str] = {
    f"AIRFLOW_CONN_{name.upper()}": json.dumps({"conn_type": "http", "host": SIMULATOR, "extra": headers})
    for name, headers in (("kie_http", {"Authorization": f"Bearer {SIMULATOR_KEY}"}), ("kie_files", {}))
}
"""The stock chain's connections: KIE's files are refused to whoever sends a key along."""
_EMPTY_TASKS = 60


@dataclass(frozen=True)
class Order:
    """What is run.

    :param songs: how many.
    :param kie_seconds: real seconds that KIE takes for a cover.
    :param conf: further ``conf`` of the form's runs.
    :param within: seconds over which events are spread.
    :param patience: seconds after which a run is given up.
    """

    songs: int
    kie_seconds: float
    conf: Mapping[str, Any] = field(default_factory=dict)
    within: float = 60.0
    patience: float = 3600.0


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    :param done: songs archived, or legs ended.
    :param seconds: from the first request to Airflow until the last of them was seen.
    :param first_create: seconds until KIE was asked for the first cover.
    :param task_instances: how many task instances there were.
    :param asked: requests to S3 that looking for the manifests took.
    """

    done: int
    seconds: float
    first_create: float | None
    task_instances: int
    asked: int = 0


def empty(running: RunningStack, order: Order) -> Outcome:
    """Run mapped tasks that do nothing, as many as songs, sixty at most."""
    count = min(order.songs, _EMPTY_TASKS)
    return _dag_run(running, "empty_tasks", {"count": count}, count, order)


def stock(running: RunningStack, order: Order) -> Outcome:
    """Run the stock chain, which does not keep KIE's rate: the simulator does not insist on it meanwhile."""
    songs = _songs(running, order)
    number = str(time.time_ns())
    before = running.simulator.call("GET", "/settings")["rate_limit"]
    running.simulator.set(rate_limit=1_000_000)
    try:
        return _dag_run(running, "stock_chain", {"songs": songs, "run": number}, len(songs), order)
    finally:
        running.simulator.set(rate_limit=before)


def form(running: RunningStack, order: Order) -> Outcome:
    """Run music_cover for all songs at once, as its form does."""
    songs = _songs(running, order)
    began = time.time()
    run = running.airflow.trigger(DAG, {"music_task_ids": songs, **order.conf})
    return _archived(running, songs, began, order, [run])


def singles(running: RunningStack, order: Order) -> Outcome:
    """Run music_cover for all songs at once, each in a batch of its own."""
    return form(running, replace(order, conf={**order.conf, "batch_size": 1}))


def stuck(running: RunningStack, order: Order) -> Outcome:
    """Run music_cover for all songs, one of which KIE does not finish within an hour; the others are counted."""
    songs = _songs(running, order)
    fault = running.simulator.add_fault("task", "takes", kind="cover", source_id=songs[0], seconds=3600)
    try:
        began = time.time()
        run = running.airflow.trigger(DAG, {"music_task_ids": songs, **order.conf})
        return _archived(running, songs[1:], began, order, [run], ends=False)
    finally:
        running.simulator.clear_faults(fault)


def events(running: RunningStack, order: Order) -> Outcome:
    """Send an asset event for each song, evenly spread; a post that the api-server refuses is sent again."""
    songs = _songs(running, order)
    known = {run["dag_run_id"] for run in running.airflow.runs(DAG)}
    began = time.time()
    for number, song in enumerate(songs):
        time.sleep(max(0.0, began + number * order.within / len(songs) - time.time()))
        _send(running, song)
    outcome = _archived(running, songs, began, order)
    runs = [run["dag_run_id"] for run in running.airflow.runs(DAG) if run["dag_run_id"] not in known]
    for run in runs:
        running.airflow.wait_run(DAG, run, order.patience)
    return replace(outcome, task_instances=sum(_instances(running, DAG, run) for run in runs))


RUNS: Mapping[str, Callable[[RunningStack, Order], Outcome]] = {
    "empty": empty,
    "stock": stock,
    "form": form,
    "singles": singles,
    "events": events,
    "stuck": stuck,
}


def _send(running: RunningStack, song: str) -> None:
    """Send the event of a song, again and again while the api-server refuses it."""
    for attempt in range(20):
        try:
            running.airflow.create_asset_event(PENDING, {"music_task_id": song})
        except AirflowRefused:
            time.sleep(0.2 * attempt)
        else:
            return


def _songs(running: RunningStack, order: Order) -> list[str]:
    """Make finished songs."""
    return [song.task_id for song in running.simulator.make_music(count=order.songs)]


def _dag_run(running: RunningStack, dag_id: str, conf: Mapping[str, Any], count: int, order: Order) -> Outcome:
    """Run a DAG to its end; how many it did is known from its state alone."""
    began = time.time()
    run_id = running.airflow.trigger(dag_id, conf)
    state = running.airflow.wait_run(dag_id, run_id, order.patience)
    seconds = time.time() - began
    done = count if state == "success" else 0
    return Outcome(done, seconds, _first_create(running, began), _instances(running, dag_id, run_id))


def _archived(
    running: RunningStack, songs: list[str], began: float, order: Order, runs: Sequence[str] = (), *, ends: bool = True
) -> Outcome:
    """Wait until every song has its manifest or the runs have ended, and then for the end of the runs.

    :param began: when it began, unix time in seconds.
    :param runs: run ids of music_cover.
    :param ends: whether the runs end.
    """
    manifests = Manifests(running, songs)
    timeout, over = Timeout(order.patience), False
    while not manifests.all_there() and not over and not timeout.expired():
        over = bool(runs) and all(running.airflow.run_state(DAG, run) in ("success", "failed") for run in runs)
        time.sleep(0.5)
    manifests.all_there()
    seconds = time.time() - began
    for run in runs if ends else ():
        running.airflow.wait_run(DAG, run, order.patience)
    instances = sum(_instances(running, DAG, run) for run in runs)
    done = len(songs) - sum(not manifests.is_there(song) for song in manifests.missing)
    return Outcome(done, seconds, _first_create(running, began), instances, manifests.asked)


@dataclass
class Manifests:
    """Looks for manifests, one after the other, since only the last one counts.

    :param asked: how many requests that took.
    """

    running: RunningStack
    missing: list[str]
    asked: int = 0

    def is_there(self, song: str) -> bool:
        """Ask S3 for one manifest."""
        self.asked += 1
        return (self.running.bucket / self.running.settings.prefix / song / "manifest.json").exists()

    def all_there(self) -> bool:
        """Go on to the first song whose manifest is missing, and return whether there is none."""
        while self.missing and self.is_there(self.missing[0]):
            self.missing = self.missing[1:]
        return not self.missing


def _first_create(running: RunningStack, began: float) -> float | None:
    """Return how long after a time KIE was asked for a cover."""
    made = [charge["real_at"] for charge in running.simulator.ledger("cover") if charge["real_at"] >= began]
    return round(min(made) - began, 1) if made else None


def _instances(running: RunningStack, dag_id: str, run_id: str) -> int:
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
    return int(running.airflow.call("GET", path.replace("+", "%2B"), limit=1)["total_entries"])
