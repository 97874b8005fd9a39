"""Checks of the Airflow around us: bucket, triggerer, pool, DAGs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from airflow_kie import settings
from airflow_kie._airflow_private import metadata
from airflow_kie.archive.inbox.bucket import InboxBucket
from airflow_kie.archive.inbox.objects import shown
from airflow_kie.client.errors import KieError
from airflow_kie.hooks.archive import configured_archive
from airflow_kie.monitoring.checks.findings import Finding, Level, failed, finding

DAGS: Mapping[str, str] = {
    "music_cover": "Airflow drops events for a paused DAG: songs that finish now are only started by the "
    "reconciliation. Unpause it.",
    "cover_inbox": "The inbox is not read, and songs whose events were lost are not restarted. Unpause it.",
    "kie_ops": "Nobody is notified of outages or expiring files, and its metrics are not updated. Unpause it.",
    "music_generate": "Songs cannot be generated from the form. Ignore this if you do not need it.",
}
"""DAG → what it means that it is paused."""


def bucket_findings() -> Iterator[Finding]:
    """Write and delete a small object where runs without a form archive to, and try to read and to list there."""
    if not settings.text("bucket"):
        none = "No bucket is set in [kie]: events, callbacks and the inbox have no archive. Only a form can name one."
        yield finding("bucket", Level.WARN, none)
        return
    try:
        bucket, keys = configured_archive()
        bucket.try_to_write(keys.probe)
        bucket.get_version(keys.probe, max_bytes=0)  # deleted by now: S3 says so only to those who may read and list
        next(bucket.list(keys.pending), None)
    except KieError as error:
        yield failed("bucket", error)
        return
    written = "An object was written to s3://{bucket} and deleted again; reading and listing are allowed."
    yield finding("bucket", Level.OK, written, bucket=bucket.name)


def inbox_findings() -> Iterator[Finding]:
    """Check how long the oldest object in the inbox has waited."""
    if not settings.text("bucket"):
        return
    now = datetime.now(UTC)
    try:
        late = InboxBucket(*configured_archive()).late(now, settings.inbox_interval())
    except KieError as error:
        yield failed("inbox", error)
        return
    if late is None:
        yield finding("inbox", Level.OK, "No object has been in inbox/ for longer than DAG cover_inbox needs.")
        return
    waiting = "{object} has been in the inbox for {minutes} minutes. The log of DAG cover_inbox says why."
    waited = round((now - late.last_modified).total_seconds() / 60)
    yield finding("inbox", Level.FAIL, waiting, object=shown(late.key), minutes=waited)


def triggerer_findings() -> Iterator[Finding]:
    """Check that a triggerer has a fresh heartbeat."""
    if hosts := metadata.living_jobs("TriggererJob"):
        named = ", ".join(sorted(set(hosts)))
        yield finding("triggerer", Level.OK, f"{len(hosts)} alive ({{hosts}}).", hosts=named)
    else:
        dead = "No triggerer has a fresh heartbeat: nothing reads KIE's results for deferred tasks. "
        yield finding("triggerer", Level.FAIL, f"{dead}Start `airflow triggerer`.")


def pool_findings() -> Iterator[Finding]:
    """Check that no task is scheduled in a pool that does not exist; Airflow says nothing of them."""
    missing = metadata.missing_pools()
    if not missing:
        yield finding("pool", Level.OK, "No task is scheduled in a pool that does not exist.")
    for name in missing:
        text = "Tasks are scheduled in pool {pool}, which does not exist, so they never start. Add it in Admin, Pools."
        yield finding("pool", Level.FAIL, text, pool=name)


def dag_findings() -> Iterator[Finding]:
    """Check that the DAGs are there and not paused."""
    paused = metadata.paused_dags()
    for dag_id, meaning in DAGS.items():
        if dag_id not in paused:
            level = Level.WARN if dag_id == "music_cover" else Level.OK
            yield finding("DAG", level, f"{dag_id} is not installed. Ignore this if your own DAGs do its work.")
        elif paused[dag_id]:
            yield finding("DAG", Level.WARN, f"{dag_id} is paused. {meaning}")
        else:
            yield finding("DAG", Level.OK, f"{dag_id} is installed and not paused.")
