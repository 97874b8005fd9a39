"""`airflow kie check`: key, credits, clocks, limiter and bucket. Only free requests are sent."""

from __future__ import annotations

import sys
from argparse import Namespace

from airflow_kie import settings
from airflow_kie._airflow_private import process
from airflow_kie.cli.checks.account import key_findings, limiter_findings
from airflow_kie.cli.checks.findings import failed, looked, report
from airflow_kie.cli.checks.installation import bucket_findings
from airflow_kie.cli.terminal import ours_alone
from airflow_kie.client.errors import KieError
from airflow_kie.hooks.kie import KieHook


def command(args: Namespace) -> None:
    """Run the command.

    :param args: `kie_conn_id`.
    :raises SystemExit: 0 if all is in order, 1 otherwise, 130 when it was interrupted.
    """
    process.begin_command()
    with ours_alone():
        sys.exit(0 if free_checks(hook_of(args.kie_conn_id)) else 1)


def hook_of(kie_conn_id: str | None) -> KieHook:
    """Return the hook of a connection.

    :param kie_conn_id: its id; None: the first that `[kie] kie_conn_ids` allows.
    """
    return KieHook(kie_conn_id or next(iter(settings.allowed_connections()), KieHook.default_conn_name))


def free_checks(hook: KieHook) -> bool:
    """Print what costs nothing to know; return whether nothing has failed.

    :param hook: the account.
    """
    try:
        _ = hook.account
    except KieError as error:
        return not report([failed("connection", error)], [])
    checks = (
        ("key", lambda: key_findings(hook)),
        ("limiter", lambda: limiter_findings(hook)),
        ("bucket", bucket_findings),
    )
    return not report((found for check, look in checks for found in looked(check, look)), [])
