"""One bucket: put, read, list and delete, with S3's refusals as typed errors.

Works with any S3 service, so nothing depends on stored checksums or lasting object metadata: some services ignore or
forget them. After an upload its ETag is compared, or the size that S3 holds; the SHA-256 is in the manifest.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, TypeVar

from airflow_kie.archive.s3 import extra_args
from airflow_kie.archive.s3.conditional import if_unchanged
from airflow_kie.archive.s3.errors import ArchiveUnreadable, S3Error, S3NoSuchBucket, S3StoredWrong, s3_errors
from airflow_kie.archive.s3.objects import (
    ObjectFacts,
    etag_of,
    facts_of,
    is_loopback,
    json_bytes,
    listed,
    part_of,
    whole_of,
)

# One part in memory at a time: +29 MB for a 200 MB file, where boto3's ten threads take +124 MB.
_PART_BYTES = 8 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_JSON_LIMIT = 16 * 1024 * 1024
T = TypeVar("T")


@dataclass(frozen=True)
class Bucket:
    """A bucket behind a boto3 S3 client. Every method raises S3Error where S3 refuses: its subclass says why.

    :param client: boto3 S3 client, which holds the credentials.
    :param name: name of the bucket.
    :param extra_args: boto3's own arguments, see :mod:`airflow_kie.archive.s3.extra_args`.
    :param principal: whose credentials these are (an access key id), named when S3 refuses.
    :param creates_once: the service is known to let one of two writers create an object.
    :raises S3ArgumentsRefused: for an extra argument that is not one of them.
    """

    client: Any
    name: str
    extra_args: Mapping[str, Any] = field(default_factory=dict)
    principal: str = ""
    creates_once: bool = False

    def __post_init__(self) -> None:
        extra_args.check(self.extra_args)

    def url(self, key: str) -> str:
        """Return the ``s3://`` name of a key."""
        return f"s3://{self.name}/{key}"

    def put_file(self, file: BinaryIO, key: str, *, size: int, content_type: str, sha256: str) -> None:
        """Upload a checked file, and make sure that S3 holds all of it.

        The answer to an upload in one part proves it where its ETag is the MD5 of the bytes: S3 computes it from what
        it has received. Otherwise (several parts, encryption by KMS) S3 is asked which size it holds.

        :param file: seekable binary file; boto3 may close it.
        :param size: bytes that it has.
        :param content_type: MIME type to store.
        :param sha256: hex digest, stored in the object's metadata.
        :raises S3StoredWrong: after a wrong size; the object is deleted again.
        """
        arguments = {**self.extra_args, "ContentType": content_type, "Metadata": {"sha256": sha256}}
        file.seek(0)
        with self._errors("PutObject", key):
            if size <= _PART_BYTES:
                answer = self.client.put_object(Bucket=self.name, Key=key, Body=file, **arguments)
                if answer.get("ETag") == etag_of(file, size):
                    return
            else:
                self._put_parts(file, key, arguments)
        self._check_size(key, size)

    def _put_parts(self, file: BinaryIO, key: str, arguments: Mapping[str, Any]) -> None:
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(use_threads=False, multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES)
        self.client.upload_fileobj(file, self.name, key, ExtraArgs=arguments, Config=config)

    def _check_size(self, key: str, size: int) -> None:
        stored = self.head(key)
        if stored is None or stored.size != size:
            has = "nothing" if stored is None else f"{stored.size} bytes"
            self.delete(key)
            raise S3StoredWrong(f"PutObject on bucket {self.name}, key {key}: {size} bytes sent, {has} stored")

    def put_bytes(self, body: bytes, key: str, *, content_type: str) -> None:
        """Write a small object in one request."""
        with self._errors("PutObject", key):
            self.client.put_object(**self._record(key), Body=body, ContentType=content_type)

    def put_json(self, value: object, key: str) -> None:
        """Write a value as UTF-8 JSON with a stable layout, as people and diffs like to read it."""
        self.put_bytes(json_bytes(value), key, content_type="application/json")

    def put_json_if_unchanged(self, value: object, key: str, etag: str | None) -> bool:
        """Write a value as JSON unless another client has written the object meanwhile.

        A service that ignores conditional requests writes in any case: read back what must not get lost.

        :param etag: of the object as it was read; None: it did not exist.
        :return: False if the object has changed, and nothing was written.
        """
        arguments = {**self._record(key), "Body": json_bytes(value), "ContentType": "application/json"}
        with self._errors("PutObject", key):
            return if_unchanged(self.client.put_object, arguments, etag)

    def create(self, key: str, body: bytes) -> bool:
        """Write an object unless there is one already; unlike elsewhere the condition is never left out.

        :return: False if there is one, or another client creates it now; nothing was written.
        """
        arguments = {**self._record(key), "Body": body, "ContentType": "application/json"}
        with self._errors("PutObject", key):
            return if_unchanged(self.client.put_object, arguments, None, only_then=True)

    def delete_if_unchanged(self, key: str, etag: str | None) -> bool:
        """Delete an object unless it has changed since it was read; a service may ignore the condition here too.

        :return: False if the object has changed, and nothing was deleted.
        """
        with self._errors("DeleteObject", key):
            return if_unchanged(self.client.delete_object, self._object(key), etag)

    def get_version(self, key: str, *, max_bytes: int, **part: str) -> tuple[ObjectFacts, bytes] | None:
        """Return which version of an object is there and its content, None where it does not exist.

        :param max_bytes: of a larger object one byte more than this is returned.
        :param part: ``Range="bytes=0-99"`` for these bytes alone.
        """
        with self._errors("GetObject", key):
            answer = self._found(self.client.get_object, key, **part)
            if answer is None:
                return None
            return facts_of(key, answer), part_of(answer, max_bytes) if part else whole_of(answer, max_bytes)

    def get_json(self, key: str) -> Any:
        """Return an object's JSON value, None where it does not exist; see :meth:`get_json_and_etag`."""
        return self.get_json_and_etag(key)[0]

    def get_json_and_etag(self, key: str) -> tuple[Any, str | None]:
        """Return an object's JSON value and its ETag, None for both where it does not exist.

        :raises ArchiveUnreadable: when it is not JSON, or too large.
        """
        version = self.get_version(key, max_bytes=_JSON_LIMIT)
        if version is None:
            return None, None
        facts, content = version
        if len(content) > _JSON_LIMIT:
            raise ArchiveUnreadable(f"{self.url(key)} is larger than the allowed {_JSON_LIMIT:,} bytes")
        try:
            return json.loads(content), facts.etag
        except (ValueError, RecursionError) as e:  # also UnicodeDecodeError; brackets without end
            raise ArchiveUnreadable(f"{self.url(key)} is not JSON: {e}") from e

    def head(self, key: str) -> ObjectFacts | None:
        """Return what S3 says of an object, None where it does not exist."""
        with self._errors("HeadObject", key):
            answer = self._found(self.client.head_object, key)
        if answer is None:
            return None
        return facts_of(key, answer, next((v for k, v in answer["Metadata"].items() if k.lower() == "sha256"), None))

    def read_facts(self, key: str, out: BinaryIO | None = None, max_bytes: float = math.inf) -> ObjectFacts | None:
        """Read a whole object, piece by piece, and return what it is, None where it does not exist.

        :param out: binary file that gets its content.
        :param max_bytes: a larger object is refused.
        :return: size and SHA-256 are those of the bytes that were read.
        :raises ArchiveUnreadable: when it is larger.
        """
        digest, size = hashlib.sha256(), 0
        with self._errors("GetObject", key):
            answer = self._found(self.client.get_object, key)
            if answer is None:
                return None
            with closing(answer["Body"]) as body:  # entering it gives the raw stream, which checks no length
                for piece in body.iter_chunks(_READ_BYTES):
                    digest.update(piece)
                    size += len(piece)
                    if size > max_bytes:
                        raise ArchiveUnreadable(f"{self.url(key)} is larger than the allowed {max_bytes:,} bytes")
                    if out is not None:
                        out.write(piece)
        return replace(facts_of(key, answer, digest.hexdigest()), size=size)

    def _found(self, request: Callable[..., Any], key: str, **arguments: str) -> Any:
        """Return S3's answer about an object, None where it does not exist."""
        from botocore.exceptions import ClientError

        try:
            return request(**self._object(key), **arguments)
        except ClientError as e:
            if e.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
                return None
            raise

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        with self._errors("DeleteObject", key):
            self.client.delete_object(**self._object(key))

    def move(self, key: str, to: str, *, etag: str | None = None) -> bool:
        """Copy an object inside the bucket, then delete it: a crash in between leaves both.

        Our tags replace the object's own; where we have none, it keeps them.

        :param etag: move this version alone; None: the one that is there now. Every request carries it as a condition,
            and because some services ignore conditions, S3 is also asked for it before the copy and the deletion.
        :return: False where another version is there, or none: it was not deleted.
        """
        there = self.head(key)
        if there is None or (etag and there.etag != etag):
            return False
        arguments = {**self._record(to), "CopySource": {"Bucket": self.name, "Key": key}}
        if "Tagging" in arguments:
            arguments["TaggingDirective"] = "REPLACE"
        if "ExpectedBucketOwner" in arguments:
            arguments["ExpectedSourceBucketOwner"] = arguments["ExpectedBucketOwner"]
        with self._errors("CopyObject", to):
            if not if_unchanged(self.client.copy_object, arguments, there.etag, match="CopySourceIfMatch"):
                return False
        now = self.head(key)
        return now is not None and now.etag == there.etag and self.delete_if_unchanged(key, there.etag)

    def list(self, prefix: str) -> Iterator[ObjectFacts]:
        """Return the objects under a prefix, page by page, in the order of their keys."""
        for page in self._pages(prefix):
            yield from listed(page)

    def list_folder(self, folder: str) -> Iterator[ObjectFacts | str]:
        """Return what is in a folder itself, page by page: its objects, and the names of the folders in it.

        :param folder: with its slash; what the folders in it hold is not listed.
        """
        for page in self._pages(folder, Delimiter="/"):
            yield from listed(page)
            yield from (inner["Prefix"] for inner in page.get("CommonPrefixes", ()))

    def _pages(self, prefix: str, **arguments: str) -> Iterator[Any]:
        paginator = self.client.get_paginator("list_objects_v2")
        with self._errors("ListBucket", prefix):
            yield from paginator.paginate(Bucket=self.name, Prefix=prefix, **arguments, **self.read_arguments)

    def probe(self, key: str) -> None:
        """Write and delete a tiny object, to learn now whether the archive will be able to write.

        :param key: :attr:`airflow_kie.archive.layout.ArchiveKeys.probe`.
        """
        text = b"This object tests that the archive can be written; it may be deleted.\n"
        self.put_bytes(text, key, content_type="text/plain")
        self.delete(key)

    def made_if_missing(self, ask: Callable[[], T]) -> T:
        """Return what S3 answers; where the bucket is missing on this machine's own server, it is created first.

        :param ask: makes the requests, once more in that case.
        :raises S3NoSuchBucket: as :meth:`create_on_loopback`.
        """
        try:
            return ask()
        except S3NoSuchBucket:
            self.create_on_loopback()
            return ask()

    def try_to_write(self, probe_key: str) -> None:
        """Learn before anything is paid whether the archive can be written; create the bucket on this machine's S3.

        :param probe_key: :attr:`airflow_kie.archive.layout.ArchiveKeys.probe`.
        """
        self.create_on_loopback()
        self.probe(probe_key)

    def create_on_loopback(self) -> bool:
        """Create the bucket if it is missing and the S3 server is this machine's own.

        :return: True if it was created now.
        :raises S3NoSuchBucket: when it is missing anywhere else: there a person decides who owns it and where.
        """
        owner = {k: v for k, v in self.extra_args.items() if k == "ExpectedBucketOwner"}
        try:
            with self._errors("HeadBucket"):
                self.client.head_bucket(Bucket=self.name, **owner)
        except S3Error as e:
            if e.facts.code != 404:
                raise
            if not is_loopback(self.client.meta.endpoint_url):
                raise S3NoSuchBucket(f"HeadBucket on bucket {self.name}", code=404) from e
            with self._errors("CreateBucket"):
                self.client.create_bucket(Bucket=self.name)
            return True
        return False

    def _errors(self, action: str, key: str = "") -> AbstractContextManager[None]:
        return s3_errors(action, self.name, key, self.principal)

    def _object(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.name, "Key": key, **self.read_arguments}

    def _record(self, key: str) -> dict[str, Any]:
        return {"Bucket": self.name, "Key": key, **extra_args.for_records(self.extra_args)}

    @property
    def read_arguments(self) -> dict[str, Any]:
        """What goes with every request, of the arguments that objects are written with."""
        return extra_args.for_every_request(self.extra_args)
