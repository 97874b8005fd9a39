"""`airflow kie doctor`, and its part for one account, `airflow kie check`: free of charge, and nothing is changed."""

from __future__ import annotations

import platform
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import chain
from types import MappingProxyType

from airflow.sdk import conf

from airflow_kie import settings
from airflow_kie.cli.terminal import command, say, say_json
from airflow_kie.get_provider_info import PACKAGE
from airflow_kie.hooks.archive import give_up_soon
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.checks.every import FREE_READS, account_findings, installation_findings
from airflow_kie.monitoring.checks.findings import Finding, Level
from airflow_kie.monitoring.checks.installation import bucket_findings


@command()
def doctor(args: Namespace) -> int:
    """Check everything; the exit code is 1 if something has failed.

    :param args: `kie_conn_id`, `redacted`, `json`.
    """
    connections = [args.kie_conn_id] if args.kie_conn_id else list(settings.allowed_connections())
    found = chain.from_iterable(account_findings(conn_id) for conn_id in connections)
    every = chain(found, installation_findings())
    return int(not report(every, connections, redacted=args.redacted, as_json=args.json, head=_versions()))


@command()
def check(args: Namespace) -> int:
    """Check one account and the bucket; the exit code is 1 if something has failed.

    :param args: `kie_conn_id` (None: the first that `[kie] kie_conn_ids` allows).
    """
    return int(not free_checks(args.kie_conn_id or default_connection()))


def default_connection() -> str:
    """Return the first connection that `[kie] kie_conn_ids` allows."""
    return next(iter(settings.allowed_connections()), KieHook.default_conn_name)


def free_checks(conn_id: str) -> bool:
    """Print the free checks of a connection's account and of the bucket; return whether nothing has failed."""
    return report(chain(account_findings(conn_id, FREE_READS), bucket_findings()), [])


def report(
    findings: Iterable[Finding],
    connections: Sequence[str],
    *,
    redacted: bool = False,
    as_json: bool = False,
    head: Mapping[str, str] = MappingProxyType({}),
) -> bool:
    """Print findings as they come; return whether none has failed.

    :param findings: a line is printed as soon as it is found.
    :param connections: all connections that are checked; redacted, they are numbered in this order.
    :param redacted: leave out what only its owner may see.
    :param as_json: print one JSON object at the end instead.
    :param head: versions and the like, printed first.
    """
    give_up_soon()
    rows, good = [], True
    if head and not as_json:
        say(", ".join(f"{name} {value}" for name, value in head.items()))
    for found in findings:
        good = good and found.level is not Level.FAIL
        about = found.connection
        if about is not None and redacted:
            about = f"connection {connections.index(about) + 1}"
        seen = found.public if redacted else found.seen
        rows.append({"check": found.check, "connection": about, "level": found.level.value, "seen": seen})
        if not as_json:
            named = f"[{about}] " if about and len(connections) > 1 else ""
            say(f"{found.level:<4}  {found.check:<12}  {named}{seen}")
    if as_json:
        say_json({"versions": dict(head), "ok": good, "checks": rows})
    return good


def _versions() -> dict[str, str]:
    """Return what a bug report needs to know of this installation."""
    return {
        "airflow": version("apache-airflow-core"),
        "provider": version(PACKAGE),
        "python": platform.python_version(),
        "executor": str(conf.get("core", "executor", fallback="")),
        "system": platform.system(),
    }
