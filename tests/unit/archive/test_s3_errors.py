"""Each refusal of S3 has its own reason, and names action, bucket, key and S3's own words."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    EndpointResolutionError,
    HTTPClientError,
    IncompleteReadError,
    MissingDependencyException,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
    TokenRetrievalError,
)
from urllib3.exceptions import HTTPError

from airflow_kie.archive.s3 import errors
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3Error, S3Unreachable, s3_errors
from airflow_kie.client.errors import KieError, Remedy, Scope

REACH: dict[type[KieError], tuple[Scope, Remedy]] = {
    errors.S3Error: (Scope.SERVICE, Remedy.RETRY),
    errors.S3AccessDenied: (Scope.SERVICE, Remedy.PERSON),
    errors.S3ArgumentsRefused: (Scope.SERVICE, Remedy.PERSON),
    errors.S3KmsDenied: (Scope.SERVICE, Remedy.PERSON),
    errors.S3NoSuchBucket: (Scope.SERVICE, Remedy.PERSON),
    errors.S3BucketName: (Scope.SERVICE, Remedy.PERSON),
    errors.S3WrongRegion: (Scope.SERVICE, Remedy.PERSON),
    errors.S3CredentialsExpired: (Scope.SERVICE, Remedy.RETRY),
    errors.S3CredentialsWrong: (Scope.SERVICE, Remedy.PERSON),
    errors.S3ClockWrong: (Scope.SERVICE, Remedy.PERSON),
    errors.S3SlowDown: (Scope.SERVICE, Remedy.RETRY),
    errors.S3Unreachable: (Scope.SERVICE, Remedy.RETRY),
    errors.S3EndpointWrong: (Scope.SERVICE, Remedy.PERSON),
    errors.S3NeedsRestore: (Scope.TASK, Remedy.PERSON),
    errors.S3Full: (Scope.SERVICE, Remedy.PERSON),
    errors.S3StoredWrong: (Scope.SERVICE, Remedy.RETRY),
    errors.ArchiveUnreadable: (Scope.TASK, Remedy.PERSON),
}
"""How far each error reaches, and what helps: nothing of S3 is mended by a new paid task."""


def answered(code: str, words: str = "words", status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": words}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutObject")


@pytest.mark.parametrize("error", REACH)
def test_every_error_has_its_reach_and_its_remedy(error: type[KieError]) -> None:
    assert (error.scope, error.remedy) == REACH[error]


def test_the_table_above_holds_every_error_of_the_module() -> None:
    assert {one for one in vars(errors).values() if isinstance(one, type) and one.__module__ == errors.__name__} == {
        *REACH
    }


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (answered("AccessDenied"), "s3_access_denied"),
        (answered("AllAccessDisabled"), "s3_access_denied"),
        (answered("AccountProblem"), "s3_access_denied"),
        (answered("Forbidden"), "s3_access_denied"),
        (answered("403", "Forbidden", 403), "s3_access_denied"),
        (answered("AccessDenied", "not authorized to perform: kms:GenerateDataKey", 403), "s3_kms_denied"),
        (answered("KMS.DisabledException"), "s3_kms_denied"),
        (answered("NoSuchBucket", status=404), "s3_no_such_bucket"),
        (answered("PermanentRedirect"), "s3_wrong_region"),
        (answered("301", "Moved Permanently", 301), "s3_wrong_region"),
        (answered("307", "Temporary Redirect", 307), "s3_wrong_region"),
        (answered("TemporaryRedirect"), "s3_wrong_region"),
        (answered("AuthorizationHeaderMalformed"), "s3_wrong_region"),
        (answered("IllegalLocationConstraintException"), "s3_wrong_region"),
        (answered("ExpiredToken"), "s3_credentials_expired"),
        (answered("ExpiredTokenException"), "s3_credentials_expired"),
        (answered("TokenRefreshRequired"), "s3_credentials_expired"),
        (answered("RequestExpired"), "s3_credentials_expired"),
        (answered("InvalidToken"), "s3_credentials_wrong"),
        (answered("InvalidClientTokenId"), "s3_credentials_wrong"),
        (answered("InvalidAccessKeyId", status=403), "s3_credentials_wrong"),
        (answered("SignatureDoesNotMatch", status=403), "s3_credentials_wrong"),
        (answered("RequestTimeTooSkewed", status=403), "s3_clock_wrong"),
        (answered("InvalidObjectState", status=403), "s3_needs_restore"),
        (answered("QuotaExceeded", status=403), "s3_full"),
        (answered("InsufficientStorage", status=507), "s3_full"),
        (answered("XMinioStorageFull", status=507), "s3_full"),
        (answered("XMinioAdminBucketQuotaExceeded"), "s3_full"),
        (answered("507", "Insufficient Storage", 507), "s3_full"),
        (answered("SlowDown"), "s3_slow_down"),
        (answered("503", "Service Unavailable", 503), "s3_slow_down"),
        (answered("InternalError"), "s3_slow_down"),
        (answered("ServiceUnavailable"), "s3_slow_down"),
        (answered("RequestLimitExceeded"), "s3_slow_down"),
        (answered("ThrottlingException"), "s3_slow_down"),
        (answered("Unheard", status=500), "s3_slow_down"),
        (answered("Unheard", status=502), "s3_slow_down"),
        (answered("Unheard", status=504), "s3_slow_down"),
        (answered("Unheard", status=418), "s3_failed"),
        (answered("AccessControlListNotSupported", "The bucket does not allow ACLs"), "s3_arguments_refused"),
        (answered("MalformedACLError"), "s3_arguments_refused"),
        (answered("InvalidStorageClass"), "s3_arguments_refused"),
        (answered("InvalidTag"), "s3_arguments_refused"),
        (answered("InvalidEncryptionAlgorithmError"), "s3_arguments_refused"),
        (answered("InvalidBucketObjectLockConfiguration"), "s3_arguments_refused"),
        (answered("InvalidRequest", "Bucket is missing Object Lock Configuration"), "s3_arguments_refused"),
        (answered("InvalidRequest", "Missing required header"), "s3_failed"),
        (ParamValidationError(report="Invalid type for parameter StorageClass"), "s3_arguments_refused"),
        (NoCredentialsError(), "s3_credentials_wrong"),
        (PartialCredentialsError(provider="env", cred_var="aws_secret_access_key"), "s3_credentials_wrong"),
        (CredentialRetrievalError(provider="sso", error_msg="ended"), "s3_credentials_expired"),
        (TokenRetrievalError(provider="sso", error_msg="ended"), "s3_credentials_expired"),
        (MissingDependencyException(msg="awscrt"), "s3_bucket_name"),
        (HTTPClientError(error="broken"), "s3_unreachable"),
        (EndpointResolutionError(msg="no endpoint"), "s3_unreachable"),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), "s3_unreachable"),
        (HTTPError("broken"), "s3_unreachable"),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), "s3_unreachable"),
        (ConnectTimeoutError(endpoint_url="http://127.0.0.1:9"), "s3_unreachable"),
        (ReadTimeoutError(endpoint_url="http://127.0.0.1:9"), "s3_unreachable"),
    ],
)
def test_a_refusal_has_its_own_reason(error: Exception, reason: str) -> None:
    with pytest.raises(S3Error) as caught, s3_errors("PutObject", "songs", "music/abc/cover-1.png"):
        raise error
    assert caught.value.reason == reason
    assert caught.value.scope is REACH[type(caught.value)][0]


def test_the_sentence_names_action_bucket_key_and_the_principal_that_aws_names() -> None:
    words = "User: arn:aws:sts::1:assumed-role/airflow is not authorized to perform: s3:PutObject"
    with pytest.raises(S3Error) as caught, s3_errors("PutObject", "songs", "music/abc/cover-1.png"):
        raise answered("AccessDenied", words, 403)
    sentence = str(caught.value)
    for part in ("PutObject", "bucket songs", "key music/abc/cover-1.png", "assumed-role/airflow", "Allow it for the"):
        assert part in sentence


@pytest.mark.parametrize(
    ("action", "right"),
    [
        ("CopyObject", "s3:PutObject here and s3:GetObject at its old key"),
        ("CreateBucket", "s3:CreateBucket"),
        ("DeleteObject", "s3:DeleteObject"),
        ("GetObject", "s3:GetObject"),
        ("HeadBucket", "s3:ListBucket"),
        ("HeadObject", "s3:GetObject"),
        ("ListBucket", "s3:ListBucket"),
        ("PutObject", "s3:PutObject"),
    ],
)
def test_a_denied_request_names_the_right_that_it_needs(action: str, right: str) -> None:
    with pytest.raises(S3Error, match=f"403 Forbidden; this needs {right}"), s3_errors(action, "songs"):
        raise answered("403", "Forbidden", 403)


@pytest.mark.parametrize(
    "name",
    ["s3://my-covers", "my-covers/songs", "arn:aws:s3:::my-covers", "arn:aws:s3::123456789012:accesspoint/a.mrap"],
)
def test_a_bucket_name_that_boto3_cannot_use_is_told_at_once_with_what_can_be_given(name: str) -> None:
    with pytest.raises(S3Error, match=r"my-covers, or the ARN or alias of an access point") as caught:
        Bucket(s3_client(), name).put_json({}, "a")
    assert (caught.value.reason, caught.value.remedy) == ("s3_bucket_name", Remedy.PERSON)
    assert "regex" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("my-covers", "my-covers.s3.eu-central-1.amazonaws.com"),
        ("my.covers", "s3.eu-central-1.amazonaws.com"),  # a certificate for *.s3… does not fit a name with dots
        ("covers-abc123-s3alias", "covers-abc123-s3alias.s3.eu-central-1.amazonaws.com"),
        (
            "arn:aws:s3:us-east-1:123456789012:accesspoint/covers",
            "covers-123456789012.s3-accesspoint.us-east-1.amazonaws.com",
        ),
    ],
)
def test_names_with_dots_and_access_points_reach_their_hosts(name: str, host: str) -> None:
    bucket, asked = Bucket(s3_client(), name), []

    def stop(request: Any, **_: Any) -> None:
        asked.append(urlsplit(request.url).hostname)
        raise EndpointConnectionError(endpoint_url=request.url)

    bucket.client.meta.events.register("before-send.s3", stop)
    image = {"size": 1, "content_type": "image/png", "sha256": "0" * 64}
    for request in (
        bucket.create_on_loopback,
        lambda: bucket.move("a", "b"),
        lambda: list(bucket.list("")),
        lambda: bucket.put_file(io.BytesIO(b"x"), "a", **image),  # type: ignore[arg-type]
    ):
        with pytest.raises(S3Unreachable):
            request()
    assert asked == [host] * 4


def s3_client() -> Any:
    """Return a client for AWS itself, with made-up credentials; nothing is sent."""
    config = Config(retries={"total_max_attempts": 1}, proxies={})
    return boto3.client(
        "s3", region_name="eu-central-1", aws_access_key_id="made-up", aws_secret_access_key="made-up", config=config
    )


def test_an_error_that_is_not_of_s3_passes_through_unchanged() -> None:
    with pytest.raises(KeyError), s3_errors("PutObject", "songs"):
        raise KeyError("x")
