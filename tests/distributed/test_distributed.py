"""The distributed stack of docker-compose.yaml: songs, while one process of each kind is killed, another replaced."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from distributed_stack import DistributedStack, distributed_stack
from local_stack import distributed_demo
from local_stack.airflow_api import AirflowApi, AirflowRefused
from local_stack.archive_check import check_song
from local_stack.health import unhealthy

SONGS = 4
RATE = 20
"""New tasks per 10 seconds of a KIE account."""
BURST = Path(__file__).with_name("dags") / "create_burst.py"
"""Asks for far more than that: a few songs would never meet the limiter."""
BURST_TASKS, BURST_CREATES = 6, 42
SMALL = {"AIRFLOW_WORKER_CONCURRENCY": "4", "AIRFLOW_TASK_QUEUED_TIMEOUT": "60", "AIRFLOW_IDLE_SLEEP": "1"}
"""Two workers with eight slots each are more than two cores can use, and so are two schedulers that look five times a
second; a task that a worker had taken and not begun when it was killed is queued again after a minute, not five."""
QUIET = {
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "36000",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "600",
}
"""The files of the DAGs do not change."""
VICTIMS = ("worker-1", "triggerer-1", "scheduler-1", "dag-processor-1", "api-server-1")
"""One process of each kind; all but the last two have a twin that goes on meanwhile."""
REPLACED = ("scheduler-2", "dag-processor-1", "triggerer-2", "worker-2")
"""What a rolling restart stops and starts again, one after the other, while tasks run and wait."""
pytestmark = pytest.mark.timeout(3600)


@dataclass(frozen=True)
class Outcome:
    """What came of the demo.

    :param songs: its songs.
    :param state: how the run ended.
    :param ledger: every create that KIE would have charged.
    :param seen: what the simulator has seen.
    :param burst: how the run ended that asks for more new tasks than KIE takes.
    :param burst_seen: what each of its tasks saw of the limiter, see ``dags/create_burst.py``.
    :param burst_workers: the workers that its tasks ran on.
    :param replaced: exit codes of what the rolling restart has stopped.
    :param archived: the songs of which every file is archived whole.
    :param owed: names of the pending records that are left.
    :param killed: how many processes died with each victim.
    :param left: how many songs were not archived yet when the victims had died.
    :param report: what the run's report says of each song.
    :param anonymous: status of a call of Airflow's API without a login.
    """

    songs: tuple[str, ...]
    state: str
    ledger: list[dict[str, Any]]
    seen: Mapping[str, Any]
    burst: str
    burst_seen: list[dict[str, int]]
    burst_workers: list[str]
    replaced: Mapping[str, int]
    archived: list[str]
    owed: list[str]
    killed: Mapping[str, int]
    left: int
    report: Mapping[str, str]
    anonymous: int


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Run the demo once; each test looks at one side of what came of it."""
    began = time.monotonic()
    home = tmp_path_factory.mktemp("distributed")
    values = {"SIMULATOR_SPEED": "8", "KIE_RATE_LIMIT": str(RATE), **SMALL}
    with distributed_stack(home, BURST, project_dags=f"{distributed_demo.DAG}.py", airflow=QUIET, **values) as stack:
        print(f"up after {time.monotonic() - began:.0f} s: {stack.seconds}")
        yield run_demo(stack)
    print(f"all in all {time.monotonic() - began:.0f} s: {stack.seconds}")


def run_demo(stack: DistributedStack) -> Outcome:
    """Run the demo's songs, kill the victims once half of the covers are paid for, and wait for the end.

    Airflow needs a minute to notice the killed worker: the burst and the rolling restart are in it.
    """
    prefix = stack.compose.environment("worker")["AIRFLOW__KIE__PREFIX"]
    with contextlib.closing(stack.login()) as airflow, contextlib.closing(stack.simulator) as simulator:
        demo = distributed_demo.start(airflow, simulator, SONGS)
        stack.wait(lambda: len(simulator.ledger("cover")) >= SONGS / 2, "half of the covers are paid for")
        killed = {victim: stack.kill(victim) for victim in VICTIMS}
        left = SONGS - len(archived_songs(stack, demo, prefix))
        for victim in VICTIMS:
            stack.begin(victim)  # as `restart: unless-stopped` does
        stack.wait(lambda: not unhealthy(stack.url), "Airflow is healthy again")
        stack.wait(lambda: stack.log("worker-1").count(" ready.") == 2, "the killed worker is back")
        airflow.wait_for_dag("create_burst", seconds=900.0)
        burst = airflow.trigger("create_burst")
        stack.wait(lambda: bool(simulator.ledger("music")), "the burst has begun")
        replaced = {name: stack.replace(name) for name in REPLACED}
        state = wait_ended(stack, airflow, distributed_demo.DAG, demo.run_id)
        burst_state = wait_ended(stack, airflow, "create_burst", burst)
        return Outcome(
            songs=demo.music_task_ids,
            state=state,
            ledger=simulator.ledger(),
            seen=simulator.state(),
            burst=burst_state,
            burst_seen=[airflow.xcom("create_burst", burst, "create_music", number) for number in range(BURST_TASKS)],
            burst_workers=[name for name in ("worker-1", "worker-2") if "create_burst" in stack.log(name)],
            replaced=replaced,
            archived=archived_songs(stack, demo, prefix),
            owed=[path.name for path in (stack.bucket / prefix / "_pending").glob("*.json")],
            killed=killed,
            left=left,
            report={row["music_task_id"]: row["result"] for row in distributed_demo.table(airflow, demo)},
            anonymous=httpx.get(f"{stack.url}/api/v2/dags", trust_env=False, timeout=600).status_code,
        )


def archived_songs(stack: DistributedStack, demo: distributed_demo.Demo, prefix: str) -> list[str]:
    """Return the songs of which every file is archived whole."""
    return [song for song in demo.music_task_ids if check_song(stack.bucket, prefix, song).whole]


def wait_ended(stack: DistributedStack, airflow: AirflowApi, dag_id: str, run_id: str) -> str:
    """Wait for the end of the run on a stack whose api-server was killed, and return its state."""
    states = [""]

    def ended() -> bool:
        with contextlib.suppress(httpx.TransportError, AirflowRefused):
            states.append(airflow.run_state(dag_id, run_id))
        return states[-1] in ("success", "failed")

    stack.wait(ended, f"the run of {dag_id} ends")
    return states[-1]


def test_every_song_is_archived_whole_and_is_owed_nothing(outcome: Outcome) -> None:
    assert outcome.archived == list(outcome.songs)
    assert outcome.owed == []
    assert outcome.report == dict.fromkeys(outcome.songs, "archived")
    assert outcome.state == "success"


def test_every_cover_is_paid_for_once(outcome: Outcome) -> None:
    paid = Counter(charge["source_id"] for charge in outcome.ledger if charge["kind"] == "cover")
    assert paid == dict.fromkeys(outcome.songs, 1)


def test_the_limiter_on_postgres_holds_the_rate_over_all_workers_and_triggerers(outcome: Outcome) -> None:
    # The simulator rejects what is more than KIE's rate when it arrives. A create that waits for a processor with its
    # permit in hand can bring one too many into the next window; of covers nobody knows how long they took.
    assert outcome.burst == "success"
    assert outcome.burst_workers == ["worker-1", "worker-2"]
    bursting = [charge["real_at"] for charge in outcome.ledger if charge["kind"] == "music"]
    assert len(bursting) == BURST_CREATES
    assert sum(seen["held_back"] for seen in outcome.burst_seen) > 0
    covers = sum(charge["kind"] == "cover" and charge["real_at"] > min(bursting) for charge in outcome.ledger)
    assert outcome.seen["rate_limited"] <= sum(seen["late"] for seen in outcome.burst_seen) + covers


def test_a_rolling_restart_lets_what_runs_come_to_its_end(outcome: Outcome) -> None:
    assert outcome.replaced == dict.fromkeys(REPLACED, 0)


def test_the_key_went_nowhere_else_and_nobody_gets_in_without_a_login(outcome: Outcome) -> None:
    assert outcome.seen["authorization_leaks"] == []
    assert outcome.anonymous == 401


def test_one_process_of_each_kind_was_killed_while_songs_were_under_way(outcome: Outcome) -> None:
    assert set(outcome.killed) == set(VICTIMS)
    assert all(count >= 1 for count in outcome.killed.values())
    assert outcome.killed["worker-1"] > 1  # with its pool
    assert outcome.left > 0
