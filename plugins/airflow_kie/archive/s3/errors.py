"""What an S3 service can refuse: one class per reason, each naming action, bucket and key, and what a person can do.

All but one of them reach every song of the bucket; what KIE made stays at KIE for 14 days in the meantime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from airflow_kie.client.errors import KieError, Remedy, Scope


class S3Error(KieError, reason="s3_failed", scope=Scope.SERVICE, remedy=Remedy.RETRY):
    """S3 failed in a way that has no reason of its own."""

    what = "S3 failed"
    todo = "If it persists, read the S3 service's log."


class S3AccessDenied(S3Error, reason="s3_access_denied", remedy=Remedy.PERSON):
    """The credentials lack this permission (AccessDenied, or a HEAD's bare 403)."""

    what = "S3 denied access"
    todo = (
        "Allow it for the principal of the S3 connection (policies: docs/iam); "
        "without s3:ListBucket, S3 gives the same answer for missing objects."
    )


class S3ArgumentsRefused(S3Error, reason="s3_arguments_refused", remedy=Remedy.PERSON):
    """`[kie] s3_extra_args`, or the operator's `extra_args`, holds what cannot be passed on, or what S3 refuses."""

    what = "The extra arguments for S3 cannot be used"
    todo = "Correct s3_extra_args in the [kie] configuration, or extra_args of the operator."


class S3KmsDenied(S3Error, reason="s3_kms_denied", remedy=Remedy.PERSON):
    """The bucket's encryption key is disabled, or the principal lacks permission to use it."""

    what = "S3 could not use the encryption key"
    todo = "Enable the key and allow kms:GenerateDataKey and kms:Decrypt on it for the S3 connection's principal."


class S3NoSuchBucket(S3Error, reason="s3_no_such_bucket", remedy=Remedy.PERSON):
    """The bucket does not exist."""

    what = "The S3 bucket does not exist"
    todo = "Create the bucket or correct its name: it is created automatically only on this machine's own S3 server."


class S3BucketName(S3Error, reason="s3_bucket_name", remedy=Remedy.PERSON):
    """What is given as bucket is a URL, a path, or an ARN that cannot be used."""

    what = "Invalid S3 bucket name"
    todo = (
        "Give the bucket's name alone, such as my-covers, or the ARN or alias of an access point (of one region); "
        "the folder in it is the prefix."
    )


class S3WrongRegion(S3Error, reason="s3_wrong_region", remedy=Remedy.PERSON):
    """The bucket lives in another region than the connection says."""

    what = "The S3 bucket is in another region"
    todo = "Set region_name in the S3 connection to the bucket's region."


class S3CredentialsExpired(S3Error, reason="s3_credentials_expired"):
    """Temporary credentials have ended."""

    what = "The S3 credentials have expired"
    todo = "Nothing if a role renews them; otherwise put new ones into the S3 connection."


class S3CredentialsWrong(S3Error, reason="s3_credentials_wrong", remedy=Remedy.PERSON):
    """There are no credentials, or S3 does not know them."""

    what = "S3 does not accept these credentials"
    todo = "Correct access key and secret in the S3 connection, or give this machine a role."


class S3ClockWrong(S3Error, reason="s3_clock_wrong", remedy=Remedy.PERSON):
    """This machine's clock differs by more than S3 accepts (15 minutes)."""

    what = "S3 says that this machine's clock is wrong"
    todo = "Set the machine's clock (NTP)."


class S3SlowDown(S3Error, reason="s3_slow_down"):
    """S3 asks to be asked more slowly, or has a passing trouble of its own (503, 500)."""

    what = "S3 asks to slow down"
    todo = "Nothing: it ends automatically."


class S3Unreachable(S3Error, reason="s3_unreachable"):
    """No answer came from S3."""

    what = "S3 could not be reached"
    todo = "Check the endpoint in the S3 connection and this machine's network."


class S3EndpointWrong(S3Error, reason="s3_endpoint_wrong", remedy=Remedy.PERSON):
    """The endpoint in the S3 connection is not an address."""

    what = "The S3 connection's endpoint is not an address"
    todo = "Write endpoint_url in the S3 connection with its scheme, such as https://s3.example.com."


class S3NeedsRestore(S3Error, reason="s3_needs_restore", scope=Scope.TASK, remedy=Remedy.PERSON):
    """The object was moved to a storage class from which it has to be restored first, such as S3 Glacier."""

    what = "S3 keeps this object in a storage class that cannot be read at once"
    todo = (
        "Restore it (aws s3api restore-object) and run this again; `airflow kie verify --fast` compares sizes without "
        "reading."
    )


class S3Full(S3Error, reason="s3_full", remedy=Remedy.PERSON):
    """The bucket, its owner or the service has no room left, or a quota is used up."""

    what = "S3 has no room left"
    todo = "Raise the quota, or delete what is not needed; KIE keeps what it has made for 14 days."


class S3StoredWrong(S3Error, reason="s3_stored_wrong"):
    """What S3 holds after the upload is not what was sent; it was deleted again."""

    what = "S3 stored a file with a different size than was sent"
    todo = "If it persists, check the S3 service: it loses data."


class ArchiveUnreadable(KieError, reason="archive_unreadable"):
    """A manifest or pending record in the bucket is not what this program or a newer one wrote."""

    what = "A record in the bucket cannot be read"
    todo = (
        "Open the object in the message. If it is damaged, delete it and clear the task: "
        "it is written again, and KIE names the cover task again if it was paid."
    )


# botocore's error code -> what it means here.
_BY_CODE: dict[str, type[S3Error]] = {
    code: error
    for error, codes in {
        S3AccessDenied: "AccessDenied AllAccessDisabled AccountProblem Forbidden 403",
        S3ArgumentsRefused: "AccessControlListNotSupported MalformedACLError InvalidStorageClass InvalidTag "
        "InvalidEncryptionAlgorithmError InvalidBucketObjectLockConfiguration",
        S3NoSuchBucket: "NoSuchBucket",
        S3WrongRegion: "PermanentRedirect TemporaryRedirect AuthorizationHeaderMalformed "
        "IllegalLocationConstraintException 301 307",
        S3CredentialsExpired: "ExpiredToken ExpiredTokenException TokenRefreshRequired RequestExpired",
        S3CredentialsWrong: "InvalidAccessKeyId SignatureDoesNotMatch InvalidToken InvalidClientTokenId",
        S3ClockWrong: "RequestTimeTooSkewed",
        S3NeedsRestore: "InvalidObjectState",
        S3Full: "QuotaExceeded InsufficientStorage XMinioStorageFull XMinioAdminBucketQuotaExceeded 507",
        S3SlowDown: "SlowDown ServiceUnavailable RequestLimitExceeded ThrottlingException InternalError "
        "500 502 503 504",
    }.items()
    for code in codes.split()
}

# botocore's and urllib3's own exceptions (by name, base classes too) -> what they mean here.
_BY_EXCEPTION: dict[str, type[S3Error]] = {
    "NoCredentialsError": S3CredentialsWrong,
    "PartialCredentialsError": S3CredentialsWrong,
    "CredentialRetrievalError": S3CredentialsExpired,
    "TokenRetrievalError": S3CredentialsExpired,
    "MissingDependencyException": S3BucketName,  # an access point of several regions needs the C library awscrt
    "ParamValidationError": S3ArgumentsRefused,
    "ConnectionError": S3Unreachable,
    "HTTPClientError": S3Unreachable,
    "EndpointResolutionError": S3Unreachable,
    "IncompleteReadError": S3Unreachable,
    "HTTPError": S3Unreachable,  # urllib3's, of a body that is read without botocore's checks
}

# What is done -> the right in IAM that it needs.
_RIGHTS = {
    "CopyObject": "s3:PutObject here and s3:GetObject at its old key",
    "CreateBucket": "s3:CreateBucket",
    "DeleteObject": "s3:DeleteObject",
    "GetObject": "s3:GetObject",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListBucket": "s3:ListBucket",
    "PutObject": "s3:PutObject",
}


@contextmanager
def s3_errors(action: str, bucket: str, key: str = "", principal: str = "") -> Iterator[None]:
    """Turn what botocore raises inside the block into the typed error.

    :param action: S3's own word for what is done, such as ``PutObject``.
    :param bucket: name of the bucket.
    :param key: key of the object or prefix of the listing.
    :param principal: whose credentials are used; AWS names it itself in some answers, other services in none.
    :raises S3Error: its subclass says why; the message names action, bucket, key and S3's own message.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    where = f"{action} on bucket {bucket}" + (f", key {key}" if key else "")
    where += f", as {principal}" if principal else ""
    try:
        yield
    except ClientError as e:
        raise _of_answer(e.response, where, _RIGHTS.get(action, "")) from e
    except (BotoCoreError, HTTPError) as e:
        # Two regular expressions follow in the message, of no use to a person.
        raise _of_exception(e)(f"{where}: {str(e).partition(': Bucket name must match')[0]}") from e


def _of_exception(error: Exception) -> type[S3Error]:
    if "Invalid bucket name" in str(error):  # its class is that of wrong arguments in general
        return S3BucketName
    names = (cls.__name__ for cls in type(error).__mro__)
    return next((_BY_EXCEPTION[name] for name in names if name in _BY_EXCEPTION), S3Error)


def _of_answer(response: Mapping[str, Any], where: str, right: str) -> S3Error:
    error = response.get("Error") or {}
    code, text = str(error.get("Code", "")), str(error.get("Message", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    message = f"{where}: {code} {text}".rstrip()
    if code.startswith("KMS.") or ("kms:" in text and code in {"AccessDenied", "403"}):
        return S3KmsDenied(message, code=status)
    if code == "InvalidRequest" and "Object Lock" in text:  # the bucket has none
        return S3ArgumentsRefused(message, code=status)
    found = _BY_CODE.get(code) or _BY_CODE.get(str(status)) or S3Error
    if found is S3AccessDenied and right:
        message = f"{message.rstrip('.')}; this needs {right}"
    return found(message, code=status)
