"""Checks of the Airflow around us: bucket, triggerer, pool, DAGs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from airflow_kie import settings
from airflow_kie._airflow_private import metadata
from airflow_kie.archive.inbox.bucket import InboxBucket
from airflow_kie.archive.inbox.objects import shown
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.cli.checks.findings import Finding, Level, failed, finding
from airflow_kie.client.errors import KieError
from airflow_kie.client.task_ids import KeyRefused
from airflow_kie.hooks.archive import open_bucket

TRIGGER = "airflow_kie.triggers.task"
DAGS: Mapping[str, str] = MappingProxyType(
    {
        "music_cover": "Airflow drops events for a paused DAG: songs that become complete now are only found by the "
        "sweep. Unpause it.",
        "cover_inbox": "Nobody reads the inbox, and songs that got lost are not started again. Unpause it.",
        "kie_ops": "Nobody is notified of outages or of files that expire, and its metrics stand still. Unpause it.",
        "music_generate": "Songs cannot be generated from the form. That is right if you do not want them to.",
    }
)
"""DAG → what it means that it is paused."""


def bucket_findings() -> Iterator[Finding]:
    """Write and delete a small object where runs without a form archive to, and try to read and to list there."""
    name, prefix = settings.text("bucket"), settings.text("prefix", "songs")
    if not name:
        yield finding(
            "bucket",
            Level.WARN,
            "No bucket is set in [kie]: events, callbacks and the inbox have nowhere to archive to. Only a form can "
            "name one.",
        )
        return
    try:
        bucket = open_bucket(settings.text("aws_conn_id", "aws_default"), name)
        keys = ArchiveKeys(prefix)
        bucket.try_to_write(keys.probe)
        bucket.get_bytes(keys.probe)  # gone by now: S3 says so to whoever may read and list, and denies it to others
        next(bucket.list(keys.pending), None)
    except (KieError, KeyRefused) as error:
        yield failed("bucket", error)
        return
    told = "An object was written to s3://{bucket} and deleted again; reading and listing are allowed."
    yield finding("bucket", Level.OK, told, bucket=name)


def inbox_findings() -> Iterator[Finding]:
    """Look how long the oldest object in the inbox has waited."""
    name, keys = settings.text("bucket"), ArchiveKeys(settings.text("prefix", "songs"))
    if not name:
        return
    now = datetime.now(UTC)
    try:
        bucket = open_bucket(settings.text("aws_conn_id", "aws_default"), name)
        late = InboxBucket(bucket, keys).late(now, settings.inbox_interval())
    except KieError as error:
        yield failed("inbox", error)
        return
    if late is None:
        yield finding("inbox", Level.OK, "No object has waited in inbox/ for longer than DAG cover_inbox needs.")
        return
    told = "{object} has waited for {minutes} minutes and is not taken. The log of DAG cover_inbox says why."
    waited = round((now - late.last_modified).total_seconds() / 60)
    yield finding("inbox", Level.FAIL, told, object=shown(late.key), minutes=waited)


def triggerer_findings() -> Iterator[Finding]:
    """Look for a triggerer with a fresh heartbeat, and whether our trigger can be imported here."""
    hosts = metadata.living_jobs("TriggererJob")
    if hosts:
        named = ", ".join(sorted(set(hosts)))
        yield finding("triggerer", Level.OK, f"{len(hosts)} alive ({{hosts}}).", hosts=named)
    else:
        yield finding(
            "triggerer",
            Level.FAIL,
            "No triggerer has a fresh heartbeat: songs that wait for KIE are not looked at. Start `airflow triggerer`.",
        )
    try:
        importlib.import_module(TRIGGER)
    except ImportError as error:
        yield failed("trigger", error)
        return
    yield finding(
        "trigger",
        Level.OK,
        f"{TRIGGER} can be imported here; a triggerer on another machine needs the same package.",
    )


def pool_findings() -> Iterator[Finding]:
    """Look for tasks in a pool that does not exist; Airflow says nothing of them."""
    missing = metadata.missing_pools()
    if not missing:
        yield finding("pool", Level.OK, "No task is scheduled in a pool that does not exist.")
    for name in missing:
        text = "Tasks are scheduled in pool {pool}, which does not exist: they wait for ever. Add it in Admin, Pools."
        yield finding("pool", Level.FAIL, text, pool=name)


def dag_findings() -> Iterator[Finding]:
    """Look whether the DAGs are there and not paused."""
    paused = metadata.paused_dags()
    for dag_id, meaning in DAGS.items():
        if dag_id not in paused:
            told = f"{dag_id} is not here. That is right if your own DAGs do its work."
            yield finding("DAG", Level.WARN if dag_id == "music_cover" else Level.OK, told)
        elif paused[dag_id]:
            yield finding("DAG", Level.WARN, f"{dag_id} is paused. {meaning}")
        else:
            yield finding("DAG", Level.OK, f"{dag_id} is there and not paused.")
