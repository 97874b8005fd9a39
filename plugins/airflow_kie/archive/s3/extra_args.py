"""boto3's own arguments that people may pass on (`[kie] s3_extra_args`, as S3Hook's ``extra_args``), and with what.

Encryption and tags go with every object, storage class and object lock with covers, audio and lyrics alone, the
expected owner and the requester with every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_kie.archive.s3.errors import S3ArgumentsRefused

_EVERY_REQUEST = frozenset({"ExpectedBucketOwner", "RequestPayer"})
_EVERY_OBJECT = frozenset({
    "ACL", "ChecksumAlgorithm", "GrantFullControl", "SSEKMSEncryptionContext", "SSEKMSKeyId", "ServerSideEncryption",
    "Tagging",
})  # fmt: skip
# Covers, audio and lyrics alone: records are read, written again and deleted, which an archive class or a lock forbids.
_FILES_ONLY = frozenset({
    "CacheControl", "ContentDisposition", "GrantRead", "ObjectLockLegalHoldStatus", "ObjectLockMode",
    "ObjectLockRetainUntilDate", "StorageClass",
})  # fmt: skip
PUT_ARGUMENTS = _EVERY_REQUEST | _EVERY_OBJECT | _FILES_ONLY
# A record holds labels, prompts and error texts: covers may be public, records are not.
_PUBLIC_ACLS = frozenset({"authenticated-read", "public-read", "public-read-write"})


def check(extra_args: Mapping[str, Any]) -> None:
    """Raise S3ArgumentsRefused for an argument that cannot be passed on."""
    if unknown := sorted(set(extra_args) - PUT_ARGUMENTS):
        possible = ", ".join(sorted(PUT_ARGUMENTS))
        raise S3ArgumentsRefused(f"{', '.join(unknown)} cannot be used; allowed: {possible}")


def for_every_request(extra_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes with every request."""
    return {k: v for k, v in extra_args.items() if k in _EVERY_REQUEST}


def for_records(extra_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes with manifests, pending records, the probe, and what is moved in the inbox."""
    withheld = _FILES_ONLY | {"ACL"} if extra_args.get("ACL") in _PUBLIC_ACLS else _FILES_ONLY
    return {k: v for k, v in extra_args.items() if k not in withheld}
