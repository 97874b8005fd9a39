"""The settings under which the suite runs: Airflow notices the dead sooner and pauses are shorter."""

from __future__ import annotations

import json
from collections.abc import Mapping

from local_stack.secret_keys import StackSecrets

SPEED = 8.0
"""Simulated seconds in one second: a cover takes 4 to 8."""

AIRFLOW: Mapping[str, str] = {
    "AIRFLOW__CORE__PARALLELISM": "8",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",  # default 300 s
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",  # default 10 s
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "3",  # default 5 s
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",  # default 300 s
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",  # the default: less takes a busy one for dead
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",  # nothing changes; a busy machine has better to do
    "AIRFLOW__KIE__CONFIRM_FAILURE_SECONDS": "2",  # default 30 s
    "AIRFLOW__KIE__RECONCILE_AFTER_MINUTES": "0.05",  # default 10
    "AIRFLOW__KIE__INBOX_EVERY_MINUTES": "1440",  # the suite starts cover_inbox itself
    "AIRFLOW__KIE__OPS_EVERY_MINUTES": "1440",  # what it would report is what the suite does
    "AIRFLOW__KIE__OUTAGE_PROBE_SECONDS": "1",  # default 15
}


def settings_as_text() -> list[str]:
    """Return one line for each setting of the profile."""
    return [f"{name.removeprefix('AIRFLOW__').lower().replace('__', '.')} = {text}" for name, text in AIRFLOW.items()]


def aws_connection(url: str, secrets: StackSecrets) -> str:
    """Return ``aws_default`` as Airflow's environment takes it, with the proxy as its address.

    :param url: the proxy.
    :param secrets: the stack's secrets.
    """
    extra = {
        "endpoint_url": url,
        "region_name": "us-east-1",
        "config_kwargs": {"signature_version": "s3v4", "s3": {"addressing_style": "path"}},
    }
    keys = {"login": secrets.s3_access_key, "password": secrets.s3_secret_key}
    return json.dumps({"conn_type": "aws", **keys, "extra": extra})
