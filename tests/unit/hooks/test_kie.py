"""KieHook: what a task of one's own can ask of KIE without an operator."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_connections import kie_connection
from airflow_kie.client.answers.decode import Invisible, Read
from airflow_kie.client.errors import KieConnectionInvalid, KieInvalidRequest
from airflow_kie.hooks.kie import KieHook, private_hosts, spreads_over_machines
from kie_simulator.server import SimulatorServer


def test_a_task_is_read_once_by_its_kind_and_id(kie: SimulatorServer) -> None:
    [song] = kie.control.make_music("Velvet Harbour")
    answer = KieHook().details("suno.music", song.task_id)
    assert isinstance(answer, Read)
    assert (answer.details.task_id, answer.details.title) == (song.task_id, "Velvet Harbour")
    assert isinstance(KieHook().details("suno.music", "0" * 32), Invisible)


def test_the_balance_is_a_number_of_credits(kie: SimulatorServer) -> None:
    kie.control.set_credits(12.5)
    assert KieHook().credits() == 12.5


def test_no_fresh_link_is_given_for_a_file_that_is_not_kies(kie: SimulatorServer) -> None:
    with pytest.raises(KieInvalidRequest, match="url is wrong"):
        KieHook().download_url("https://example.com/a.png")


def test_files_come_over_http_only_from_hosts_that_are_named_as_simulators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KIE__ALLOW_LOOPBACK_FILES", "False")
    assert private_hosts() == frozenset()
    monkeypatch.setenv("AIRFLOW__KIE__SIMULATOR_HOSTS", "simulator:8000, other:1,")
    assert private_hosts() == {"simulator:8000", "other:1"}


def test_a_connection_to_a_simulator_on_another_machine_needs_its_host_to_be_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = '{"conn_type": "kie", "host": "http://simulator:8000", "password": "key"}'
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", connection)
    with pytest.raises(KieConnectionInvalid, match="clear text"):
        _ = KieHook().account
    monkeypatch.setenv("AIRFLOW__KIE__SIMULATOR_HOSTS", "simulator:8000")
    assert KieHook().account.api_url == "http://simulator:8000"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extra": [1]}, "The extra of connection kie_default is not a JSON object"),
        ({"extra": {"upload_host": {"host": "https://a"}}}, "The upload host of connection kie_default is not"),
        ({"extra": {"callback_url": "https://[::1"}}, "The callback_url of connection kie_default is not an address"),
        ({"host": "https://me:secret@api.kie.ai"}, "The host of connection kie_default has a user name"),
        ({"extra": {"upload_host": "https://me:secret@api.kie.ai"}}, "The upload host .* has a user name"),
    ],
)
def test_a_field_of_another_type_is_an_error_of_the_connection(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    connection = {"conn_type": "kie", "password": "key", **changes}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", json.dumps(connection))
    with pytest.raises(KieConnectionInvalid, match=said) as refused:
        _ = KieHook().account
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("host", [" kieai.redpandaai.co ", "https://kieai.redpandaai.co/ "])
def test_hosts_of_uploads_are_given_as_that_of_the_api_is(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    connection = {"conn_type": "kie", "password": "key", "host": host, "extra": {"upload_host": host}}
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", json.dumps(connection))
    account = KieHook().account
    assert account.api_url == account.upload_url == "https://kieai.redpandaai.co"


@pytest.mark.parametrize("limit", ["twenty", "20.5", [20], 0, "0", -1, 1e400])
def test_a_rate_limit_that_is_no_number_is_an_error_of_the_connection(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, limit: Any
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra={"rate_limit": limit}))
    with pytest.raises(KieConnectionInvalid, match="rate_limit of connection kie_default is not a whole number"):
        KieHook().limiter()


@pytest.mark.parametrize(
    ("executor", "several"),
    [
        ("LocalExecutor", False),
        ("", False),
        (" LocalExecutor ", False),
        ("airflow.executors.local_executor.LocalExecutor", False),
        ("local:LocalExecutor", False),
        ("LocalExecutor;team_a=LocalExecutor", False),
        ("SequentialExecutor", False),
        ("DebugExecutor", False),
        ("CeleryExecutor", True),
        ("airflow.providers.celery.executors.celery_executor.CeleryExecutor", True),
        ("KubernetesExecutor", True),
        ("airflow.providers.edge3.executors.EdgeExecutor", True),
        ("airflow.providers.amazon.aws.executors.ecs.ecs_executor.AwsEcsExecutor", True),
        ("airflow.providers.amazon.aws.executors.batch.AwsBatchExecutor", True),
        ("airflow.providers.amazon.aws.executors.aws_lambda.AwsLambdaExecutor", True),
        ("LocalExecutor,airflow.providers.amazon.aws.executors.batch.AwsBatchExecutor", True),
        ("LocalExecutor;team_a=my.nomad.NomadExecutor", True),
        ("LocalExecutor,remote:my.own.LocalExecutor", True),
        ("LocalKubernetesExecutor", True),
    ],
)
def test_only_airflows_own_local_executors_run_tasks_on_one_machine(
    monkeypatch: pytest.MonkeyPatch, executor: str, several: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    assert spreads_over_machines() is several
