"""A release whose processes are killed at every step: nothing is paid twice, and half a release is none."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from local_stack.bucket import BucketPath
from local_stack.parts import airflow_command
from song_stack import SongStack, eventually
from system.conftest import WithAudio
from system.test_song_pages import opened

DAG_ID, NAME = "deliver_killed", "Killed, at every step"
DELIVERED = "kie://api.kie.ai/suno/delivered"
TASKS = {"plan": 2, "wav": 2, "cover": 2, "archive_wav": 2, "archive_cover": 2, "release": 3}
"""How many tries each task needs at least: all but the last of them are killed. Airflow itself may begin another one
where its scheduler reads the end of a deferred task's leg before it has read that the leg began."""


@pytest.fixture(scope="module")
def made(songs: SongStack, with_audio: WithAudio) -> tuple[list[str], str]:
    """Give two songs that are archived with their audio, and a run that makes a release of them."""
    songs.airflow.wait_for_dag(DAG_ID)
    return with_audio.songs, songs.trigger(DAG_ID, {"release": NAME, "songs": with_audio.songs})


def folder(songs: SongStack) -> BucketPath:
    return songs.bucket / songs.running.settings.prefix / "release" / NAME


def events(songs: SongStack) -> list[dict[str, Any]]:
    """Return the events that tell of the release."""
    told = [event for event in songs.airflow.asset_events() if event["uri"] == DELIVERED]
    return [event for event in told if event["partition_key"] == NAME]


def paid(songs: SongStack, titles: list[str]) -> Counter[str]:
    """Return what KIE has charged for the release, and how often."""
    ledger = songs.running.simulator.ledger
    wavs = [charge["source_id"].partition("/")[0] for charge in ledger("wav")]
    covers = [charge["kind"] for charge in ledger("jobs") if "topaz" in str(charge["request"])]
    return Counter([song for song in wavs if song in titles] + covers)


def test_half_a_release_counts_as_none_and_the_next_try_makes_it_whole_without_paying_again(
    songs: SongStack, made: tuple[list[str], str]
) -> None:
    titles, run_id = made

    def half() -> bool:
        release = songs.task(run_id, "release", dag_id=DAG_ID)
        return release["state"] == "running" and release["try_number"] == 2  # the first one was killed, this one waits

    eventually(half, "the release was killed once")
    names = {path.name for path in folder(songs).iterdir()}
    assert len(names) == 3 and "manifest.json" not in names
    assert "This release is not finished" in opened(songs, f"kie/releases/{NAME}").text
    assert events(songs) == []
    looked = f"looked-{hashlib.sha256(run_id.encode()).hexdigest()[:16]}"
    Path(songs.running.settings.airflow_home, looked).touch()

    assert songs.ended(DAG_ID, run_id) == "success"
    tries = {task.task_id: task.try_number for task in songs.airflow.task_instances(DAG_ID, run_id)}
    assert tries.keys() == TASKS.keys()
    assert {task: tries[task] for task in TASKS if tries[task] < TASKS[task]} == {}
    assert paid(songs, titles) == {**dict.fromkeys(titles, 1), "jobs": 1}
    manifest = json.loads((folder(songs) / "manifest.json").read_text())
    kept = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder(songs).iterdir()}
    kept.pop("manifest.json")
    assert {file["name"]: file["sha256"] for file in manifest["files"]} == kept
    assert {f"track-0{n}.{form}" for n in (1, 2) for form in ("wav", "mp3")} < set(kept)
    assert len(events(songs)) == 1  # although the try that has written the manifest was killed
    assert "Velvet Harbour" in opened(songs, f"kie/releases/{NAME}").text


def test_airflow_kie_deliver_check_reads_the_release_and_says_what_distributors_would_refuse(
    songs: SongStack, made: tuple[list[str], str]
) -> None:
    assert songs.ended(DAG_ID, made[1]) == "success"
    command = airflow_command("kie", "deliver", "check", NAME)
    ran = subprocess.run(command, env=songs.running.env, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    lines = re.findall(r"^- (.*)$", ran.stdout, re.M)
    assert [line for line in lines if not line.startswith(("metadata.json lacks ", "track-"))] == [
        f"{who} rejects enlarged pictures; this one was enlarged." for who in ("hearyoumusic", "Sundesire")
    ]
    assert "track-02.wav: Symphonic requires 44,100 Hz; this one has 22,050 Hz." in lines  # the simulator's
