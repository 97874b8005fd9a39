"""What docs/why-not-a-script.md says of the stock operators in the same job, run against those that are installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.providers.amazon.aws.transfers.http_to_s3 import HttpToS3Operator
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor

from airflow_task import StoredFiles
from answering_server import FakeServer, says, serving

# Airflow's http provider 6.3 imports what Airflow 3.3 has moved.
pytestmark = pytest.mark.filterwarnings("ignore:.*determine_kwargs")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """Give a server that stands for KIE and its CDN, behind the connection ``http_default``."""
    with serving(says({"code": 200, "msg": "success", "data": {"taskId": "1"}})) as server:
        name, _, port = server.url.removeprefix("http://").partition(":")
        connection = {"conn_type": "http", "schema": "http", "host": name, "port": int(port)}
        monkeypatch.setenv("AIRFLOW_CONN_HTTP_DEFAULT", json.dumps(connection))
        yield server


def created(**options: Any) -> Any:
    return HttpOperator(task_id="create", endpoint="/generate", data="{}", **options).execute({})


def copied(bucket: str) -> None:
    HttpToS3Operator(task_id="copy", endpoint="/cover.png", s3_bucket=bucket, s3_key="cover.png").execute({})


@pytest.mark.parametrize("content", [b"", b"<html>expired</html>"], ids=["empty", "page"])
def test_an_empty_file_and_an_error_page_are_stored_and_the_task_succeeds(
    host: FakeServer, archive: StoredFiles, content: bytes
) -> None:
    host.reply = says(content, Content_Type="image/png")
    copied(archive.bucket)
    assert archive.body("cover.png") == content


def test_a_file_shorter_than_announced_is_not_stored(host: FakeServer, archive: StoredFiles) -> None:
    host.reply = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort"
    with pytest.raises(Exception, match="IncompleteRead"):
        copied(archive.bucket)
    assert archive.listed() == []


def test_a_second_run_of_a_song_fails_at_the_key_that_exists(host: FakeServer, archive: StoredFiles) -> None:
    copied(archive.bucket)
    with pytest.raises(ValueError, match="already exists"):
        copied(archive.bucket)


def test_a_retry_asks_for_the_same_dead_link(host: FakeServer, archive: StoredFiles) -> None:
    host.reply = says(b"", status=403)
    for _ in range(2):
        with pytest.raises(Exception, match="403"):
            copied(archive.bucket)
    assert [seen.path for seen in host.seen] == ["/cover.png"] * 2


def test_each_attempt_sends_the_create_again_and_without_a_timeout(
    host: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[Any] = []

    def noting(send: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            timeouts.append(kwargs.get("timeout"))
            return send(*args, **kwargs)

        return noted

    import requests

    monkeypatch.setattr(requests.Session, "send", noting(requests.Session.send))
    created()
    created()
    assert [seen.method for seen in host.seen] == ["POST", "POST"]
    assert timeouts == [None, None]


def test_a_refusal_under_http_200_is_a_success_unless_one_checks_it(host: FakeServer) -> None:
    host.reply = says({"code": 402, "msg": "insufficient credits", "data": None})
    assert json.loads(created())["code"] == 402
    with pytest.raises(Exception, match="Response check returned False"):
        created(response_check=lambda response: response.json()["code"] == 200)


def test_a_kie_that_is_down_fails_the_sensor(host: FakeServer) -> None:
    host.reply = says(b"", status=503)
    with pytest.raises(Exception, match="503"):
        HttpSensor(task_id="wait", endpoint="/record-info", mode="reschedule").poke({})


def test_nothing_is_retried_unless_one_says_so() -> None:
    assert HttpOperator(task_id="create", endpoint="/generate").retries == 0
    assert HttpSensor(task_id="wait", endpoint="/record-info").retries == 0
