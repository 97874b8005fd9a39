"""A release that an event has asked for: it waits for both a take and a cover that a person has chosen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_kie.archive.choice import Choice, changed_choice
from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.manifest import Manifest
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.operators.delivery import KieReleasePlanOperator
from airflow_task import TaskRun
from kie_simulator.server import SimulatorServer
from s3_servers import S3Server
from songs_to_deliver import PREFIX, archive_song


@pytest.mark.parametrize(
    ("chosen", "asks"),
    [
        ((), False),
        (({"cover": 2},), False),
        (({"track": 2},), False),
        (({"cover": 2, "track": 2}, {"rejected": True}), False),
        (({"cover": 2, "track": 2}, {"undo": True}), False),
        (({"cover": 2, "track": 2},), True),
    ],
    ids=["nothing", "a cover alone", "a take alone", "rejected", "undone", "both"],
)
def test_an_event_asks_for_a_wav_only_once_a_take_and_a_cover_are_chosen(
    kie: SimulatorServer, s3_server: S3Server, bucket: str, chosen: tuple[dict[str, Any], ...], asks: bool
) -> None:
    stored, keys = Bucket(s3_server.client(), bucket), SongKeys(PREFIX, "one")
    archive_song(stored, "one")
    manifest, choice = Manifest.read(stored, keys)[0], None
    assert manifest
    for changes in chosen:
        choice = changed_choice(choice, manifest, changes, by="Ada", now=datetime.now(UTC))
    if choice:
        stored.put_json(choice.to_json(), Choice.key_of(keys))
    run = TaskRun(
        lambda: KieReleasePlanOperator(task_id="plan", bucket=bucket, prefix=PREFIX), extra={"partition_key": "one"}
    )
    if asks:
        assert run.execute() == [{"taskId": "one", "audioId": "one-2"}]
    else:
        with pytest.raises(AirflowSkipException, match="Song one has no chosen take and cover"):
            run.execute()


def test_a_release_that_is_named_is_planned_in_a_run_of_somebody_elses_partition_too(
    kie: SimulatorServer, s3_server: S3Server, bucket: str
) -> None:
    archive_song(Bucket(s3_server.client(), bucket), "one")
    named = {"release": "My single", "songs": ["one"], "bucket": bucket, "prefix": PREFIX}
    run = TaskRun(lambda: KieReleasePlanOperator(task_id="plan", **named), extra={"partition_key": "2026-11-30"})
    assert [request["taskId"] for request in run.execute()] == ["one"]
    assert run.ti.pushed["plan"]["release"] == "My single"
