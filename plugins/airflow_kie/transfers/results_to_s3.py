"""KieResultsToS3Operator: copies the results of any KIE task to S3, complete or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_kie import metrics
from airflow_kie.client.answers.details import ANSWER
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.durable.defaults import labels_in, required
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.retried import KieOperator
from airflow_kie.durable.waiting import read_ended
from airflow_kie.durable.xcom import files_of
from airflow_kie.hooks.kie import KieHook, fetching
from airflow_kie.hooks.once_a_day import as_known
from airflow_kie.lineage.asset_events import NewFiles
from airflow_kie.lineage.facts import TaskLineage, of_archived_task, to_archive_task
from airflow_kie.links.kie import KieLogsLink, S3ObjectLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.archive.layout import TaskKeys
    from airflow_kie.archive.manifest import FileRecord, TaskManifest
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.hooks.archive import ExtraArgs


class KieResultsToS3Operator(KieOperator):
    """Archives the results of any KIE task, and returns what is in the bucket.

    It reads the details from KIE itself. Every file is downloaded, checked by its content, and uploaded unchanged to
    ``<prefix>/_tasks/<operation>/<task id>/<role>-<n>.<extension>``; ``manifest.json`` is written last. Complete files
    are not fetched again. A result that is part of KIE's answer, such as lyrics or MIDI, becomes a file too.

    If a task has succeeded but its answer has an unknown structure, the answer itself is archived as
    ``answer-1.json``, without signatures.

    :param operation: the task's operation, such as ``suno.wav``.
    :param kie_task_id: KIE's id of the finished task.
    :param bucket: name of the bucket; it is created only on this machine's own S3 server.
    :param prefix: key prefix in the bucket.
    :param roles: archive only these roles, such as ``["vocals", "drums"]``, as a list or separated by commas; None:
        all.
    :param labels: your own names for the task, at most 10, as a map or its JSON text; stored in the manifest.
    :param kie_conn_id: Airflow connection of type ``kie``.
    :param aws_conn_id: Airflow connection for S3; None or empty: boto3's default credential chain.
    :param max_file_bytes: largest file to archive, in bytes; None: `[kie] max_file_mb`.
    :param extra_args: for S3, such as ``{"ServerSideEncryption": "aws:kms"}``; None: `[kie] s3_extra_args`.
    :param expires_at: ISO time at which KIE deletes the files: outages are waited out until a day before that.
    """

    template_fields: Sequence[str] = (
        *("kie_task_id", "bucket", "prefix", "roles", "labels"),
        *("kie_conn_id", "aws_conn_id", "extra_args", "expires_at"),
    )
    template_fields_renderers = {"labels": "json", "extra_args": "json"}
    operator_extra_links = (KieLogsLink(), S3ObjectLink())
    ui_color = "#fff4d6"

    def __init__(
        self,
        *,
        operation: str,
        kie_task_id: str,
        bucket: str,
        prefix: str = "",
        roles: Sequence[str] | str | None = None,
        labels: Mapping[str, str] | str | None = None,
        kie_conn_id: str = KieHook.default_conn_name,
        aws_conn_id: str | None = "aws_default",
        max_file_bytes: int | None = None,
        extra_args: ExtraArgs = None,
        expires_at: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.operation = operation
        self.row = task_kind(operation)
        self.kie_task_id = kie_task_id
        self.bucket = bucket
        self.prefix = prefix
        self.roles = roles
        self.labels = labels
        self.kie_conn_id = kie_conn_id
        self.aws_conn_id = aws_conn_id
        self.max_file_bytes = max_file_bytes
        self.extra_args = extra_args
        self.expires_at = expires_at
        self.console_folder: tuple[str, str] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Archive what is missing; return ids, the manifest's key, and each file with its size and SHA-256."""
        required(self.task_id, kie_task_id=self.kie_task_id, bucket=self.bucket)
        self._asked()
        return run_with_outage_backoff(context, lambda: self._execute(context), expires_at=self.expires_at)

    def _asked(self) -> list[str] | None:
        """Return the roles that are requested; None: all.

        :raises KieInvalidRequest: for one that the operation does not have.
        """
        given = self.roles.split(",") if isinstance(self.roles, str) else self.roles
        asked = [role.strip() for role in given or () if role.strip()]
        known = [row.role for row in self.row.results]
        if unknown := [role for role in asked if role not in (*known, ANSWER)]:
            raise KieInvalidRequest(f"{self.row.title} has no role {', '.join(unknown)}, only {', '.join(known)}")
        return asked or None

    def _execute(self, context: Context) -> dict[str, Any]:
        from airflow_kie.archive.index.entry import entry_of
        from airflow_kie.archive.index.segments import Index
        from airflow_kie.archive.layout import ArchiveKeys
        from airflow_kie.archive.manifest import TaskManifest
        from airflow_kie.archive.task_archiver import is_archived
        from airflow_kie.hooks.archive import open_bucket
        from airflow_kie.hooks.unarchived import record_archived

        keys = ArchiveKeys(self.prefix).task(self.operation, self.kie_task_id.strip())
        bucket = open_bucket(self.aws_conn_id, self.bucket, self.extra_args)
        if ".amazonaws.com" in str(bucket.client.meta.endpoint_url):  # other S3 services have no console
            self.console_folder = (self.bucket, keys.folder)
        fetched: tuple[FileRecord, ...] = ()
        new = NewFiles(context, keys.task_id)
        manifest = bucket.made_if_missing(lambda: TaskManifest.read(bucket, keys)[0])
        if manifest and is_archived(bucket, manifest, self._asked()):
            self.log.info("%s already has all requested files; nothing was done.", keys.name)
        else:
            new.begin()
            manifest, fetched = self._archive(bucket, keys, context)
        if added := new.among(manifest):  # also by an attempt that has died, or met an outage, before it listed them
            Index(bucket, ArchiveKeys(self.prefix)).add([entry_of(manifest)])
        record_archived(self.row, keys.task_id)
        metrics.ARCHIVED_BYTES.add(sum(file.size for file in fetched), connection=self.kie_conn_id)
        self._lineage = of_archived_task(self.lineage_at_start(), self.bucket, keys.manifest, manifest, added)
        return {
            "operation": self.operation,
            "task_id": keys.task_id,
            **files_of(self.bucket, keys.manifest, manifest, changed=bool(added)),
        }

    def _archive(self, bucket: Bucket, keys: TaskKeys, context: Context) -> tuple[TaskManifest, tuple[FileRecord, ...]]:
        from airflow_kie.archive.manifest import AirflowRecord
        from airflow_kie.archive.task_archiver import archive_task

        hook = KieHook(self.kie_conn_id)
        return archive_task(
            as_known(hook, bucket),
            keys,
            read_ended(hook, self.operation, keys.task_id),
            AirflowRecord.model_validate(context["ti"], from_attributes=True),
            roles=self._asked(),
            labels=labels_in(self.task_id, self.labels),
            kie_conn_id=self.kie_conn_id,
            account=hook.account.account or None,
            **fetching(hook, self.max_file_bytes),
        )

    def lineage_at_start(self) -> TaskLineage:
        """Return the task whose results are archived."""
        return to_archive_task(self.kie_conn_id, self.operation, self.kie_task_id)
