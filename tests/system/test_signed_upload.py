"""A signed upload URL in a real Airflow: KIE gets it, and it is in no log, no database and no bucket."""

from __future__ import annotations

import hashlib

from song_stack import SongStack, files_holding

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
    assert files_holding(SIGNATURE, *(songs.running.settings.home / name for name in ("logs", "airflow"))) == []
    assert songs.holding(SIGNATURE) == []
