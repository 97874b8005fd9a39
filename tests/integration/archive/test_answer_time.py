"""An S3 that sends a byte now and then, for ever, holds nobody for ever."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_kie.archive.s3 import answer_time
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.s3.errors import S3Unreachable
from airflow_kie.hooks.archive import open_bucket
from answering_server import FakeServer, serving

HEAD = b"HTTP/1.1 200 OK\r\nLast-Modified: Sun, 22 Nov 2026 12:00:00 GMT\r\nContent-Length: 1000000\r\n"
LARGE = 5_000_000
"""Bytes with which boto3 asks S3 to say `100 Continue` first."""


def drip(sent: bytes) -> Callable[[Any], Any]:
    """Answer with the bytes and then one more every 20 ms until the client leaves."""

    def script(request: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            request.wfile.write(sent)
            while True:
                request.wfile.write(b"x")
                Event().wait(0.02)

    return lambda _: script


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeServer], Bucket]:
    """Open a bucket whose answers are waited for a quarter of a second, once each."""
    monkeypatch.setattr(answer_time, "ANSWER_SECONDS", 0.25)

    def open_at(server: FakeServer) -> Bucket:
        config = {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, "proxies": {}}
        extra = {"endpoint_url": server.url, "region_name": "us-east-1", "config_kwargs": config}
        connection = {"conn_type": "aws", "login": "AKIA0", "password": "a-secret-key", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        return open_bucket("aws_default", "covers")

    return open_at


def requests(bucket: Bucket) -> Iterator[Callable[[], object]]:
    yield lambda: bucket.get_json("a")
    yield lambda: bucket.get_version("a", max_bytes=65_536, Range="bytes=0-99")
    yield lambda: bucket.read_facts("a")
    yield lambda: bucket.read_facts("a", io.BytesIO(), 10_000_000)
    yield lambda: list(bucket.list("songs/"))


@pytest.mark.parametrize("sent", [b"HTTP/1.1 200 OK\r\nX-Slow: ", HEAD + b"\r\n"], ids=["head", "body"])
def test_an_answer_that_drips_without_end_is_given_up(opened: Callable[[FakeServer], Bucket], sent: bytes) -> None:
    with serving(drip(sent)) as server:
        for request in requests(opened(server)):
            with pytest.raises(S3Unreachable):
                request()
        while len(server.seen) < 5:  # the last one may be taken only after it was given up
            Event().wait(0.01)
        assert len(server.seen) == 5


@pytest.mark.parametrize("sent", [b"HT", b"HTTP/1.1 200 OK\r\nX-Slow: "], ids=["status", "head"])
def test_an_upload_whose_answer_drips_without_end_is_given_up(
    opened: Callable[[FakeServer], Bucket], sent: bytes
) -> None:
    with serving(drip(sent)) as server:
        bucket = opened(server)
        for body in (b"{}", b"x" * LARGE):
            with pytest.raises(S3Unreachable):
                bucket.put_bytes(body, "a", content_type="text/plain")


def test_time_in_which_nobody_waits_for_s3_does_not_count(
    opened: Callable[[FakeServer], Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = itertools.count(0, 3600)
    now = SimpleNamespace(value=0)
    monkeypatch.setattr(answer_time, "time", SimpleNamespace(monotonic=lambda: now.value))
    whole = HEAD.replace(b"1000000", b"300000") + b"\r\n" + b"x" * 300_000
    with serving(lambda _: whole) as server:
        body = opened(server).client.get_object(Bucket="covers", Key="a")["Body"]
        came = b""
        while piece := body.read(65_536):  # by somebody who takes an hour for each
            came += piece
            now.value = next(hours)
        assert came == b"x" * 300_000


def test_a_botocore_without_its_table_of_connections_works_without_the_bound(caplog: pytest.LogCaptureFixture) -> None:
    client = SimpleNamespace()
    assert answer_time.bound_waiting(client) is client
    assert "never ends has no timeout" in caplog.text
