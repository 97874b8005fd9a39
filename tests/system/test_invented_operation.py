"""An operation that is one row more in the package, and no other change, goes all the way on real processes."""

from __future__ import annotations

import hashlib
import json

from invented_operation import INVENTED
from song_stack import SongStack

DAG_ID = "invented_draw"


def test_an_operation_is_one_row_through_worker_triggerer_and_archive(songs: SongStack) -> None:
    songs.airflow.wait_for_dag(DAG_ID)
    run = songs.trigger(DAG_ID)
    assert songs.ended(DAG_ID, run) == "success"
    assert "Waiting for KIE" in songs.airflow.logs(DAG_ID, run, "made")  # in the triggerer
    (charge,) = songs.running.simulator.ledger("invented")
    folder = f"{songs.running.settings.prefix}/_tasks/{INVENTED.name}/{charge['task_id']}/"
    files = {path.key.removeprefix(folder): path.read_bytes() for path in songs.bucket.objects() if folder in path.key}
    manifest = json.loads(files.pop("manifest.json"))
    assert (manifest["operation"], manifest["task_id"]) == (INVENTED.name, charge["task_id"])
    assert {"clip-1.mp4", "poster-1.png", "caption-1.txt", "scenes-1.json"} <= files.keys()
    digests = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
    assert {file["key"].removeprefix(folder): file["sha256"] for file in manifest["files"]} == digests
