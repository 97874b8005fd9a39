"""How long from "KIE is done" to "the covers are in S3", with callbacks and without? Prints one JSON line.

    .venv/bin/python benchmarks/callback_latency.py [--songs 30] [--every 5.0]

One stack as `./run up` starts it, but on Postgres, with the simulator at real speed and cover tasks of 20 s. Songs come
one after the other by events; every second one uses a connection with a callback URL, the others one without, so both
are measured in the same minutes under the same load. Between them run empty deferred tasks: what Airflow itself takes,
without any KIE. All figures are seconds; p50 and p95 over the songs.

`floor` is an empty deferred task from its queueing to its end, its trigger firing at once. `transfer` is
`archive_to_s3` from its start until the last cover is in the bucket. The target is
p50 with callbacks <= 1.5 * p50 of `floor` + p50 of `transfer`. `stale_events` counts how often Airflow failed a task
by an event of its own (docs/on-call.md), each one free retry; `lost_legs` says in which arm tasks needed one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stacks import PROJECT, postgres_stack

COVER_SECONDS = 20.0
PENDING = "kie://api.kie.ai/suno/pending"
POLLED = "kie_polled"


@dataclass(frozen=True)
class Song:
    """One song of the measurement.

    :param arm: ``callback`` or ``poll``.
    :param done: when KIE was done with its cover, unix time in seconds.
    :param stored: when its last cover was in the bucket.
    :param transfer: seconds from the start of ``archive_to_s3`` until then.
    """

    arm: str
    done: float
    stored: float
    transfer: float


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return p50 and p95."""
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 2),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 2),
    }


def measure(songs: int, every: float) -> dict[str, Any]:
    """Run both arms and the floor side by side.

    :param songs: for each arm.
    :param every: seconds between two songs.
    """
    from fault_suite.stale import stale_events

    dag_files = [PROJECT / "dags" / "music_cover.py", PROJECT / "benchmarks" / "dags" / "empty_deferred.py"]
    with postgres_stack(dag_files, {"AIRFLOW__KIE__KIE_CONN_IDS": f"kie_default,{POLLED}"}) as (running, _):
        add_polled_connection(running)
        for dag_id in ("music_cover", "empty_deferred"):
            running.airflow.wait_for_dag(dag_id)
        run_once(running)
        arms, floors = send(running, songs, every)
        stored = {song: wait_for_covers(running, song) for song in arms}
        done = {c["source_id"]: c["real_at"] + COVER_SECONDS for c in running.simulator.ledger("cover")}
        starts = archive_starts(running)
        measured = [Song(arm, done[s], stored[s], stored[s] - starts[s]) for s, arm in arms.items()]
        stale = stale_events((running.settings.logs / "scheduler.log").read_text(errors="replace"))
        lost = dict(Counter(arms[song] for song in lost_legs(running) if song in arms))
        return {**report(measured, floor_seconds(running, floors)), "stale_events": stale, "lost_legs": lost}


def add_polled_connection(running: Any) -> None:
    """Add a connection of the same account without a callback URL."""
    known = json.loads(running.env["AIRFLOW_CONN_KIE_DEFAULT"])
    body = {"connection_id": POLLED, "conn_type": "kie", "host": known["host"], "password": known["password"]}
    running.airflow.call("POST", "/connections", body)


def run_once(running: Any) -> None:
    """Run one song and one empty task, so that nothing is measured that only a first time takes."""
    (song,) = running.simulator.make_music("Warming up")
    running.airflow.create_asset_event(PENDING, {"music_task_id": song.task_id})
    running.airflow.trigger("empty_deferred", {"seconds": 0})
    wait_for_covers(running, song.task_id)


def send(running: Any, songs: int, every: float) -> tuple[dict[str, str], list[str]]:
    """Send all songs, with an empty deferred task after each second one; return arms by song, and those runs."""
    arms: dict[str, str] = {}
    floors: list[str] = []
    for number in range(2 * songs):
        arm, connection = (("callback", "kie_default"), ("poll", POLLED))[number % 2]
        (song,) = running.simulator.make_music(f"Song {number + 1}")
        running.simulator.add_fault("task", "takes", kind="cover", source_id=song.task_id, seconds=COVER_SECONDS)
        arms[song.task_id] = arm
        running.airflow.create_asset_event(PENDING, {"kie_conn_id": connection, "music_task_id": song.task_id})
        time.sleep(every / 2)
        if number % 2:
            floors.append(running.airflow.trigger("empty_deferred", {"seconds": 0}))
        time.sleep(every / 2)
    return arms, floors


def wait_for_covers(running: Any, song: str, seconds: float = 300.0) -> float:
    """Wait until a song is archived and return when its last cover was in the bucket, in unix seconds."""
    folder = running.bucket / running.settings.prefix / song
    deadline = time.monotonic() + seconds
    while not (folder / "manifest.json").exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Song {song} was not archived within {seconds:.0f} s.")
        time.sleep(0.2)
    covers = [path for path in folder.iterdir() if path.name.startswith("cover-")]
    # S3 tells whole seconds: with half of one more the figures are right on the average.
    return max(path.modified_at().timestamp() for path in covers) + 0.5


def archive_starts(running: Any) -> dict[str, float]:
    """Return when ``archive_to_s3`` started for each song, in unix seconds."""
    from local_stack.archive_check import claimed_songs

    songs = claimed_songs(running.bucket, running.settings.prefix)
    found = {}
    for raw in running.airflow.pages("/dags/music_cover/dagRuns/~/taskInstances", "task_instances"):
        if raw["task_id"].endswith("archive_to_s3") and raw["start_date"]:
            found[songs[raw["dag_run_id"]][raw["map_index"]]] = datetime.fromisoformat(raw["start_date"]).timestamp()
    return found


def lost_legs(running: Any) -> list[str]:
    """Return the song of each task that needed a further try, once for each try: nothing else fails here."""
    from local_stack.archive_check import claimed_songs

    songs = claimed_songs(running.bucket, running.settings.prefix)
    tasks = running.airflow.pages("/dags/music_cover/dagRuns/~/taskInstances", "task_instances")
    tried = [raw for raw in tasks for _ in range(max(0, (raw["try_number"] or 0) - 1)) if raw["map_index"] >= 0]
    return [songs[raw["dag_run_id"]][raw["map_index"]] for raw in tried]


def floor_seconds(running: Any, runs: Sequence[str]) -> list[float]:
    """Return how long each empty deferred task took, from its queueing to its end."""
    found = []
    for raw in running.airflow.pages("/dags/empty_deferred/dagRuns/~/taskInstances", "task_instances"):
        if raw["dag_run_id"] in runs and raw["state"] == "success":
            run = running.airflow.call("GET", f"/dags/empty_deferred/dagRuns/{raw['dag_run_id']}")
            begin, end = (datetime.fromisoformat(at) for at in (run["queued_at"], raw["end_date"]))
            found.append((end - begin).total_seconds())
    return found


def report(songs: Sequence[Song], floors: Sequence[float]) -> dict[str, Any]:
    """Return the figures."""
    arms = {arm: [song for song in songs if song.arm == arm] for arm in ("callback", "poll")}
    latency = {arm: spread([song.stored - song.done for song in some]) for arm, some in arms.items()}
    transfer, floor = spread([song.transfer for song in arms["callback"]]), spread(floors)
    target = round(1.5 * floor["p50"] + transfer["p50"], 2)
    return {
        "songs_per_arm": len(arms["callback"]),
        **latency,
        "floor": floor,
        "transfer": transfer,
        "target": target,
        "target_is_met": latency["callback"]["p50"] <= target,
        "callback_to_poll": round(latency["callback"]["p50"] / latency["poll"]["p50"], 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--songs", type=int, default=30, help="songs for each arm (default: 30)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two songs (default: 5)")
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.songs, chosen.every)))
