"""`airflow kie doctor`, and its part for one account, `airflow kie check`: free of charge, and nothing is changed."""

from __future__ import annotations

import platform
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import chain
from types import MappingProxyType

from airflow.sdk import conf

from airflow_kie import settings
from airflow_kie.cli.checks import account, callbacks, installation
from airflow_kie.cli.checks.findings import Finding, Level, failed
from airflow_kie.cli.terminal import command, say, say_json
from airflow_kie.client.errors import KieError
from airflow_kie.get_provider_info import PACKAGE
from airflow_kie.hooks.kie import KieHook

Check = Callable[..., Iterable[Finding]]
_FREE_READS: Sequence[Check] = (account.key_findings, account.limiter_findings)
_ACCOUNT: Sequence[Check] = (
    *_FREE_READS,
    account.ledger_findings,
    account.spending_findings,
    callbacks.callback_findings,
)
_INSTALLATION: Sequence[Check] = (
    installation.bucket_findings,
    installation.inbox_findings,
    installation.pool_findings,
    installation.triggerer_findings,
    installation.dag_findings,
)


@command()
def doctor(args: Namespace) -> int:
    """Check everything; the exit code is 1 if something has failed.

    :param args: `kie_conn_id`, `redacted`, `json`.
    """
    connections = [args.kie_conn_id] if args.kie_conn_id else list(settings.allowed_connections())
    found = chain.from_iterable(account_findings(conn_id) for conn_id in connections)
    every = chain(found, _made(_INSTALLATION))
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
    return report(chain(account_findings(conn_id, _FREE_READS), _made([installation.bucket_findings])), [])


def account_findings(conn_id: str, checks: Sequence[Check] = _ACCOUNT) -> Iterator[Finding]:
    """Yield what the checks of one connection find; one that cannot be used has only that finding."""
    hook = KieHook(conn_id)
    try:
        _ = hook.account
    except KieError as error:
        yield replace(failed("connection", error), connection=conn_id)
        return
    for found in _made(checks, hook):
        yield replace(found, connection=conn_id)


def _made(checks: Iterable[Check], *about: KieHook) -> Iterator[Finding]:
    """Yield what checks find; one that breaks is a finding too, so that the next one is still made."""
    for check in checks:
        try:
            yield from check(*about)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other checks are worth knowing
            yield failed(check.__name__.removesuffix("_findings"), error)


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
