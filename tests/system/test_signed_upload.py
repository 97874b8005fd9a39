"""A signed upload URL in a real Airflow: KIE gets it, and it is in no log, no database and no bucket."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from song_stack import SongStack

DAG_ID, TASK_ID = "signed_upload", "upload_and_cover"
SIGNATURE = hashlib.sha256(b"planted signature").hexdigest()


def test_a_signed_address_is_used_and_is_nowhere_afterwards(songs: SongStack) -> None:
    songs.airflow.wait_for_dag(DAG_ID)
    run = songs.trigger(DAG_ID)
    assert songs.ended(DAG_ID, run) == "success"
    log = songs.airflow.logs(DAG_ID, run, TASK_ID)
    assert "Waiting for KIE" in log  # it was deferred: the trigger's arguments went through the database
    task = songs.task(run, TASK_ID, dag_id=DAG_ID)
    assert "https://uploads.example.com/in/voice.mp3" in str(task["rendered_fields"]["request"])
    assert len(songs.running.simulator.ledger("upload_cover")) == 1
    home = songs.running.settings.home
    found = [
        str(Path(folder) / name)
        for place in ("logs", "airflow")
        for folder, _, names in os.walk(home / place)
        for name in names
        if SIGNATURE.encode() in _content(Path(folder) / name)
    ]
    assert found == []
    assert [path.key for path in songs.bucket.objects() if SIGNATURE.encode() in path.read_bytes()] == []


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # the write-ahead log of a database comes and goes
        return b""
