"""The demo of the distributed stack: songs on the simulator, one run of music_cover for them, and what came of it.

``python -m local_stack.distributed_demo`` reads AIRFLOW_URL, AIRFLOW_ADMIN_PASSWORD, SIMULATOR_URL and DEMO_SONGS.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kie_simulator.control_client import ControlClient
from local_stack.airflow_api import AirflowApi

DAG = "music_cover"
RUN_SECONDS = 600.0


@dataclass(frozen=True)
class Demo:
    """A demo that was started.

    :param music_task_ids: its songs.
    :param run_id: the run of music_cover that archives their covers.
    """

    music_task_ids: tuple[str, ...]
    run_id: str


def start(airflow: AirflowApi, simulator: ControlClient, count: int) -> Demo:
    """Make finished songs on the simulator and start a run of music_cover for them.

    :param airflow: Airflow's API, logged in.
    :param simulator: the simulator's control plane.
    :param count: how many songs.
    """
    airflow.wait_for_dag(DAG, seconds=900.0)
    songs = tuple(song.task_id for song in simulator.make_music(count=count))
    return Demo(songs, airflow.trigger(DAG, {"music_task_ids": list(songs)}))


def table(airflow: AirflowApi, demo: Demo) -> Sequence[Mapping[str, Any]]:
    """Return the report of a run that has ended: for each song what became of it."""
    rows: Sequence[Mapping[str, Any]] = airflow.xcom(DAG, demo.run_id, "report", key="table")
    return rows


def main(environment: Mapping[str, str]) -> int:
    """Run the demo and print each song's line.

    :return: exit code: 0 only when every song is archived.
    """
    airflow = AirflowApi(environment["AIRFLOW_URL"], ("admin", environment["AIRFLOW_ADMIN_PASSWORD"]))
    demo = start(airflow, ControlClient(environment["SIMULATOR_URL"]), int(environment.get("DEMO_SONGS") or 4))
    print(f"Run {demo.run_id} of {DAG} archives the covers of {len(demo.music_task_ids)} songs.", flush=True)
    state = airflow.wait_run(DAG, demo.run_id, RUN_SECONDS)
    for row in table(airflow, demo):
        print(f"{row['music_task_id']}  {row['result']}")
    print(f"The run ended: {state}.", flush=True)
    return 0 if state == "success" else 1


if __name__ == "__main__":
    sys.exit(main(os.environ))
