"""Paid tasks that nobody has archived yet, as the archive of `[kie]` records them; nothing here ever stops a task."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_kie import settings
from airflow_kie.archive.unarchived import Unarchived, drop_unarchived
from airflow_kie.client.errors import KieError
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.hooks.archive import configured_archive

if TYPE_CHECKING:
    from airflow_kie.hooks.connected import Connected

log = logging.getLogger(__name__)


def is_recorded(kind: TaskOperation) -> bool:
    """Return whether tasks of an operation are recorded: those that are paid for, where `[kie]` names a bucket."""
    return bool(settings.text("bucket")) and not kind.free and settings.flag("record_unarchived", True)


def record_made(hook: Connected, kind: TaskOperation, task_id: str, ti: Any, source_id: str | None, to: str) -> None:
    """Record that KIE has made a task whose results are not archived yet.

    :param hook: the account.
    :param kind: the operation.
    :param task_id: KIE's id.
    :param ti: the task instance that has paid for it.
    :param source_id: what it is made from.
    :param to: where its results go, ``s3://bucket/prefix``; empty: the archive of `[kie]`, or nowhere.
    """
    try:
        bucket, keys = configured_archive()
        Unarchived(
            operation=kind.name,
            task_id=task_id,
            kie_conn_id=hook.kie_conn_id,
            made_at=datetime.now(UTC),
            dag_id=ti.dag_id or None,
            run_id=ti.run_id or None,
            airflow_task_id=ti.task_id,
            source_id=source_id,
            to=to or None,
        ).write(bucket, keys)
    except KieError as error:
        log.warning("KIE task %s could not be recorded as not archived yet, so no alert counts it. %s", task_id, error)


def record_archived(kind: TaskOperation, task_id: str) -> None:
    """Delete the record of a task whose results are archived.

    :param kind: the operation.
    :param task_id: KIE's id.
    """
    if not is_recorded(kind):
        return
    try:
        bucket, keys = configured_archive()
        drop_unarchived(bucket, keys, kind.name, task_id)
    except KieError as error:
        log.warning("KIE task %s is archived, but its record as not archived could not be deleted. %s", task_id, error)
