"""All checks, of an account and of the installation: free of charge, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from airflow_kie.client.errors import KieError
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.checks import account, callbacks, installation
from airflow_kie.monitoring.checks.findings import Finding, failed

Check = Callable[..., Iterable[Finding]]
FREE_READS: Sequence[Check] = (account.key_findings, account.limiter_findings)
_ACCOUNT: Sequence[Check] = (
    *FREE_READS,
    account.api_findings,
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


def installation_findings() -> Iterator[Finding]:
    """Yield what the checks of the Airflow around us find."""
    return _made(_INSTALLATION)
