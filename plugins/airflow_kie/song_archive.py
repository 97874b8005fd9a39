"""One song's place in the bucket, opened through an Airflow connection: what operators and DAGs ask of the archive."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_kie import settings
from airflow_kie.archive.bucket import Bucket
from airflow_kie.archive.keys import ArchiveKeys, SongKeys
from airflow_kie.archive.manifest import Manifest, read_manifest
from airflow_kie.archive.pending import (
    Failure,
    Pending,
    delete_pending,
    new_pending,
    note_pending,
    read_pending,
    settle_pending,
)
from airflow_kie.archive.s3_errors import S3ArgumentsRefused, S3EndpointWrong, s3_errors

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

log = logging.getLogger(__name__)


ExtraArgs = Mapping[str, Any] | str | None
"""What goes to S3 with our objects: a map, its JSON text (a template renders to that), or None for the setting."""


def open_bucket(aws_conn_id: str | None, bucket: str, extra_args: ExtraArgs = None) -> Bucket:
    """Return a bucket behind an Airflow connection.

    :param aws_conn_id: Airflow connection of type ``aws``; None or empty: boto3's default credential chain.
    :param bucket: its name.
    :param extra_args: boto3's arguments, see :class:`~airflow_kie.archive.bucket.Bucket`; None: those of
        `[kie] s3_extra_args`.
    :raises S3ArgumentsRefused: when they are no map, or name what cannot be passed on.
    :raises S3Error: when the connection gives no credentials, such as those of a role that it may not take on.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    arguments = _arguments(extra_args)
    hook = S3Hook(aws_conn_id=aws_conn_id or None)
    with s3_errors("GetCredentials", bucket):
        try:
            return Bucket(hook.get_conn(), bucket, arguments, _principal(hook))
        except ValueError as error:  # botocore's for an endpoint that is no address
            raise S3EndpointWrong(f"bucket {bucket}: {str(error).rstrip(': ')}") from error


def _principal(hook: S3Hook) -> str:
    """Return whose credentials are used; nobody knows a role by its access key, which changes every hour."""
    credentials = hook.get_session().get_credentials()
    if credentials is None:
        return "nobody (no credentials were found)"
    role = hook.conn_config.role_arn
    if credentials.method == "assume-role-with-web-identity":  # of a Kubernetes service account
        role = role or os.environ.get("AWS_ROLE_ARN")
    key = f"access key {credentials.access_key}"
    return f"role {role} ({key})" if role else key


def _arguments(extra_args: ExtraArgs) -> Mapping[str, Any]:
    given: Any = settings.text("s3_extra_args") if extra_args is None else extra_args
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else {}
        except ValueError:
            given = None
    if not isinstance(given, Mapping):
        raise S3ArgumentsRefused('they are a map such as {"ServerSideEncryption": "aws:kms"}, written as JSON')
    return given


@dataclass(frozen=True)
class SongArchive:
    """The bucket and the keys of one song.

    :param bucket: where.
    :param keys: the song's keys.
    """

    bucket: Bucket
    keys: SongKeys

    @classmethod
    def open(
        cls,
        aws_conn_id: str | None,
        bucket: str,
        prefix: str,
        music_task_id: str,
        extra_args: ExtraArgs = None,
    ) -> SongArchive:
        """Return the archive of a song; no request is made."""
        return cls(open_bucket(aws_conn_id, bucket, extra_args), ArchiveKeys(prefix).song(music_task_id))

    def manifest(self) -> Manifest | None:
        """Return the song's manifest, None while it is not archived."""
        return read_manifest(self.bucket, self.keys)

    def pending(self) -> Pending | None:
        """Return the song's pending record, None when nothing is owed."""
        return read_pending(self.bucket, self.keys)

    def cover_task_id(self) -> str | None:
        """Return the cover task that is paid for already, as manifest or pending record name it."""
        manifest = self.manifest()
        if manifest and manifest.cover_task_ids:
            return manifest.cover_task_ids[-1]
        pending = self.pending()
        return pending.cover_task_ids[-1] if pending and pending.cover_task_ids else None

    def note(self, *, heard_from: str, **news: Any) -> Pending:
        """Write what is known into the song's pending record; nothing that stands there is lost.

        :param heard_from: event, form, inbox, callback or generate; the first word stays.
        :param news: fields of :class:`~airflow_kie.archive.pending.Pending`.
        """
        record = new_pending(self.keys.music_task_id, heard_from=heard_from, now=datetime.now(UTC))
        return note_pending(self.bucket, self.keys, record.changed(**news))

    def note_cover(self, cover_task_id: str, expires_at: str | None = None) -> None:
        """Write the cover task's id into the pending record, so that no second run pays for the song.

        :param cover_task_id: KIE's id.
        :param expires_at: ISO time at which KIE deletes the song's files, if known.
        """
        self.note(heard_from="form", cover_task_ids=(cover_task_id,), expires_at=_time(expires_at))

    def note_failure(self, reason: str, message: str, title: str | None = None, expires_at: str | None = None) -> None:
        """Write into the pending record why the song is still owed, and what else is known of it.

        :param reason: the error's.
        :param message: what a person reads.
        :param title: what the song is called.
        :param expires_at: ISO time at which KIE deletes the song's files.
        """
        failure = Failure(reason=reason, message=message, at=datetime.now(UTC))
        self.note(heard_from="form", last_failure=failure, title=title, expires_at=_time(expires_at))

    def settle_pending(self) -> Pending | None:
        """Delete the pending record if all that it asks for is in the manifest; return what remains of it."""
        return settle_pending(self.bucket, self.keys)

    def drop_pending(self) -> None:
        """Delete the pending record, whatever it asks for."""
        delete_pending(self.bucket, self.keys)


def _time(text: str | None) -> datetime | None:
    """Return the time that a template rendered to, None where it rendered to nothing."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
