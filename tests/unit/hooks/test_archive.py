"""An S3 connection that gives no credentials is told of in S3's words, whoever opens the bucket."""

from __future__ import annotations

import inspect
import json
import socket
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from botocore.loaders import JSONFileLoader

from airflow_kie.archive.s3.errors import S3AccessDenied, S3EndpointWrong, S3Unreachable
from airflow_kie.cli import arguments, verify
from airflow_kie.client.errors import Remedy
from airflow_kie.hooks import archive
from airflow_kie.hooks.archive import open_bucket
from airflow_kie.monitoring import health
from airflow_task import FakeTaskStateStore, health_check
from answering_server import FakeServer, says, serving
from kie_simulator.server import SimulatorServer
from unused_ports import unused_port

DENIED = b"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>User covers is not authorized to perform: sts:AssumeRole</Message></Error>
</ErrorResponse>"""

GRANTED = b"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIA0</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""


@pytest.fixture
def denying() -> Iterator[FakeServer]:
    with serving(says(DENIED, 403)) as server:
        yield server


def with_role(sts: str, **extra: Any) -> str:
    """Return a connection whose role is asked for at an address."""
    service = {"sts": {"endpoint_url": sts, "config_kwargs": {}}}
    base = {"role_arn": "arn:aws:iam::123456789012:role/covers", "region_name": "us-east-1", "service_config": service}
    config = {"retries": {"max_attempts": 0}, "connect_timeout": 5}
    more = base | {"config_kwargs": config} | extra
    return json.dumps({"conn_type": "aws", "login": "AKIA0", "password": "a-secret-key", "extra": more})


def test_a_role_that_may_not_be_taken_on_is_an_access_that_s3_denies(
    denying: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", with_role(denying.url))
    with pytest.raises(
        S3AccessDenied, match=r"GetCredentials on bucket covers: AccessDenied User covers is not"
    ) as told:
        open_bucket("aws_default", "covers")
    assert "a-secret-key" not in str(told.value)


def test_who_cannot_be_reached_for_credentials_is_an_s3_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", with_role(f"http://127.0.0.1:{unused_port()}"))
    with pytest.raises(S3Unreachable):
        open_bucket("aws_default", "covers")


@pytest.mark.parametrize("endpoint", ["s3.example.com", "no address", "http://"])
def test_an_endpoint_that_is_no_address_is_for_a_person_to_mend_and_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", with_role("", endpoint_url=endpoint, role_arn=None))
    with pytest.raises(S3EndpointWrong, match=rf"bucket covers: Invalid endpoint: {endpoint.rstrip(':/')}") as told:
        open_bucket("aws_default", "covers")
    assert told.value.remedy is Remedy.PERSON
    assert "such as https://" in str(told.value)


def test_a_command_for_cron_does_not_take_it_for_a_damaged_archive(
    denying: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", with_role(denying.url))
    with pytest.raises(SystemExit) as ended:
        verify.verify(Namespace(archive="s3://covers/songs", since=None, fast=False, json=False))
    assert ended.value.code == verify.UNREAD
    assert "S3 denied access" in capsys.readouterr().err


def test_whatever_stops_verify_is_no_damaged_archive(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    monkeypatch.setattr(arguments, "open_bucket", lambda *_: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        verify.verify(Namespace(archive="s3://covers/songs", since=None, fast=False, json=False))
    assert ended.value.code == verify.UNREAD
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_kie_ops_reports_it_as_a_bucket_that_refuses_and_checks_the_accounts_too(
    kie: SimulatorServer, denying: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", with_role(denying.url))
    monkeypatch.setenv("AIRFLOW__KIE__BUCKET", "covers")
    monkeypatch.setattr(health, "TRY_AGAIN_AFTER", 0.0)
    kie.control.set_credits(0)
    run = health_check(FakeTaskStateStore())
    with pytest.raises(AirflowFailException) as told:
        run.execute()
    assert "bucket covers refuses GetCredentials (S3 denied access)" in str(told.value)
    assert "credits begins" in str(told.value)


def test_what_botocore_reads_of_s3_is_read_once_for_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load = JSONFileLoader.load_file

    def counted(self: JSONFileLoader, file_path: str) -> Any:
        read.append(file_path)
        return load(self, file_path)

    monkeypatch.setattr(JSONFileLoader, "load_file", counted)
    archive._models.cache_clear()
    for region in ("eu-central-1", "us-east-1", "us-east-1"):
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        connection = {"conn_type": "aws", "login": region, "password": "x", "extra": {"region_name": region}}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        open_bucket("aws_default", "covers")
    assert len([path for path in read if path.endswith("service-2")]) <= 1


def test_a_role_is_taken_on_once_for_a_client_and_for_what_is_said_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(says(GRANTED)) as sts:
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", with_role(sts.url))
        assert (
            open_bucket("aws_default", "covers").principal
            == "role arn:aws:iam::123456789012:role/covers (access key ASIA0)"
        )
    assert len(sts.seen) == 1


def test_nobody_searches_the_stack_for_the_name_in_the_user_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    monkeypatch.setattr(inspect, "stack", lambda: searched.append(1) or [])
    connection = {"conn_type": "aws", "login": "of-this-test", "password": "x"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    bucket = open_bucket("aws_default", "covers")
    assert "Caller/airflow_kie" in bucket.client.meta.config.user_agent_extra
    assert not searched


@pytest.mark.parametrize(("own", "attempts"), [({}, 2), ({"retries": {"total_max_attempts": 3}}, 3)])
def test_for_people_who_wait_an_s3_that_does_not_answer_is_given_up_soon_unless_its_connection_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, own: dict[str, Any], attempts: int
) -> None:
    archive.give_up_soon()
    assert archive._TIMES["connect_timeout"] + archive._TIMES["read_timeout"] <= 30
    monkeypatch.setitem(archive._TIMES, "read_timeout", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        extra = {"endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}", "region_name": "us-east-1"}
        extra["config_kwargs"] = {"s3": {"addressing_style": "path"}, **own}
        connection = {"conn_type": "aws", "login": "AKIA0", "password": "x", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        began = time.monotonic()
        with pytest.raises(S3Unreachable):
            open_bucket("aws_default", "covers").get_json("songs/a/manifest.json")
        assert time.monotonic() - began < 20
        silent.settimeout(0)
        asked = 0
        with pytest.raises(BlockingIOError):
            while True:
                silent.accept()[0].close()
                asked += 1
    assert asked == attempts
