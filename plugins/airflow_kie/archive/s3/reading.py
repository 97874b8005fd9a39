"""Read large objects into files: memory stays the same whatever their size."""

from __future__ import annotations

from contextlib import closing
from typing import BinaryIO

from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import ArchiveUnreadable, s3_errors

_PIECE = 1024 * 1024


def read_into(bucket: Bucket, key: str, file: BinaryIO, *, max_bytes: int) -> str | None:
    """Write an object's content to the end of a file, and return its ETag; None where it does not exist.

    :param bucket: where.
    :param key: the object.
    :param file: binary file.
    :param max_bytes: a larger object is refused.
    :raises ArchiveUnreadable: when it is larger.
    :raises S3Error: its subclass says why it cannot be read.
    """
    from botocore.exceptions import ClientError

    size = 0
    with s3_errors("GetObject", bucket.name, key, bucket.principal):
        try:
            answer = bucket.client.get_object(Bucket=bucket.name, Key=key, **bucket.read_arguments)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
                return None
            raise
        with closing(answer["Body"]) as body:
            for piece in body.iter_chunks(_PIECE):
                size += len(piece)
                if size > max_bytes:
                    raise ArchiveUnreadable(f"{bucket.url(key)} is larger than the {max_bytes:,} bytes that are read")
                file.write(piece)
    return str(answer.get("ETag") or "")
