"""The bucket of a stack as code that checks it sees it: objects under paths, read through S3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from local_stack.secret_keys import StackSecrets

_ABSENT = {"404", "NoSuchKey", "NoSuchBucket"}


def s3_client(url: str, secrets: StackSecrets) -> Any:
    """Return a boto3 client of a stack's S3.

    :param url: its address.
    :param secrets: the stack's secrets, with the keys of its S3.
    """
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=secrets.s3_access_key,
        aws_secret_access_key=secrets.s3_secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


@dataclass(frozen=True)
class BucketPath:
    """An object or a folder of objects, with those methods of :class:`pathlib.Path` that its users need.

    :param client: a boto3 client.
    :param bucket: the bucket's name.
    :param key: the object's key, or that of the folder without a slash at its end; empty for the bucket itself.
    """

    client: Any = field(repr=False, compare=False)
    bucket: str
    key: str = ""

    def __truediv__(self, name: str) -> BucketPath:
        """Return what has this name in the folder."""
        return BucketPath(self.client, self.bucket, f"{self.key}/{name}".strip("/"))

    def __str__(self) -> str:
        """Return the ``s3://`` address."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last part of the key; the bucket's name for the bucket itself."""
        return PurePosixPath(self.key).name or self.bucket

    @property
    def parent(self) -> BucketPath:
        """The folder of this."""
        return BucketPath(self.client, self.bucket, self.key.rpartition("/")[0])

    def make_bucket(self) -> None:
        """Make the bucket, unless it is there."""
        errors = self.client.exceptions
        with contextlib.suppress(errors.BucketAlreadyExists, errors.BucketAlreadyOwnedByYou):
            self.client.create_bucket(Bucket=self.bucket)

    def exists(self) -> bool:
        """Return whether the object is there."""
        with contextlib.suppress(FileNotFoundError), self._absence():
            self.client.head_object(Bucket=self.bucket, Key=self.key)
            return True
        return False

    def modified_at(self) -> datetime:
        """Return when S3 says that the object was written."""
        with self._absence():
            found: datetime = self.client.head_object(Bucket=self.bucket, Key=self.key)["LastModified"]
            return found
        raise AssertionError  # the block above returns or raises

    def read_bytes(self) -> bytes:
        """Return the object's content.

        :raises FileNotFoundError: when it is not there.
        """
        with self._absence():
            return bytes(self.client.get_object(Bucket=self.bucket, Key=self.key)["Body"].read())
        raise AssertionError  # the block above returns or raises

    def read_text(self) -> str:
        """Return the object's content as text."""
        return self.read_bytes().decode()

    def write_text(self, text: str) -> None:
        """Write the object."""
        self.client.put_object(Bucket=self.bucket, Key=self.key, Body=text.encode())

    def unlink(self, missing_ok: bool = True) -> None:
        """Delete the object.

        :param missing_ok: as :meth:`pathlib.Path.unlink` has it; S3 does not say that nothing was there.
        """
        self.client.delete_object(Bucket=self.bucket, Key=self.key)

    def iterdir(self) -> Iterator[BucketPath]:
        """Yield the objects and folders in this folder; nothing when there is none."""
        for page in self._pages(Delimiter="/"):
            for found in page.get("CommonPrefixes", ()):
                yield BucketPath(self.client, self.bucket, found["Prefix"].rstrip("/"))
            yield from self._objects(page)

    def objects(self) -> Iterator[BucketPath]:
        """Yield every object in this folder and in the folders below."""
        for page in self._pages():
            yield from self._objects(page)

    def _pages(self, **options: str) -> Iterator[Any]:
        prefix = f"{self.key}/" if self.key else ""
        with contextlib.suppress(FileNotFoundError), self._absence():
            lists = self.client.get_paginator("list_objects_v2")
            yield from lists.paginate(Bucket=self.bucket, Prefix=prefix, **options)

    def _objects(self, page: Any) -> Iterator[BucketPath]:
        for found in page.get("Contents", ()):
            if not found["Key"].endswith("/"):
                yield BucketPath(self.client, self.bucket, found["Key"])

    @contextlib.contextmanager
    def _absence(self) -> Iterator[None]:
        """Turn S3's answer that something is not there into FileNotFoundError."""
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                raise FileNotFoundError(str(self)) from error
            raise


Folder: TypeAlias = Path | BucketPath
"""A bucket, or a folder in it: over S3, or as the folder that some servers keep it in."""
