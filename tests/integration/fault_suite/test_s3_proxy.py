"""The proxy of the fault suite before a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError

from fault_suite.s3_proxy import Rule, S3Proxy
from s3_servers import S3Server, rclone_s3

BUCKET = "songs"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with rclone_s3(tmp_path_factory.mktemp("proxied")) as running:
        running.client().create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture
def proxy(server: S3Server) -> Iterator[S3Proxy]:
    with S3Proxy(lambda: server.endpoint_url) as proxy:
        yield proxy


def through(proxy: S3Proxy, server: S3Server, attempts: int = 1) -> Any:
    """Return a client that asks so many times by itself."""
    there = S3Server(proxy.url, server.access_key, server.secret_key)
    return there.client(retries={"total_max_attempts": attempts})


def test_what_no_rule_means_passes_through_unchanged(proxy: S3Proxy, server: S3Server) -> None:
    client = through(proxy, server)
    body = bytes(range(256)) * 40_000
    client.put_object(Bucket=BUCKET, Key="été/whole", Body=body)
    assert client.get_object(Bucket=BUCKET, Key="été/whole")["Body"].read() == body
    assert client.head_object(Bucket=BUCKET, Key="été/whole")["ContentLength"] == len(body)
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET, Prefix="été/")["Contents"]] == ["été/whole"]


def test_an_error_is_answered_with_its_code_and_nothing_reaches_s3(proxy: S3Proxy, server: S3Server) -> None:
    rule = proxy.add(Rule("error", "/denied", ("PUT",), status=403, code="AccessDenied"))
    with pytest.raises(ClientError, match="AccessDenied"):
        through(proxy, server).put_object(Bucket=BUCKET, Key="denied", Body=b"x")
    assert rule.struck == 1
    assert server.root is not None
    assert not (server.root / BUCKET / "denied").exists()


def test_a_reset_in_the_middle_of_an_upload_leaves_no_object(proxy: S3Proxy, server: S3Server) -> None:
    proxy.add(Rule("reset_mid_upload", "/half", ("PUT",)))
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        through(proxy, server).put_object(Bucket=BUCKET, Key="half", Body=b"x" * 1_000_000)
    assert server.root is not None
    assert not (server.root / BUCKET / "half").exists()


def test_a_rule_lets_pass_what_it_is_told_and_strikes_so_often(proxy: S3Proxy, server: S3Server) -> None:
    rule = proxy.add(Rule("error", "/counted", ("PUT",), times=2, skip=1))
    client = through(proxy, server)
    done = []
    for _ in range(4):
        try:
            client.put_object(Bucket=BUCKET, Key="counted", Body=b"x")
            done.append(True)
        except ClientError:
            done.append(False)
    assert (done, rule.struck) == ([True, False, False, True], 2)


def test_a_rule_that_was_removed_strikes_no_more(proxy: S3Proxy, server: S3Server, tmp_path: Path) -> None:
    rule = proxy.add(Rule("error", "", times=-1))
    proxy.remove(rule)
    through(proxy, server).put_object(Bucket=BUCKET, Key="again", Body=b"x")
    assert rule.struck == 0
