"""The chain as a task group: music complete → generate cover → cover details → archive to S3, mapped over batches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import TriggerRule, task_group

from airflow_kie import assets, settings
from airflow_kie.durable.song_batch import returned_by
from airflow_kie.notifications.kie import run_callbacks
from airflow_kie.operators.report import KieSongReportOperator, record_failure
from airflow_kie.operators.song_list import KieSongListOperator
from airflow_kie.operators.suno import KieGenerateCoverOperator
from airflow_kie.sensors.suno import KieCoverSensor, KieMusicSensor
from airflow_kie.transfers.kie_to_s3 import KieCoverToS3Operator

SONG_LIST = "song_list"
SONG = "song"
REPORT = "report"
CHAIN = ("music_complete", "generate_cover", "cover_details", "archive_to_s3")

RETRY_DELAY = timedelta(seconds=10)
"""Only for failures caused by Airflow itself (a lost worker, a stale event): those skip the retry policy, and
Airflow's default of 300 s would be wasted, since the next attempt continues with what is already paid."""


def archive_covers(
    music_task_ids: Any = None,
    *,
    bucket: str = "",
    prefix: str = "",
    kie_conn_id: str = "",
    aws_conn_id: str | None = None,
    archive_audio: bool | str = False,
    archive_lyrics: bool | str = False,
    labels: Any = None,
    songs: Any = None,
    max_credits: float | str | None = None,
    extra_args: Mapping[str, Any] | str | None = None,
    pool: str | None = None,
    deferrable: bool = True,
    weight_rule: str = "upstream",
    batch_size: int | str | None = None,
) -> Any:
    """Add the chain to a DAG: it archives the covers (and audio, and lyrics) of songs in S3.

    A song that fails does not stop the others; the last task, `report`, fails if any song failed. It alone calls the
    `on_failure_callback` of `default_args`, once for a run. To use several chains in one DAG, put each into its own
    task group.

    :param music_task_ids: the songs' music task ids, as a list, in any text, or a template; empty in event runs. If it
        is another task's output, the run takes only those songs, whatever started it; an empty output means none.
    :param bucket: bucket of the archive; empty: `[kie] bucket`.
    :param prefix: key prefix in the bucket; empty: `[kie] prefix`.
    :param kie_conn_id: Airflow connection of the account that made the songs, one of `[kie] kie_conn_ids`.
    :param aws_conn_id: Airflow connection for S3; None: `[kie] aws_conn_id`; empty: boto3's default credential chain.
    :param archive_audio: archive the audio files too; always on if `[kie] archive_audio` is.
    :param archive_lyrics: archive the lyrics too; always on if `[kie] archive_lyrics` is.
    :param labels: your own names for the songs, at most 10, as a map or its JSON text; stored in the manifests.
    :param songs: further songs with labels of their own: ``[{"music_task_id": …, "labels": {…}}]``.
    :param max_credits: refuse the run if its covers cost more credits than this, by KIE's price list.
    :param extra_args: for S3, as S3Hook's: ``{"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": …}``, storage class,
        tags, expected bucket owner; None: `[kie] s3_extra_args`.
    :param pool: Airflow pool of the tasks that create covers, such as one with *Include Deferred* whose slots cap how
        many are made at a time; None: Airflow's default pool. Airflow starts no task in a pool that does not exist.
    :param deferrable: wait in the triggerer.
    :param weight_rule: ``upstream`` makes Airflow finish songs that are paid before it starts new ones; its own
        default starts all of them first.
    :param batch_size: songs that one mapped task works on, at most 200; None: one each of up to 20 songs, so that the
        grid shows each song's own way (of up to two in a run that an event has started), and growing batches of more.
    :return: the report, which is the chain's last task: what is to run before the chain goes before a task group around
        it (``check >> group``), for ``check >> archive_covers(…)`` would hold the report alone back.
    """
    aws = settings.text("aws_conn_id", "aws_default") if aws_conn_id is None else aws_conn_id
    s3: dict[str, Any] = {"aws_conn_id": aws, "extra_args": extra_args}
    common: dict[str, Any] = {"retry_delay": RETRY_DELAY, "weight_rule": weight_rule}

    listed = KieSongListOperator(
        task_id=SONG_LIST,
        music_task_ids=music_task_ids,
        bucket=bucket,
        prefix=prefix,
        kie_conn_id=kie_conn_id,
        archive_audio=archive_audio,
        archive_lyrics=archive_lyrics,
        labels=labels,
        songs=songs,
        max_credits=max_credits,
        batch_size=batch_size,
        on_failure_callback=record_failure,
        **s3,
        **common,
    )

    inside = listed.task_id.removesuffix(SONG_LIST)  # the name of a task group around the chain, with its dot

    @task_group(group_id=SONG, prefix_group_id=bool(inside))
    def song(batch: Any) -> None:
        step: dict[str, Any] = {
            "batch": batch,
            "map_index_template": "{{ task.song_label }}",
            "on_failure_callback": record_failure,
            **common,
        }
        music = KieMusicSensor(task_id="music_complete", deferrable=deferrable, aws_conn_id=aws, **step)
        step["music"] = returned_by(music.task_id)
        cover = KieGenerateCoverOperator(
            task_id="generate_cover", deferrable=deferrable, **s3, **step, **({"pool": pool} if pool else {})
        )
        details = KieCoverSensor(
            task_id="cover_details", cover=returned_by(cover.task_id), deferrable=deferrable, **step
        )
        archived = KieCoverToS3Operator(
            task_id="archive_to_s3",
            cover=returned_by(details.task_id),
            inlets=[assets.MUSIC],
            outlets=[assets.COVER, assets.ARCHIVE],
            **s3,
            **step,
        )
        music >> cover >> details >> archived

    chain = [f"{inside}{SONG}.{name}" if inside else name for name in CHAIN]
    report = KieSongReportOperator(
        task_id=REPORT,
        songs=listed.output,
        list_task_id=listed.task_id,
        chain_task_ids=chain,
        trigger_rule=TriggerRule.ALL_DONE,
        **s3,
        **common,
    )
    for name, callback in run_callbacks().items():  # beside those of `default_args`
        setattr(report, name, [callback, *getattr(report, name)])
    song.expand(batch=listed.output) >> report
    return report
