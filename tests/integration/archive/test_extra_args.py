"""Encryption, storage class, tags, locks and the expected owner: what reaches S3 with which object."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_connections import aws_connection
from airflow_kie.archive.layout import ArchiveKeys
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3ArgumentsRefused
from airflow_kie.archive.s3.extra_args import PUT_ARGUMENTS
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.operators.suno import try_to_write
from s3_servers import S3Server, moto_s3

KMS_KEY = "arn:aws:kms:us-east-1:123456789012:key/1b7c0d5e-0000-4000-8000-000000000001"
ENCRYPTED = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KMS_KEY, "Tagging": "team=music&kind=cover"}
LARGE = b"x" * 9_000_000


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with moto_s3() as server:
        yield server


@pytest.fixture
def name(s3: S3Server) -> str:
    made = f"songs-{uuid.uuid4().hex[:12]}"
    s3.client().create_bucket(Bucket=made)
    return made


@pytest.fixture
def connected(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection(s3))


def put(bucket: Bucket, key: str, content: bytes = b"x") -> None:
    digest = hashlib.sha256(content).hexdigest()
    bucket.put_file(io.BytesIO(content), key, size=len(content), content_type="image/png", sha256=digest)


def head(s3: S3Server, name: str, key: str) -> dict[str, Any]:
    facts: dict[str, Any] = s3.client().head_object(Bucket=name, Key=key)
    return facts


def tags(s3: S3Server, name: str, key: str) -> dict[str, str]:
    answer = s3.client().get_object_tagging(Bucket=name, Key=key)
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def everything_written(bucket: Bucket) -> tuple[str, ...]:
    """Write each kind of object that the archive writes, and return their keys: files first, records after."""
    put(bucket, "cover")
    put(bucket, "large", LARGE)
    bucket.put_json({}, "manifest.json")
    bucket.put_bytes(b"text", "reason.txt", content_type="text/plain")
    bucket.put_bytes(b"song", "inbox/a.json", content_type="application/json")
    bucket.move("inbox/a.json", "inbox/done/a.json")
    return ("cover", "large", "manifest.json", "reason.txt", "inbox/done/a.json")


def test_encryption_and_tags_are_on_every_object(s3: S3Server, name: str) -> None:
    for key in everything_written(Bucket(s3.client(), name, ENCRYPTED)):
        facts = head(s3, name, key)
        assert (facts["ServerSideEncryption"], facts["SSEKMSKeyId"]) == ("aws:kms", KMS_KEY), key
        assert tags(s3, name, key) == {"team": "music", "kind": "cover"}, key


def test_an_archive_class_reaches_files_alone_since_records_are_read_again(s3: S3Server, name: str) -> None:
    cover, large, *records = everything_written(Bucket(s3.client(), name, {"StorageClass": "GLACIER"}))
    assert [head(s3, name, key)["StorageClass"] for key in (cover, large)] == ["GLACIER", "GLACIER"]
    assert [key for key in records if "StorageClass" in head(s3, name, key)] == []


def test_an_object_lock_reaches_files_alone_since_records_are_deleted(s3: S3Server) -> None:
    name = f"locked-{uuid.uuid4().hex[:12]}"
    s3.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    locked = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": "2999-01-01T00:00:00Z"}
    cover, _, *records = everything_written(Bucket(s3.client(), name, locked))  # moto forgets it for files in parts
    assert head(s3, name, cover)["ObjectLockMode"] == "COMPLIANCE"
    assert [key for key in records if "ObjectLockMode" in head(s3, name, key)] == []


def grantees(s3: S3Server, name: str, key: str) -> set[str]:
    grants = s3.client().get_object_acl(Bucket=name, Key=key)["Grants"]
    return {grant["Grantee"].get("URI", "owner").rpartition("/")[2] for grant in grants}


def test_covers_may_be_public_and_records_never_are(s3: S3Server, name: str) -> None:
    cover, large, *records = everything_written(Bucket(s3.client(), name, {"ACL": "public-read"}))
    assert [grantees(s3, name, key) for key in (cover, large)] == [{"owner", "AllUsers"}] * 2
    assert [grantees(s3, name, key) for key in records] == [{"owner"}] * 3


def test_an_acl_that_opens_nothing_reaches_every_object(s3: S3Server, name: str) -> None:
    client, sent = s3.client(), []
    client.meta.events.register("before-parameter-build.s3", lambda params, **_: sent.append(params.get("ACL")))
    bucket = Bucket(client, name, {"ACL": "bucket-owner-full-control"})
    bucket.put_json({}, "manifest.json")
    bucket.move("manifest.json", "other.json")
    own = "bucket-owner-full-control"
    assert sent == [own, None, own, None, None]  # it goes with put and copy, not with the reads and the deletion


def test_a_moved_object_gets_the_configured_tags_in_place_of_its_own(s3: S3Server, name: str) -> None:
    s3.client().put_object(Bucket=name, Key="inbox/a.json", Body=b"{}", Tagging="from=label-b")
    Bucket(s3.client(), name, ENCRYPTED).move("inbox/a.json", "inbox/done/a.json")
    assert tags(s3, name, "inbox/done/a.json") == {"team": "music", "kind": "cover"}


def test_a_moved_object_keeps_its_own_tags_where_none_are_configured(s3: S3Server, name: str) -> None:
    s3.client().put_object(Bucket=name, Key="inbox/a.json", Body=b"{}", Tagging="from=label-b")
    Bucket(s3.client(), name).move("inbox/a.json", "inbox/done/a.json")
    assert tags(s3, name, "inbox/done/a.json") == {"from": "label-b"}


def test_the_expected_owner_is_asked_for_by_every_request(s3: S3Server, name: str) -> None:
    asked: list[tuple[str, object]] = []
    client = s3.client()
    client.meta.events.register(
        "before-parameter-build.s3",
        lambda params, model, **_: asked.append((model.name, params.get("ExpectedBucketOwner"))),
    )
    owned = Bucket(client, name, {"ExpectedBucketOwner": "123456789012", "StorageClass": "STANDARD"})
    copies: list[object] = []
    client.meta.events.register(
        "before-parameter-build.s3.CopyObject", lambda params, **_: copies.append(params["ExpectedSourceBucketOwner"])
    )
    owned.try_to_write(ArchiveKeys("music").probe)
    everything_written(owned)
    owned.get_json("manifest.json")
    list(owned.list(""))
    assert {operation for operation, _ in asked} == {
        "HeadBucket", "PutObject", "DeleteObject", "HeadObject", "CreateMultipartUpload", "UploadPart",
        "CompleteMultipartUpload", "CopyObject", "GetObject", "ListObjectsV2",
    }  # fmt: skip
    assert [operation for operation, owner in asked if owner != "123456789012"] == []
    assert copies == ["123456789012"]


@pytest.mark.parametrize("argument", sorted(PUT_ARGUMENTS))
def test_boto3_takes_every_argument_that_we_pass_on(argument: str) -> None:
    from boto3.s3.transfer import S3Transfer

    assert argument in S3Transfer.ALLOWED_UPLOAD_ARGS


# --- where they come from ---


def test_a_run_that_names_none_takes_those_of_the_configuration(
    connected: None, name: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__S3_EXTRA_ARGS", json.dumps(ENCRYPTED))
    open_bucket("aws_default", name).put_json({}, "configured")
    open_bucket("aws_default", name, {}).put_json({}, "without")
    open_bucket("aws_default", name, '{"Tagging": "a=b"}').put_json({}, "as-text")
    assert head(s3, name, "configured")["SSEKMSKeyId"] == KMS_KEY
    assert "SSEKMSKeyId" not in head(s3, name, "without")
    assert tags(s3, name, "as-text") == {"a": "b"}


def test_the_probe_of_the_bucket_is_written_as_everything_else(
    connected: None, name: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.client().put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    try_to_write("aws_default", name, "songs", ENCRYPTED)
    (version,) = s3.client().list_object_versions(Bucket=name)["Versions"]
    facts = s3.client().head_object(Bucket=name, Key="songs/_probe", VersionId=version["VersionId"])
    assert facts["SSEKMSKeyId"] == KMS_KEY


@pytest.mark.parametrize("text", ["AES256", '["AES256"]', '{"ServerSideEncryption"'])
def test_a_setting_that_is_no_map_is_told_in_one_sentence(
    connected: None, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__S3_EXTRA_ARGS", text)
    with pytest.raises(S3ArgumentsRefused, match=r"they are a map such as .*Correct s3_extra_args in the \[kie\]"):
        open_bucket("aws_default", "songs")


@pytest.mark.parametrize("aws_conn_id", [None, ""])
def test_without_a_connection_the_default_credential_chain_gives_the_pods_role(
    aws_conn_id: str | None, name: str, s3: S3Server, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-the-cluster")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))  # as EKS sets them for a service account
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/covers")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    bucket = open_bucket(aws_conn_id, name)
    bucket.put_json({}, "a.json")
    assert bucket.get_json("a.json") == {}
    assert bucket.principal.startswith("role arn:aws:iam::123456789012:role/covers (access key ASIA")
