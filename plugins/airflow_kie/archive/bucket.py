"""One bucket: put, read, list and delete, with S3's refusals as typed errors.

Works with any S3 service, so nothing rests on conditional writes, stored checksums or lasting object metadata: some
services ignore or forget them. The size is compared after every upload, the SHA-256 stands in the manifest.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from airflow_kie.archive.conditional import if_unchanged
from airflow_kie.archive.s3_errors import S3ArgumentsRefused, S3Error, S3NoSuchBucket, S3StoredWrong, s3_errors

# One part in memory at a time: +29 MB for a 200 MB file, where boto3's ten threads take +124 MB.
_PART_BYTES = 8 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_JSON_LIMIT = 16 * 1024 * 1024

_EVERY_REQUEST = frozenset({"ExpectedBucketOwner", "RequestPayer"})
_EVERY_OBJECT = frozenset(
    {
        "ACL",
        "ChecksumAlgorithm",
        "GrantFullControl",
        "SSEKMSEncryptionContext",
        "SSEKMSKeyId",
        "ServerSideEncryption",
        "Tagging",
    }
)
# Covers, audio and lyrics alone: records are read, written again and deleted, which an archive class or a lock forbids.
_FILES_ONLY = frozenset(
    {
        "CacheControl",
        "ContentDisposition",
        "GrantRead",
        "ObjectLockLegalHoldStatus",
        "ObjectLockMode",
        "ObjectLockRetainUntilDate",
        "StorageClass",
    }
)
PUT_ARGUMENTS = _EVERY_REQUEST | _EVERY_OBJECT | _FILES_ONLY
# A record holds labels, prompts and error texts: covers may be public, records are not.
_PUBLIC_ACLS = frozenset({"authenticated-read", "public-read", "public-read-write"})


@dataclass(frozen=True)
class ObjectFacts:
    """What S3 says of an object.

    :param key: its key.
    :param size: bytes.
    :param last_modified: when it was written, by the S3 service's clock.
    :param content_type: MIME type; None in a listing.
    :param sha256: hex digest from the metadata, where the service kept it; None in a listing.
    :param etag: S3's name of this version of the object, with its quotes; None in a listing.
    """

    key: str
    size: int
    last_modified: datetime
    content_type: str | None = None
    sha256: str | None = None
    etag: str | None = None


@dataclass(frozen=True)
class Bucket:
    """A bucket behind a boto3 S3 client.

    :param client: boto3 S3 client, made by whoever holds the credentials.
    :param name: name of the bucket.
    :param extra_args: boto3's own arguments, as S3Hook's ``extra_args`` (:data:`PUT_ARGUMENTS`): encryption and tags
        go with every object, storage class and object lock with covers, audio and lyrics alone, the expected owner
        and the requester with every request.
    :param principal: whose credentials these are (an access key id), named when S3 refuses.
    :raises S3ArgumentsRefused: for an extra argument that is not one of them.
    """

    client: Any
    name: str
    extra_args: Mapping[str, Any] = field(default_factory=dict)
    principal: str = ""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.extra_args) - PUT_ARGUMENTS)
        if unknown:
            raise S3ArgumentsRefused(
                f"{', '.join(unknown)} cannot be passed on; possible are {', '.join(sorted(PUT_ARGUMENTS))}"
            )

    def url(self, key: str) -> str:
        """Return the ``s3://`` name of a key."""
        return f"s3://{self.name}/{key}"

    def put_file(
        self,
        file: BinaryIO,
        key: str,
        *,
        size: int,
        content_type: str,
        sha256: str,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Upload a checked file part by part, then compare the size that S3 holds.

        :param file: seekable binary file; boto3 may close it.
        :param size: bytes that it has.
        :param content_type: MIME type to store.
        :param sha256: hex digest, stored in the object's metadata as ``sha256``.
        :param metadata: further metadata; what is not ASCII is left out, since botocore refuses it. Texts belong into
            the manifest.
        :raises S3Error: its subclass says why. After a wrong size the object is deleted again.
        """
        from boto3.s3.transfer import TransferConfig

        texts = {"sha256": sha256, **(metadata or {})}
        arguments = {
            **self.extra_args,
            "ContentType": content_type,
            "Metadata": {k: v for k, v in texts.items() if v.isascii() and v.isprintable()},
        }
        config = TransferConfig(use_threads=False, multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES)
        file.seek(0)
        with self._errors("PutObject", key):
            self.client.upload_fileobj(file, self.name, key, ExtraArgs=arguments, Config=config)
        stored = self.head(key)
        if stored is None or stored.size != size:
            has = "nothing" if stored is None else f"{stored.size} bytes"
            self.delete(key)
            raise S3StoredWrong(f"PutObject on bucket {self.name}, key {key}: {size} bytes sent, {has} stored")

    def put_bytes(self, body: bytes, key: str, *, content_type: str) -> None:
        """Write a small object in one request."""
        with self._errors("PutObject", key):
            self.client.put_object(
                Bucket=self.name, Key=key, Body=body, ContentType=content_type, **self._record_arguments()
            )

    def put_json(self, value: object, key: str) -> None:
        """Write a value as UTF-8 JSON with a stable layout, as people and diffs like to read it."""
        self.put_bytes(_json_bytes(value), key, content_type="application/json")

    def put_json_if_unchanged(self, value: object, key: str, etag: str | None) -> bool:
        """Write a value as JSON unless somebody else has written the object meanwhile.

        A service that does not know conditional requests writes in any case: read back what must not get lost.

        :param etag: of the object as it was read; None: there was no such object.
        :return: False if the object has changed, and nothing was written.
        :raises S3Error: its subclass says why.
        """
        arguments = {
            "Bucket": self.name,
            "Key": key,
            "Body": _json_bytes(value),
            "ContentType": "application/json",
            **self._record_arguments(),
        }
        with self._errors("PutObject", key):
            return if_unchanged(self.client.put_object, arguments, etag)

    def create(self, key: str, body: bytes) -> bool:
        """Write an object unless there is one already; unlike elsewhere the condition is never left out.

        :return: False if there is one, which stays as it is.
        :raises S3Error: its subclass says why.
        """
        from botocore.exceptions import ClientError

        arguments = {"Bucket": self.name, "Key": key, "Body": body, **self._record_arguments()}
        with self._errors("PutObject", key):
            for last in (False, True):
                try:
                    self.client.put_object(**arguments, ContentType="application/json", IfNoneMatch="*")
                    return True
                except ClientError as e:
                    status = e.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                    if status == 412:
                        return False
                    if status != 409 or last:  # 409: another create is under way, and may come to nothing
                        raise
        return False

    def delete_if_unchanged(self, key: str, etag: str | None) -> bool:
        """Delete an object unless somebody else has written it meanwhile.

        A service that does not know conditional requests deletes in any case.

        :param etag: of the object as it was read.
        :return: False if the object has changed, and nothing was deleted.
        :raises S3Error: its subclass says why.
        """
        with self._errors("DeleteObject", key):
            arguments = {"Bucket": self.name, "Key": key, **self.read_arguments}
            return if_unchanged(self.client.delete_object, arguments, etag)

    def get_bytes(self, key: str, *, max_bytes: int = _JSON_LIMIT) -> bytes | None:
        """Return a small object's content, or None if there is no such object.

        :param max_bytes: more than this is refused, so that a stray large object cannot fill the memory.
        :raises ValueError: for an object larger than that.
        :raises S3Error: its subclass says why.
        """
        version = self.get_version(key, max_bytes=max_bytes)
        if version is None:
            return None
        _, content = version
        if len(content) > max_bytes:
            raise ValueError(f"{self.url(key)} is larger than the {max_bytes:,} bytes that are read of it.")
        return content

    def get_version(self, key: str, *, max_bytes: int) -> tuple[ObjectFacts, bytes] | None:
        """Return an object's content and which version of it that is, or None if there is no such object.

        :param max_bytes: of a larger object one byte more than this is returned.
        :raises S3Error: its subclass says why.
        """
        with self._errors("GetObject", key):
            answer = self._get(key)
            if answer is None:
                return None
            with answer["Body"] as body:
                content: bytes = body.read(max_bytes + 1)
        size, written = answer["ContentLength"], answer["LastModified"]
        return ObjectFacts(key, size, written, answer.get("ContentType"), etag=answer["ETag"]), content

    def get_json(self, key: str) -> Any:
        """Return an object's JSON value, or None if there is no such object.

        :raises ValueError: when it is no JSON.
        :raises S3Error: its subclass says why.
        """
        return self.get_json_and_etag(key)[0]

    def get_json_and_etag(self, key: str) -> tuple[Any, str | None]:
        """Return an object's JSON value and its ETag, or None for both if there is no such object.

        :raises ValueError: when it is no JSON.
        :raises S3Error: its subclass says why.
        """
        version = self.get_version(key, max_bytes=_JSON_LIMIT)
        if version is None:
            return None, None
        facts, content = version
        if len(content) > _JSON_LIMIT:
            raise ValueError(f"{self.url(key)} is larger than the {_JSON_LIMIT:,} bytes that are read of it.")
        try:
            return json.loads(content), facts.etag
        except (ValueError, RecursionError) as e:  # also UnicodeDecodeError; brackets without end
            raise ValueError(f"{self.url(key)} is not JSON: {e}.") from e

    def head(self, key: str) -> ObjectFacts | None:
        """Return what S3 says of an object, or None if there is no such object."""
        from botocore.exceptions import ClientError

        with self._errors("HeadObject", key):
            try:
                answer = self.client.head_object(Bucket=self.name, Key=key, **self.read_arguments)
            except ClientError as e:
                if e.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                    return None
                raise
        return ObjectFacts(
            key=key,
            size=answer["ContentLength"],
            last_modified=answer["LastModified"],
            content_type=answer.get("ContentType"),
            sha256=next((v for k, v in answer.get("Metadata", {}).items() if k.lower() == "sha256"), None),
            etag=answer.get("ETag"),
        )

    def read_facts(self, key: str) -> ObjectFacts | None:
        """Read a whole object, piece by piece, and return what it is, or None if there is no such object.

        :return: size and SHA-256 are those of the bytes that were read.
        :raises S3Error: its subclass says why.
        """
        digest, size = hashlib.sha256(), 0
        with self._errors("GetObject", key):
            answer = self._get(key)
            if answer is None:
                return None
            with closing(answer["Body"]) as body:  # entering it gives the raw stream, which checks no length
                for piece in body.iter_chunks(_READ_BYTES):
                    digest.update(piece)
                    size += len(piece)
        return ObjectFacts(key, size, answer["LastModified"], answer.get("ContentType"), digest.hexdigest())

    def _get(self, key: str) -> Any:
        """Return S3's answer with an object, or None if there is no such object."""
        from botocore.exceptions import ClientError

        try:
            return self.client.get_object(Bucket=self.name, Key=key, **self.read_arguments)
        except ClientError as e:
            if e.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
                return None
            raise

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        with self._errors("DeleteObject", key):
            self.client.delete_object(Bucket=self.name, Key=key, **self.read_arguments)

    def move(self, key: str, to: str, *, etag: str | None = None) -> bool:
        """Copy an object inside the bucket, then delete it: a crash in between leaves both.

        Our tags replace the object's own; where we have none, it keeps them.

        :param etag: move this version alone. Every request carries it as a condition, and because some services
            ignore conditions, S3 is also asked which version is there before the copy and before the deletion.
        :return: False where another version is there, or none: it was not deleted.
        """
        if etag and not self._has_version(key, etag):
            return False
        arguments = self._record_arguments()
        if "Tagging" in arguments:
            arguments["TaggingDirective"] = "REPLACE"
        if "ExpectedBucketOwner" in arguments:
            arguments["ExpectedSourceBucketOwner"] = arguments["ExpectedBucketOwner"]
        arguments |= {"Bucket": self.name, "Key": to, "CopySource": {"Bucket": self.name, "Key": key}}
        with self._errors("CopyObject", to):
            if not etag:
                self.client.copy_object(**arguments)
            elif not if_unchanged(self.client.copy_object, arguments, etag, match="CopySourceIfMatch"):
                return False
        if etag:
            return self._has_version(key, etag) and self.delete_if_unchanged(key, etag)
        self.delete(key)
        return True

    def _has_version(self, key: str, etag: str) -> bool:
        there = self.head(key)
        return there is not None and there.etag == etag

    def list(self, prefix: str) -> Iterator[ObjectFacts]:
        """Return the objects under a prefix, page by page, in the order of their keys."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix, **self.read_arguments
        )
        with self._errors("ListBucket", prefix):
            for page in pages:
                for item in page.get("Contents", ()):
                    yield ObjectFacts(item["Key"], item["Size"], item["LastModified"])

    def list_folder(self, folder: str) -> Iterator[ObjectFacts | str]:
        """Return what is in a folder itself, page by page: its objects, and the names of the folders in it.

        :param folder: with its slash; what the folders in it hold is not listed.
        """
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=folder, Delimiter="/", **self.read_arguments
        )
        with self._errors("ListBucket", folder):
            for page in pages:
                for item in page.get("Contents", ()):
                    yield ObjectFacts(item["Key"], item["Size"], item["LastModified"])
                yield from (inner["Prefix"] for inner in page.get("CommonPrefixes", ()))

    def probe(self, key: str) -> None:
        """Write and delete a tiny object, to learn now whether the archive will be able to write.

        :param key: :attr:`airflow_kie.archive.layout.ArchiveKeys.probe`.
        :raises S3Error: its subclass says why not.
        """
        self.put_bytes(
            b"This object tests that the archive can be written; it may be deleted.\n", key, content_type="text/plain"
        )
        self.delete(key)

    def try_to_write(self, probe_key: str) -> None:
        """Learn before anything is paid whether the archive can be written; create the bucket on this machine's S3.

        :param probe_key: :attr:`airflow_kie.archive.layout.ArchiveKeys.probe`.
        :raises S3Error: its subclass says why not.
        """
        self.create_on_loopback()
        self.probe(probe_key)

    def create_on_loopback(self) -> bool:
        """Create the bucket if it is missing and the S3 server is this machine's own.

        :return: True if it was created now.
        :raises S3NoSuchBucket: when it is missing anywhere else: there a person decides who owns it and where.
        """
        from botocore.exceptions import ClientError

        try:
            with self._errors("HeadBucket"):
                self.client.head_bucket(Bucket=self.name, **self._owner_argument())
        except S3Error as e:
            missing = isinstance(e.__cause__, ClientError) and e.facts.code == 404
            if not missing:
                raise
            if not _is_loopback(self.client.meta.endpoint_url):
                raise S3NoSuchBucket(f"HeadBucket on bucket {self.name}", code=404) from e
            with self._errors("CreateBucket"):
                self.client.create_bucket(Bucket=self.name)
            return True
        return False

    def _errors(self, action: str, key: str = "") -> AbstractContextManager[None]:
        return s3_errors(action, self.name, key, self.principal)

    @property
    def read_arguments(self) -> dict[str, Any]:
        """What goes with every request, of the arguments that objects are written with."""
        return {k: v for k, v in self.extra_args.items() if k in _EVERY_REQUEST}

    def _owner_argument(self) -> dict[str, Any]:
        return {k: v for k, v in self.extra_args.items() if k == "ExpectedBucketOwner"}

    def _record_arguments(self) -> dict[str, Any]:
        """Return what goes with manifests, pending records, the probe, and what is moved in the inbox."""
        public = self.extra_args.get("ACL") in _PUBLIC_ACLS
        withheld = _FILES_ONLY | {"ACL"} if public else _FILES_ONLY
        return {k: v for k, v in self.extra_args.items() if k not in withheld}


def _json_bytes(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def _is_loopback(endpoint_url: str) -> bool:
    host = urlsplit(endpoint_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
