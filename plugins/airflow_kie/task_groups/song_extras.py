"""Song extras as a task group: plan → each extra on its own, and MIDI after the stems that it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import TriggerRule

from airflow_kie import settings
from airflow_kie.archive.extras.table import EXTRAS
from airflow_kie.client.operations.operation import CallOperation
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.song_extras import KieSongExtraOperator, KieSongExtrasPlanOperator
from airflow_kie.operators.timed_lyrics import KieTimedLyricsOperator
from airflow_kie.task_groups.music_cover import RETRY_DELAY


def song_extras(
    songs: Any = None,
    *,
    extras: Any = None,
    take: str | int = "chosen",
    bucket: str = "",
    prefix: str = "",
    kie_conn_id: str = "",
    aws_conn_id: str | None = None,
    extra_args: Mapping[str, Any] | str | None = None,
    deferrable: bool = True,
) -> Any:
    """Add the extras of archived songs to a DAG: one task per extra, skipped if the extra is not requested.

    :param songs: the songs' ids, see :class:`~airflow_kie.operators.song_extras.KieSongExtrasPlanOperator`.
    :param extras: the extras to make of each song, see there.
    :param take: the takes to make them from, see there.
    :param bucket: bucket of the archive; empty: `[kie] bucket`.
    :param prefix: key prefix in the bucket; empty: `[kie] prefix`.
    :param kie_conn_id: Airflow connection of the KIE account that made the songs; empty: as their manifests say.
    :param aws_conn_id: Airflow connection for S3; None: `[kie] aws_conn_id`.
    :param extra_args: for S3; None: `[kie] s3_extra_args`.
    :param deferrable: wait in the triggerer.
    :return: the first task, the plan.
    """
    aws = settings.text("aws_conn_id", "aws_default") if aws_conn_id is None else aws_conn_id
    common: dict[str, Any] = {"aws_conn_id": aws, "extra_args": extra_args, "retry_delay": RETRY_DELAY}
    made_from: dict[str, Any] = {"songs": songs, "extras": extras, "take": take, "kie_conn_id": kie_conn_id}
    plan = KieSongExtrasPlanOperator(task_id="plan", bucket=bucket, prefix=prefix, **made_from, **common)
    common["plan"] = plan.output
    planned = f"(ti.xcom_pull('{plan.task_id}') or {{}}).get('kie_conn_id', '{KieHook.default_conn_name}')"
    common["kie_conn_id"] = f"{{{{ {planned} }}}}"
    made: dict[str, Any] = {}
    for name, extra in EXTRAS.items():
        if isinstance(extra.operation, CallOperation):
            made[name] = KieTimedLyricsOperator(task_id=name, **common)
            continue
        # What another extra is made from may have failed for one song, or not have been asked for.
        rule = TriggerRule.ALL_DONE if extra.needs else TriggerRule.ALL_SUCCESS
        made[name] = KieSongExtraOperator(task_id=name, extra=name, deferrable=deferrable, trigger_rule=rule, **common)
        for need in extra.needs:
            made[need] >> made[name]
    return plan
