"""`airflow kie doctor`: is everything in order here? Costs nothing and changes nothing."""

from __future__ import annotations

import platform
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version

from airflow.sdk import conf

from airflow_kie import settings
from airflow_kie._airflow_private import process
from airflow_kie.cli.checks.account import key_findings, limiter_findings, spending_findings
from airflow_kie.cli.checks.callbacks import callback_findings
from airflow_kie.cli.checks.findings import Finding, failed, looked, report
from airflow_kie.cli.checks.installation import (
    bucket_findings,
    dag_findings,
    inbox_findings,
    pool_findings,
    triggerer_findings,
)
from airflow_kie.cli.terminal import ours_alone
from airflow_kie.client.errors import KieError
from airflow_kie.get_provider_info import PACKAGE
from airflow_kie.hooks.kie import KieHook

CONNECTION_CHECKS = (
    ("key", key_findings),
    ("limiter", limiter_findings),
    ("spending", spending_findings),
    ("receiver", callback_findings),
)
AIRFLOW_CHECKS = (
    ("bucket", bucket_findings),
    ("inbox", inbox_findings),
    ("pool", pool_findings),
    ("triggerer", triggerer_findings),
    ("DAG", dag_findings),
)


def command(args: Namespace) -> None:
    """Run the command.

    :param args: `kie_conn_id`, `redacted`, `json`.
    :raises SystemExit: 1 if something has failed, otherwise 0.
    """
    process.begin_command()
    connections = [args.kie_conn_id] if args.kie_conn_id else list(settings.allowed_connections())
    with ours_alone():
        bad = report(findings(connections), connections, redacted=args.redacted, as_json=args.json, head=versions())
    sys.exit(1 if bad else 0)


def findings(connections: Sequence[str]) -> Iterator[Finding]:
    """Yield what every check finds.

    :param connections: the Airflow connections to look at.
    """
    for conn_id in connections:
        yield from connection_findings(conn_id)
    for check, look in AIRFLOW_CHECKS:
        yield from looked(check, look)


def connection_findings(conn_id: str) -> Iterator[Finding]:
    """Yield what the checks of one connection find; one that cannot be used has only that finding."""
    hook = KieHook(conn_id)
    try:
        _ = hook.account
    except KieError as error:
        unusable = error  # the name of an except clause ends with it
        yield from looked("connection", lambda: [failed("connection", unusable)], conn_id)
        return
    for check, look in CONNECTION_CHECKS:
        yield from looked(check, partial(look, hook), conn_id)


def versions() -> dict[str, str]:
    """Return what a bug report needs to know of this installation."""
    return {
        "airflow": version("apache-airflow-core"),
        "provider": version(PACKAGE),
        "python": platform.python_version(),
        "executor": str(conf.get("core", "executor", fallback="")),
        "system": platform.system(),
    }
