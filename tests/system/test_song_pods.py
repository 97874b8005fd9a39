"""Tasks in pods of their own, as the KubernetesExecutor starts them; two pods are killed at their worst moments."""

from __future__ import annotations

import os
import subprocess

import pytest

from local_stack.settings import PROJECT
from pod_executor import pod
from song_stack import SongStack

DAG_ID = "in_pods"
KILLED = {"generate_cover", "archive_to_s3"}
FILES = ["cover-1.png", "cover-2.png", "manifest.json", "track-1.mp3", "track-2.mp3"]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a pod: a root file system and a user")


@needs_root
def test_a_pod_writes_into_an_empty_home_and_tmp_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("dags", "plugins"):
        monkeypatch.setenv(f"AIRFLOW__CORE__{folder.upper()}_FOLDER", str(PROJECT / folder))
    look = "id -u; ls -A /tmp ~; for file in ~/a /tmp/b /var/tmp/c $0/d; do touch $file 2>/dev/null && echo $file; done"
    first, second = (pod(("sh", "-c", look, str(PROJECT)), stdout=subprocess.PIPE).communicate()[0] for _ in range(2))
    user, *seen = first.decode().split()
    assert int(user) >= 100_000
    assert seen == ["/tmp:", "home", "/tmp/home:", "/tmp/home/a", "/tmp/b"]
    assert second.decode().split()[1:] == seen


@needs_root
def test_a_song_whose_pods_start_from_nothing_and_are_killed_is_archived_and_paid_for_once(songs: SongStack) -> None:
    [song] = songs.songs("Pods")
    songs.airflow.wait_for_dag(DAG_ID)
    run_id = songs.trigger(DAG_ID, {"songs": [song]})

    assert songs.ended(DAG_ID, run_id) == "success"
    assert sorted(songs.contents(song)) == FILES
    assert songs.archived(song).whole
    assert songs.charges([song]) == {song: 1}
    tasks = songs.airflow.task_instances(DAG_ID, run_id)
    assert {task.task_id for task in tasks if task.try_number > 1} >= KILLED
