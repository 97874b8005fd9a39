"""What a stack uses: the simulator or the real KIE, its own S3 or the person's, and what its processes may know."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import pytest

from local_stack import database, postgres
from local_stack.environment import airflow_environment, base_environment
from local_stack.keeper import START_SECONDS
from local_stack.parts import simulator_part
from local_stack.s3 import PORTS, s3_part
from local_stack.secret_keys import keep_secrets
from local_stack.settings import StackSettings, demo_settings, up_settings

URLS = {
    "simulator": "http://127.0.0.1:4001",
    "s3": "http://127.0.0.1:4002",
    "postgres": "postgresql://127.0.0.1:4004",
}
PERSON = {
    "KIE_API_KEY": "their-kie-key",
    "AWS_ACCESS_KEY_ID": "their-aws-key",
    "AIRFLOW_HOME": "/their/airflow",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://their/database",
    "AIRFLOW__KIE__ARCHIVE_AUDIO": "True",
    "AIRFLOW_CONN_KIE_LABEL_B": "kie://:other@",
    "WEED_JWT_SIGNING_KEY": "theirs",
    "PYTHONDONTWRITEBYTECODE": "1",
    "NO_PROXY": "intranet.example",
    "HTTPS_PROXY": "http://proxy.example:3128",
    "HOME": "/home/them",
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stacks be in the test's folder."""
    monkeypatch.setenv("KIE_STACK_DIR", str(tmp_path / "local"))


def environment_of(settings: StackSettings, person: dict[str, str]) -> dict[str, str]:
    """Return the environment of a stack's Airflow."""
    base = base_environment("mark", person, keep_aws=settings.real_s3)
    return airflow_environment(base, settings, keep_secrets(settings.home), 4003, URLS, person)


def test_without_keys_up_uses_the_simulator_and_its_own_s3() -> None:
    settings = up_settings({})
    assert not settings.real_kie
    assert not settings.real_s3


def test_with_a_key_up_asks_the_real_kie_and_archives_locally() -> None:
    settings = up_settings({"KIE_API_KEY": "k"})
    assert settings.real_kie
    assert not settings.real_s3


def test_with_a_key_and_aws_settings_up_uses_both() -> None:
    settings = up_settings({"KIE_API_KEY": "k", "AWS_PROFILE": "studio", "KIE_BUCKET": "my-covers"})
    assert settings.real_kie
    assert settings.real_s3
    assert settings.bucket == "my-covers"


def test_aws_settings_alone_never_reach_a_stack_on_the_simulator() -> None:
    assert not up_settings({"AWS_PROFILE": "studio"}).real_s3


def test_a_demo_uses_the_simulator_whatever_keys_are_set() -> None:
    settings = demo_settings(PERSON, speed=8)
    environment = environment_of(settings, PERSON)
    text = json.dumps(environment)
    assert json.loads(environment["AIRFLOW_CONN_KIE_DEFAULT"])["host"] == URLS["simulator"]
    assert json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"])["extra"]["endpoint_url"] == URLS["s3"]
    for theirs in ("their-kie-key", "their-aws-key", "kie://:other@"):
        assert theirs not in text


def test_another_airflow_of_the_person_is_left_alone() -> None:
    environment = environment_of(demo_settings(PERSON, speed=8), PERSON)
    assert "their" not in environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert "AIRFLOW__KIE__ARCHIVE_AUDIO" not in environment
    assert "WEED_JWT_SIGNING_KEY" not in environment
    assert environment["AIRFLOW_HOME"].startswith(os.environ["KIE_STACK_DIR"])


def test_with_their_own_account_a_persons_kie_settings_and_connections_count() -> None:
    environment = environment_of(up_settings(PERSON), PERSON)
    connection = json.loads(environment["AIRFLOW_CONN_KIE_DEFAULT"])
    assert connection == {"conn_type": "kie", "host": "https://api.kie.ai", "password": "their-kie-key"} | {
        "extra": {"limiter_conn_id": "kie_limiter"}
    }
    assert environment["AIRFLOW__KIE__ARCHIVE_AUDIO"] == "True"
    assert environment["AIRFLOW_CONN_KIE_LABEL_B"] == "kie://:other@"
    assert environment["AWS_ACCESS_KEY_ID"] == "their-aws-key"
    assert json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"]) == {"conn_type": "aws"}
    assert "AIRFLOW__KIE__ALLOW_LOOPBACK_FILES" not in environment


def test_a_persons_own_kie_default_is_used_as_it_is() -> None:
    person = {"AIRFLOW_CONN_KIE_DEFAULT": '{"conn_type": "kie", "password": "p"}'}
    environment = environment_of(up_settings(person), person)
    assert environment["AIRFLOW_CONN_KIE_DEFAULT"] == person["AIRFLOW_CONN_KIE_DEFAULT"]


def test_loopback_is_never_asked_through_a_proxy() -> None:
    environment = base_environment("mark", PERSON)
    assert environment["NO_PROXY"] == environment["no_proxy"] == "intranet.example,127.0.0.1,localhost"
    assert environment["HTTPS_PROXY"] == PERSON["HTTPS_PROXY"]


def test_everything_of_airflow_binds_loopback_and_needs_no_password() -> None:
    environment = environment_of(demo_settings({}, speed=8), {})
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:4003/execution/"
    assert environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "True"


def test_a_task_waits_for_an_api_server_that_takes_half_of_the_time_that_a_stack_has_to_start() -> None:
    environment = environment_of(demo_settings({}, speed=8), {})
    attempts = int(environment["AIRFLOW__WORKERS__EXECUTION_API_RETRIES"])
    longest_pause = float(environment["AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX"])
    assert attempts * (1.0 + longest_pause) / 2 >= START_SECONDS / 2  # pauses are drawn from one second to the longest


def test_settings_of_a_test_outrank_the_stacks(tmp_path: Path) -> None:
    settings = StackSettings(home=tmp_path, airflow={"AIRFLOW__CORE__PARALLELISM": "2"})
    assert environment_of(settings, {})["AIRFLOW__CORE__PARALLELISM"] == "2"


def test_secrets_are_kept_from_start_to_start_for_their_owner_only(tmp_path: Path) -> None:
    first = keep_secrets(tmp_path)
    assert keep_secrets(tmp_path) == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


class Killed(BaseException):
    """What happens to a process in the midst of its work."""


def test_a_process_that_is_killed_while_secrets_are_made_leaves_none_that_are_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_secrets: object, file: TextIO) -> None:
        file.write('{"fernet_key": ')
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(json, "dump", die)
        keep_secrets(tmp_path)
    assert keep_secrets(tmp_path) == keep_secrets(tmp_path)


@pytest.mark.parametrize("sqlite", [True, False])
def test_a_process_that_is_killed_while_the_database_is_copied_leaves_none_that_is_half_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite: bool
) -> None:
    def die(_source: object, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise Killed

    settings = StackSettings(home=tmp_path / "stack", sqlite=sqlite)
    template = tmp_path / "template"
    if sqlite:
        template.write_bytes(b"tables")
    else:
        postgres.make_cluster(template)
    monkeypatch.setattr(database, "_template", lambda _settings: template)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(shutil, "copyfile", die)
        database.prepare(settings, keep_secrets(settings.home))
    assert not database.exists(settings)
    assert not database.prepare(settings, keep_secrets(settings.home))
    assert database.exists(settings) and not database.needs_migration(settings)


def test_airflow_and_the_limiter_have_databases_of_their_own_and_an_sqlite_stack_has_files(tmp_path: Path) -> None:
    environment = environment_of(StackSettings(home=tmp_path), {})
    limiter = json.loads(environment["AIRFLOW_CONN_KIE_LIMITER"])
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].endswith("@127.0.0.1:4004/airflow")
    assert (limiter["host"], limiter["port"], limiter["schema"]) == ("127.0.0.1", 4004, "limiter")
    assert json.loads(environment["AIRFLOW_CONN_KIE_DEFAULT"])["extra"]["limiter_conn_id"] == "kie_limiter"
    files = environment_of(StackSettings(home=tmp_path, sqlite=True), {})
    assert not [name for name in files if "SQL_ALCHEMY" in name or "LIMITER" in name]
    assert "limiter" not in files["AIRFLOW_CONN_KIE_DEFAULT"]


def test_two_stacks_have_different_secrets(tmp_path: Path) -> None:
    assert keep_secrets(tmp_path / "a") != keep_secrets(tmp_path / "b")


def test_settings_survive_their_file_and_hold_no_secret() -> None:
    settings = up_settings({**PERSON, "KIE_DAGS_FOLDER": "/some/dags"})
    assert StackSettings.loads(settings.dumps()) == settings
    assert not [name for name in ("KIE_API_KEY", "AWS_ACCESS_KEY_ID") if PERSON[name] in settings.dumps()]


def test_two_demos_in_one_second_have_folders_of_their_own() -> None:
    homes = {demo_settings({}, speed=8).home for _ in range(5)}
    assert len(homes) == 5


def test_the_simulator_is_started_where_it_is_configured_and_again_where_it_was(tmp_path: Path) -> None:
    server = simulator_part(StackSettings(home=tmp_path), {}, keep_secrets(tmp_path), 4001)
    assert any(word.endswith("4001") for word in server.command(None))
    assert any(word.endswith("4002") for word in server.command("http://127.0.0.1:4002"))


def test_every_port_of_the_s3_server_is_a_given_one_and_no_argument_holds_its_keys(tmp_path: Path) -> None:
    ports, secrets = range(5001, 5001 + PORTS), keep_secrets(tmp_path)
    command = s3_part(StackSettings(home=tmp_path), {}, secrets, ports).command(None)
    named = [word.partition("=")[2] for word in command if ".port" in word or "metricsPort" in word]
    assert sorted(named) == ["0", "0", *map(str, ports)]
    assert not [word for word in command if secrets.s3_access_key in word or secrets.s3_secret_key in word]


def test_a_webhook_secret_that_begins_with_a_dash_is_no_option_of_the_simulator(tmp_path: Path) -> None:
    secrets = replace(keep_secrets(tmp_path), webhook_secret="-dash")
    part = simulator_part(StackSettings(home=tmp_path), {}, secrets)
    assert "--webhook-key=-dash" in part.command(None)
