"""A release as a task group: plan → WAV of each track, and a larger cover → archive → release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from airflow.sdk import TriggerRule

from airflow_kie import assets, settings
from airflow_kie.client.operations.market import JOBS
from airflow_kie.client.operations.suno_tracks import WAV
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.delivery import (
    PLAN,
    KieDeliverReleaseOperator,
    KieReleasePlanOperator,
    KieUpscaleCoverOperator,
)
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.task_groups.music_cover import RETRY_DELAY
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator


def deliver_songs(
    *,
    release: str = "",
    songs: Any = None,
    credits: Any = None,
    wav: bool | str = True,
    upscale: bool | str = False,
    bucket: str = "",
    prefix: str = "",
    kie_conn_id: str = KieHook.default_conn_name,
    aws_conn_id: str | None = None,
    extra_args: Mapping[str, Any] | str | None = None,
    deferrable: bool = True,
) -> Any:
    """Add the tasks that make a release to a DAG.

    :param release: the release's name; not needed in a run that a "chosen" event started.
    :param songs: the release's songs, see :class:`~airflow_kie.operators.delivery.KieReleasePlanOperator`.
    :param credits: the release's metadata, see there.
    :param wav: request a WAV of each take; they cost 0.4 credits each and are paid for once.
    :param upscale: let KIE's Topaz enlarge the cover; this costs up to 20 credits and is paid for once.
    :param bucket: bucket of the archive; empty: `[kie] bucket`.
    :param prefix: key prefix in the bucket; empty: `[kie] prefix`.
    :param kie_conn_id: Airflow connection of the KIE account that made the songs.
    :param aws_conn_id: Airflow connection for S3; None: `[kie] aws_conn_id`.
    :param extra_args: for S3; None: `[kie] s3_extra_args`.
    :param deferrable: wait in the triggerer.
    :return: the last task, which makes the folder: what is to run before anything is paid, such as an approval, goes
        before a task group around the call (``approve >> group``), for ``approve >> deliver_songs(…)`` would hold the
        last task alone back.
    """
    aws = settings.text("aws_conn_id", "aws_default") if aws_conn_id is None else aws_conn_id
    s3: dict[str, Any] = {"aws_conn_id": aws, "extra_args": extra_args, "retry_delay": RETRY_DELAY}
    place: dict[str, Any] = {"bucket": bucket, "prefix": prefix, **s3}
    to = {"bucket": bucket or settings.text("bucket"), "prefix": prefix or settings.text("prefix", "songs")}
    made: dict[str, Any] = {"kie_conn_id": kie_conn_id, "deferrable": deferrable, "retry_delay": RETRY_DELAY}
    stored: dict[str, Any] = {"kie_conn_id": kie_conn_id, **to, **s3}
    plan = KieReleasePlanOperator(
        task_id="plan",
        release=release,
        songs=songs,
        credits=credits,
        wav=wav,
        upscale=upscale,
        kie_conn_id=kie_conn_id,
        **place,
    )
    planned = cast("Any", plan.output)[PLAN]
    wavs = KieTaskOperator.partial(task_id="wav", operation=WAV.name, **made).expand(request=plan.output)
    archived = KieResultsToS3Operator.partial(task_id="archive_wav", operation=WAV.name, **stored).expand(
        kie_task_id=wavs.output
    )
    cover = KieUpscaleCoverOperator(task_id="cover", plan=planned, **made)
    archived_cover = KieResultsToS3Operator(
        task_id="archive_cover", operation=JOBS.name, kie_task_id=cast("Any", cover.output), **stored
    )
    delivered = KieDeliverReleaseOperator(
        task_id="release",
        plan=planned,
        wav_task_ids=wavs.output,
        upscaled_task_id=cover.output,
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,  # what is not asked for is skipped, not the plan
        outlets=[assets.DELIVERED],
        **place,
    )
    [archived, archived_cover] >> delivered
    return delivered
