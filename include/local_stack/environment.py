"""Environments of the stack's processes: the person's own, made safe, with the stack's settings over it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from local_stack import postgres
from local_stack.ports import port_of
from local_stack.processes import MARK
from local_stack.secret_keys import StackSecrets
from local_stack.settings import KIE_HOST, PROJECT, StackSettings

LOOPBACK = ("127.0.0.1", "localhost")
SIMULATOR_KEY = "sim-key"
SIMULATOR = "<simulator>"
"""Stands for the simulator's address in the settings that a test or a benchmark gives."""
LIMITER = "kie_limiter"
"""The connection to the database in which the limiter counts."""

# Airflow's own names for what makes a stack on one machine quick and closed; the reason is beside each.
AIRFLOW: Mapping[str, str] = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__PARALLELISM": "8",  # 32 idle workers would cost 265 MB
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",  # the inbox and the checks of kie_ops are part of the stack
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # no password; everything binds 127.0.0.1
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # the default asks DNS, which may hang offline
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",  # default 1 s costs a second per task
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",  # default 300 s before a killed worker is noticed
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "5",
    # A task waits six minutes for an api-server that starts beside the scheduler, or again after it was killed, and
    # half a minute for its answer; the defaults, five attempts and 5 s, fail the first tasks of a stack on a busy
    # machine.
    "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "180",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "3",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
    "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",  # default 300 s until a new DAG file is seen
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
    "AIRFLOW__API__HOST": "127.0.0.1",
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__API__EXPOSE_CONFIG": "False",
    "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",  # macOS ends forked children of Airflow otherwise
    "NO_COLOR": "1",
}

# A person's settings for another Airflow, or another account, must not reach a stack that is not theirs.
# PYTHON…: a PYTHONPATH of theirs, or PYTHONDONTWRITEBYTECODE, with which Airflow takes 28 s to start instead of 8.
_FOREIGN = ("AIRFLOW_", "KIE_", "WEED_", "PYTHON")


def base_environment(stack_id: str, environment: Mapping[str, str], *, keep_aws: bool = False) -> dict[str, str]:
    """Return the person's environment without what belongs to another Airflow or account.

    :param stack_id: mark for all the stack's processes.
    :param environment: the person's environment.
    :param keep_aws: leave AWS settings in: the stack uses the person's real S3.
    """
    foreign = _FOREIGN if keep_aws else (*_FOREIGN, "AWS_")
    kept = {name: value for name, value in environment.items() if not name.startswith(foreign)}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    # urllib asks macOS itself for proxies, which is fatal after a fork, unless such a variable is set.
    without_proxy = [*kept.get("NO_PROXY", kept.get("no_proxy", "")).split(","), *LOOPBACK]
    kept["NO_PROXY"] = kept["no_proxy"] = ",".join(dict.fromkeys(name for name in without_proxy if name))
    return {**kept, MARK: stack_id, "PYTHONUNBUFFERED": "1"}


def airflow_environment(
    base: Mapping[str, str],
    settings: StackSettings,
    secrets: StackSecrets,
    port: int,
    urls: Mapping[str, str],
    person: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment of Airflow's processes.

    :param base: what :func:`base_environment` returned.
    :param settings: the stack.
    :param secrets: its secrets.
    :param port: port of the api-server.
    :param urls: addresses of ``postgres``, ``simulator`` and ``s3``, where these are local.
    :param person: the person's environment, for their key and their ``[kie]`` settings.
    """
    url = f"http://127.0.0.1:{port}"
    return {
        **base,
        **AIRFLOW,
        "AIRFLOW_HOME": str(settings.airflow_home),
        "PYTHONPATH": str(PROJECT / "plugins"),  # this checkout's package, whatever other one is installed
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(settings.plugins),
        "AIRFLOW__CORE__FERNET_KEY": secrets.fernet_key,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": secrets.session_key,
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.jwt_secret,
        "AIRFLOW__KIE__BUCKET": settings.bucket,
        "AIRFLOW__KIE__PREFIX": settings.prefix,
        **database_settings(settings, secrets, urls),
        **(_own_settings(person) if settings.real_kie else {}),
        **kie_connection(settings, secrets, port, urls, person),
        **aws_connection(settings, secrets, urls, person),
        **{name: value.replace(SIMULATOR, urls.get("simulator", "")) for name, value in settings.airflow.items()},
    }


def database_settings(settings: StackSettings, secrets: StackSecrets, urls: Mapping[str, str]) -> dict[str, str]:
    """Return where Airflow keeps its own data, and the connection by which the limiter finds its database."""
    if settings.sqlite:
        return {}
    server = {"login": postgres.USER, "password": secrets.database_password, "host": "127.0.0.1"}
    limiter = {"conn_type": "postgres", **server, "port": port_of(urls["postgres"]), "schema": "limiter"}
    url = postgres.url_of(urls["postgres"], secrets.database_password, "airflow", scheme="postgresql+psycopg")
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url,
        f"AIRFLOW_CONN_{LIMITER.upper()}": json.dumps(limiter),
    }


def kie_connection(
    settings: StackSettings, secrets: StackSecrets, port: int, urls: Mapping[str, str], person: Mapping[str, str]
) -> dict[str, str]:
    """Return ``kie_default`` as an environment variable: the simulator, which calls back, or the real KIE."""
    name = "AIRFLOW_CONN_KIE_DEFAULT"
    limits = {} if settings.sqlite else {"limiter_conn_id": LIMITER}
    if not settings.real_kie:
        extra = {
            **limits,
            "webhook_secret": secrets.webhook_secret,
            "callback_url": f"http://127.0.0.1:{port}",
            "upload_host": urls["simulator"],
            **settings.simulator_extra,
        }
        connection = {"conn_type": "kie", "host": urls["simulator"], "password": SIMULATOR_KEY, "extra": extra}
        return {
            name: json.dumps(connection),
            # The simulator serves its files over http from loopback, which an archive refuses unless this allows it.
            "AIRFLOW__KIE__ALLOW_LOOPBACK_FILES": "True",
            "AIRFLOW__KIE__RECEIVER": "True",
        }
    if person.get(name):
        return {name: person[name]}
    real = {"conn_type": "kie", "host": KIE_HOST, "password": person["KIE_API_KEY"]}
    return {name: json.dumps({**real, "extra": limits})}


def aws_connection(
    settings: StackSettings, secrets: StackSecrets, urls: Mapping[str, str], person: Mapping[str, str]
) -> dict[str, str]:
    """Return ``aws_default`` as an environment variable: the local S3, or the person's own."""
    name = "AIRFLOW_CONN_AWS_DEFAULT"
    if settings.real_s3:
        return {name: person[name]} if person.get(name) else {name: json.dumps({"conn_type": "aws"})}
    extra = {
        "endpoint_url": urls["s3"],
        "region_name": "us-east-1",
        "config_kwargs": {"signature_version": "s3v4", "s3": {"addressing_style": "path"}},
    }
    connection = {
        "conn_type": "aws",
        "login": secrets.s3_access_key,
        "password": secrets.s3_secret_key,
        "extra": extra,
    }
    return {name: json.dumps(connection)}


def _own_settings(person: Mapping[str, str]) -> dict[str, str]:
    """Return what a person who works with their own account says to Airflow: connections, variables, ``[kie]``."""
    wanted = ("AIRFLOW_CONN_", "AIRFLOW_VAR_", "AIRFLOW__KIE__")
    return {name: value for name, value in person.items() if name.startswith(wanted)}
