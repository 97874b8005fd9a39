"""Each refusal of S3 has its own reason, and names action, bucket, key and S3's own words."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from airflow_kie.archive.s3_errors import S3Error, s3_errors
from airflow_kie.client.errors import Scope


def answered(code: str, words: str = "words", status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": words}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutObject")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (answered("AccessDenied", status=403), "s3_access_denied"),
        (answered("403", "Forbidden", 403), "s3_access_denied"),
        (answered("AccessDenied", "not authorized to perform: kms:GenerateDataKey", 403), "s3_kms_denied"),
        (answered("KMS.DisabledException"), "s3_kms_denied"),
        (answered("NoSuchBucket", status=404), "s3_no_such_bucket"),
        (answered("PermanentRedirect", status=301), "s3_wrong_region"),
        (answered("301", "Moved Permanently", 301), "s3_wrong_region"),
        (answered("AuthorizationHeaderMalformed"), "s3_wrong_region"),
        (answered("ExpiredToken"), "s3_credentials_expired"),
        (answered("InvalidAccessKeyId", status=403), "s3_credentials_wrong"),
        (answered("SignatureDoesNotMatch", status=403), "s3_credentials_wrong"),
        (answered("RequestTimeTooSkewed", status=403), "s3_clock_wrong"),
        (answered("SlowDown", status=503), "s3_slow_down"),
        (answered("503", "Service Unavailable", 503), "s3_slow_down"),
        (answered("InternalError", status=500), "s3_slow_down"),
        (answered("Unheard", status=418), "s3_failed"),
        (NoCredentialsError(), "s3_credentials_wrong"),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), "s3_unreachable"),
        (ConnectTimeoutError(endpoint_url="http://127.0.0.1:9"), "s3_unreachable"),
        (ReadTimeoutError(endpoint_url="http://127.0.0.1:9"), "s3_unreachable"),
    ],
)
def test_a_refusal_has_its_own_reason(error: Exception, reason: str) -> None:
    with pytest.raises(S3Error) as caught, s3_errors("PutObject", "songs", "music/abc/cover-1.png"):
        raise error
    assert caught.value.reason == reason
    assert caught.value.scope is Scope.SERVICE


def test_the_sentence_names_action_bucket_key_and_the_principal_that_aws_names() -> None:
    words = "User: arn:aws:sts::1:assumed-role/airflow is not authorized to perform: s3:PutObject"
    with pytest.raises(S3Error) as caught, s3_errors("PutObject", "songs", "music/abc/cover-1.png"):
        raise answered("AccessDenied", words, 403)
    sentence = str(caught.value)
    for part in ("PutObject", "bucket songs", "key music/abc/cover-1.png", "assumed-role/airflow", "Allow the action"):
        assert part in sentence


def test_an_error_that_is_not_of_s3_passes_through_unchanged() -> None:
    with pytest.raises(KeyError), s3_errors("PutObject", "songs"):
        raise KeyError("x")
