"""A release that is made again uses the WAVs that are archived, whatever KIE still has."""

from __future__ import annotations

from airflow_kie.client.operations.suno_tracks import WAV
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.ledger import open_ledger
from airflow_kie.lifecycle.claims import RequestId
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.operators.delivery import PLAN, KieDeliverReleaseOperator, KieReleasePlanOperator
from airflow_task import StoredFiles, TaskRun
from kie_simulator.server import SimulatorServer
from songs_to_deliver import PREFIX, archive_song


def test_a_wav_that_is_archived_is_not_asked_for_again_after_kie_has_deleted_it(
    kie: SimulatorServer, archive: StoredFiles
) -> None:
    place = {"bucket": archive.bucket, "prefix": PREFIX}
    bucket = open_bucket("aws_default", archive.bucket)
    made, hook = archive_song(bucket, "rain"), KieHook()
    archive_song(bucket, "snow")  # somebody else's WAV: this account's ledger does not have it
    request = RequestId(
        hook.account.spending_name, WAV.name, request_digest(WAV, {"taskId": "rain", "audioId": "rain-1"}, {})
    )
    open_ledger(hook).ledger.adopt(request, made.task_id)
    plan = TaskRun(lambda: KieReleasePlanOperator(task_id="plan", release="Single", songs=["snow", "rain"], **place))
    assert plan.attempt() == [{"taskId": "snow", "audioId": "snow-1"}]
    wavs = {"plan": plan.ti.pushed[PLAN], "wav_task_ids": ["wav-of-snow"]}
    TaskRun(lambda: KieDeliverReleaseOperator(task_id="release", **wavs, **place)).attempt()
    assert {"music/release/Single/track-01.wav", "music/release/Single/track-02.wav"} <= set(archive.listed())
