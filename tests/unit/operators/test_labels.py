"""Labels as a template or a form renders them: JSON text is taken, and what is none costs a sentence and no credits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator
from airflow_task import StoredFiles, TaskRun
from kie_simulator.server import SimulatorServer
from paid_requests import InBucket

BODY = {"prompt": "rain", "customMode": False, "instrumental": False, "model": "V5"}


def run_of(labels: Any, **asked: Any) -> TaskRun:
    settings: dict[str, Any] = {"deferrable": False, "poll_interval": 0.05} | asked
    return TaskRun(lambda: KieTaskOperator(task_id="make", operation="suno.music", labels=labels, **settings))


@pytest.mark.parametrize("asked", [{"request": BODY}, {"requests": [BODY]}], ids=["request", "list"])
@pytest.mark.parametrize(
    ("labels", "kept"),
    [('{"our_id": "A-17"}', {"our_id": "A-17"}), ({"take": 2}, {"take": "2"}), ("", {})],
    ids=["json", "map", "empty"],
)
def test_labels_are_a_map_or_its_json_text(
    kie: SimulatorServer, archive: StoredFiles, labels: Any, kept: dict[str, str], asked: dict[str, Any]
) -> None:
    run_of(labels, **asked).attempt()
    (intent,) = [body for key, body in InBucket(archive).read().items() if key.endswith(".intent")]
    assert json.loads(intent).get("labels", {}) == kept


@pytest.mark.parametrize("asked", [{"request": BODY}, {"requests": [BODY]}], ids=["request", "list"])
@pytest.mark.parametrize("labels", ["{'our_id': 'A-17'}", '["A-17"]', '{"our_id": {"nested": 1}}', 17])
def test_what_is_no_map_of_texts_is_refused_before_anything_is_paid(
    kie: SimulatorServer, bucket: str, labels: Any, asked: dict[str, Any]
) -> None:
    with pytest.raises(KieInvalidRequest, match=r"Task make has invalid labels.*\| tojson.*nothing was sent"):
        run_of(labels, **asked).attempt()
    assert kie.control.ledger("music") == []


def test_labels_as_json_text_reach_the_manifests(kie: SimulatorServer, archive: StoredFiles) -> None:
    (song,) = kie.control.make_music("Velvet Harbour")
    place: dict[str, Any] = {"bucket": archive.bucket, "labels": '{"our_id": "A-17"}'}
    TaskRun(
        lambda: KieCoverToS3Operator(
            task_id="archive", music_task_id=song.task_id, archive_covers=False, archive_audio=True, **place
        )
    ).attempt()
    TaskRun(
        lambda: KieResultsToS3Operator(task_id="results", operation="suno.music", kie_task_id=song.task_id, **place)
    ).attempt()
    manifests = [json.loads(archive.body(key)) for key in archive.listed() if key.endswith("manifest.json")]
    assert len(manifests) == 2
    for manifest in manifests:
        assert [(label["name"], label["value"]) for label in manifest["labels"]] == [("our_id", "A-17")]
