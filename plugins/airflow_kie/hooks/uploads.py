"""Files in S3 that requests refer to: they are uploaded to KIE, and only the account's record has their addresses.

A request refers to such a file as ``kie-upload:<digest>``. The reference is not a secret, and stays the same when the
file has to be uploaded again. It is replaced by the address when the request is sent. An unknown reference is an error:
a text from outside cannot make this Airflow send a file.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_kie import settings
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.s3.address import bucket_and_key
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.account import UPLOADED
from airflow_kie.client.redact import map_texts
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.lifecycle.identity import digest_of

if TYPE_CHECKING:
    from airflow_kie.archive.s3.bucket import Bucket
    from airflow_kie.hooks.connected import Connected

log = logging.getLogger(__name__)

LEFT = timedelta(hours=2)
"""How long an upload still has to live when a request with it is sent: KIE reads it when it begins with the task."""


@dataclass(frozen=True)
class UploadRecord:
    """What is known of a file that KIE was given.

    :param source: its address in S3.
    :param etag: of the object as it was read.
    :param aws_conn_id: the connection that reads it.
    :param url: where KIE reads it.
    :param expires_at: ISO time at which KIE deletes it.
    """

    source: str
    etag: str
    aws_conn_id: str
    url: str = field(repr=False)
    expires_at: str

    @property
    def lives(self) -> bool:
        """Whether KIE has it long enough for a task."""
        return datetime.fromisoformat(self.expires_at) - datetime.now(UTC) > LEFT


def give(hook: Connected, source: str, aws_conn_id: str | None) -> str:
    """Upload an S3 object to KIE, unless KIE has that version already, and return the reference for requests.

    :param hook: the account.
    :param source: ``s3://bucket/key``.
    :param aws_conn_id: Airflow connection that reads it.
    :raises KieInvalidRequest: when the object does not exist, is empty or too large, or `[kie] bucket` is not set.
    :raises KieError: whatever KIE's code means.
    """
    bucket, key = bucket_and_key(source)
    facts = open_bucket(aws_conn_id, bucket).head(key) if key else None
    if facts is None:
        raise KieInvalidRequest(f"s3://{bucket}/{key} does not exist; nothing was sent to KIE")
    if not 0 < facts.size <= _most_bytes():
        limit = f"[kie] max_file_mb allows 1 to {_most_bytes():,}"
        raise KieInvalidRequest(f"s3://{bucket}/{key} has {facts.size:,} bytes, {limit}; nothing was sent to KIE")
    digest = digest_of({"account": hook.account.spending_name, "source": f"{bucket}/{key}", "etag": facts.etag})
    reference = f"{UPLOADED}{digest}"
    known = _read(hook, reference)
    if known is None or not known.lives:
        _send(hook, reference, f"s3://{bucket}/{key}", facts.etag or "", aws_conn_id or "")
    return reference


def resolved(hook: Connected, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a request with KIE's address in place of each reference; what has expired is given to KIE again.

    :param hook: the account.
    :param body: the request's fields.
    :raises KieInvalidRequest: for an unknown reference, or one whose object has changed.
    """

    def address(text: str) -> str:
        if not text.startswith(UPLOADED):
            return text
        known = _read(hook, text)
        if known is None:
            raise KieInvalidRequest(f"this account has no upload {text[:60]}; nothing was sent to KIE")
        return (known if known.lives else _send(hook, text, known.source, known.etag, known.aws_conn_id)).url

    found: Mapping[str, Any] = map_texts(address, body)
    return found


def _send(hook: Connected, reference: str, source: str, etag: str, aws_conn_id: str) -> UploadRecord:
    bucket, key = bucket_and_key(source)
    with tempfile.TemporaryFile() as opened:
        file = cast("BinaryIO", opened)
        facts = open_bucket(aws_conn_id, bucket).read_facts(key, file, _most_bytes())
        if facts is None or (facts.etag or "") != etag:
            raise KieInvalidRequest(f"{source} has changed since it was uploaded: clear the task that uploads it")
        file.seek(0)
        given = hook.upload(file, name=key.rpartition("/")[2], folder=f"airflow/{reference.removeprefix(UPLOADED)}")
    record = UploadRecord(source, etag, aws_conn_id, given.url, given.expires_at.isoformat())
    archive, record_key = _place(hook, reference)
    archive.put_json(asdict(record), record_key)
    log.info("KIE has %s, %s bytes, until %s.", source, f"{given.size:,}", f"{given.expires_at:%Y-%m-%d %H:%M} UTC")
    return record


def _most_bytes() -> int:
    return int(settings.number("max_file_mb", 500)) * 1024 * 1024


def _read(hook: Connected, reference: str) -> UploadRecord | None:
    bucket, key = _place(hook, reference)
    value = bucket.get_json(key)
    return UploadRecord(**value) if value else None


def _place(hook: Connected, reference: str) -> tuple[Bucket, str]:
    """Return where the record of an upload is.

    :raises KieInvalidRequest: when `[kie] bucket` is not set.
    :raises KeyRefused: when it cannot be a reference.
    """
    if not (name := settings.text("bucket")):
        raise KieInvalidRequest("uploads are recorded in [kie] bucket, which is not set; nothing was sent to KIE")
    keys = ArchiveKeys(settings.text("prefix", "songs"))
    key = keys.upload(hook.account.spending_name, reference.removeprefix(UPLOADED))
    return open_bucket(settings.text("aws_conn_id", "aws_default"), name), key
