"""A batch of songs that goes through the steps of the chain, one after the other, as Airflow calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airflow_kie.durable.xcom import FAILURE_KEY
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.sensors.suno import KieCoverSensor, KieMusicSensor
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_task import TaskInstance, TaskRun
from kie_simulator.server import SimulatorServer


class Chain:
    """The steps of one batch, as Airflow calls them one after the other: a step's result is the next one's argument."""

    def __init__(self, bucket: str, songs: list[str], **listed: Any) -> None:
        listing = KieSongListOperator(
            task_id="song_list", music_task_ids=songs, bucket=bucket, batch_size=len(songs), **listed
        )
        self.ti = TaskInstance()
        (self.batch,) = TaskRun(lambda: listing, ti=self.ti).attempt()
        self.results: dict[str, Any] = {}
        self.runs: dict[str, TaskRun] = {}

    def run(self, step: str) -> TaskRun:
        """Return the task instance of a step."""
        common = {"task_id": step, "batch": self.batch, "kie_conn_id": "kie_default"}
        waits = {"poll_interval": 0.05, "deferrable": True}
        place = {"bucket": self.batch["bucket"], "prefix": self.batch["prefix"]}
        known = {"music": self.results.get("music_complete")}
        make: dict[str, Callable[[], Any]] = {
            "music_complete": lambda: KieMusicSensor(**common, **waits),
            "generate_cover": lambda: KieGenerateCoverOperator(**common, **waits, **place, **known),
            "cover_details": lambda: KieCoverSensor(**common, **waits, cover=self.results.get("generate_cover")),
            "archive_to_s3": lambda: KieCoverToS3Operator(**common, **place, cover=self.results.get("cover_details")),
        }
        ti = TaskInstance(run_id=self.ti.run_id, task_id=step)
        return self.runs.setdefault(step, TaskRun(make[step], ti=ti))

    def go(self, *steps: str) -> Any:
        """Run steps and return what the last one returned."""
        for step in steps or ("music_complete", "generate_cover", "cover_details", "archive_to_s3"):
            self.results[step] = json.loads(json.dumps(self.run(step).attempt()))
        return self.results[steps[-1] if steps else "archive_to_s3"]

    def failures(self, step: str) -> dict[str, str]:
        """Return the reasons for which songs have left at a step."""
        return {song["music_task_id"]: song["reason"] for song in self.runs[step].ti.pushed.get(FAILURE_KEY, ())}


def songs(kie: SimulatorServer, count: int, **order: Any) -> list[str]:
    return [song.task_id for song in kie.control.make_music(*(f"Song {n}" for n in range(count)), **order)]


def covers_paid(kie: SimulatorServer) -> list[str]:
    return sorted(charge["source_id"] for charge in kie.control.ledger("cover"))
