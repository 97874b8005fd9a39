"""What a request costs: quoted before it is sent, held against the account's caps, and settled when its task ends."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow_kie.client.catalogue.prices import Quote, quote
from airflow_kie.client.errors import (
    KieConnectionInvalid,
    KieError,
    KieGenerationFailed,
    KieLimiterUnavailable,
    KieMaintenance,
    KieNotSent,
    KieOverCap,
    KieSpendingCap,
    KieThrottled,
    Scope,
)
from airflow_kie.client.operations.operation import CallOperation, Operation
from airflow_kie.client.rate_limiter.limiter import Cost

if TYPE_CHECKING:
    from airflow_kie.client.rate_limiter.limiter import Caps, CreateLimiter, Permit
    from airflow_kie.hooks.connected import Connected
    from airflow_kie.lifecycle.record import TaskRecord

log = logging.getLogger(__name__)

CALL_PERMIT_SECONDS = 15.0
"""How long a worker is held for the limiter where a call costs credits: longer than KIE's window of 10 s."""


def cost_of(hook: Connected, kind: Operation, body: Mapping[str, Any], ti: Any) -> Cost:
    """Return what a request is held against the caps with: the most that it can cost.

    :param hook: the account.
    :param kind: the operation.
    :param body: the request's fields as KIE names them.
    :param ti: the task instance, whose run pays it.
    :raises KieOverCap: where a cap holds, the price is not known, and the connection names none for such a request; or
        where it is more than a day or a month ever allows.
    """
    return quoted_cost(hook, quote(kind, body), kind.title, ti, kind=kind.name)


def quoted_cost(hook: Connected, quoted: Quote, title: str, ti: Any, **facts: Any) -> Cost:
    """Return what a quote is held against the caps with; parameters and errors as of :func:`cost_of`.

    :param quoted: what it costs by the price list.
    :param title: whose price it is.
    :param facts: of the request, for the error.
    """
    high, caps = quoted.high, hook.caps
    if high is None:
        high = hook.unknown_price
    if high is None and caps.any:
        raise KieOverCap(
            f"the price of {title} is not known{f' ({quoted.why})' if quoted.why else ''}, and connection "
            f"{hook.kie_conn_id} has a cap. Its field unknown_price_credits can say what such a request counts as",
            **facts,
        )
    if high:
        check_countable(hook, caps)
    for name in ("day", "month"):  # 0 allows nothing for now: that is waited for
        if (cap := getattr(caps, name)) and (high or 0.0) > cap:
            raise KieOverCap(_amount(high or 0.0, name, hook.kie_conn_id), **facts)
    return Cost(high or 0.0, f"{ti.dag_id}/{ti.run_id}" if ti.run_id else "")


def check_countable(hook: Connected, caps: Caps) -> None:
    """Check that what several requests cost together can be counted, where a cap is set on that.

    :param hook: the account.
    :param caps: its caps.
    :raises KieConnectionInvalid: where each machine would count its own requests alone.
    """
    if all(getattr(caps, name) is None for name in ("run", "day", "month")):
        return
    database, shared = hook.ledger_database()
    if not shared:
        raise KieConnectionInvalid(
            f"Connection {hook.kie_conn_id} has a cap on what several requests cost, and {database.store.shown} counts "
            "those of one machine, while the executor runs tasks on several: name a Postgres connection in its field "
            "limiter_conn_id; nothing was sent to KIE"
        )


def refusal(permit: Permit, cost: Cost, kie_conn_id: str, **facts: Any) -> KieError:
    """Return the error of a permit that was not granted.

    :param permit: the answer.
    :param cost: of the request.
    :param kie_conn_id: the connection, whose caps hold.
    :param facts: of the request, for the error.
    """
    if permit.over == "rate":
        return KieThrottled(retry_after=permit.wait_seconds, **facts)
    amount = _amount(cost.credits, permit.over, kie_conn_id)
    if permit.over in ("day", "month"):
        return KieSpendingCap(f"{amount} now", retry_after=permit.wait_seconds, **facts)
    return KieOverCap(amount, **facts)


def _amount(credits: float, cap: str, kie_conn_id: str) -> str:
    return f"it is quoted at {credits:g} credits, and max_credits_per_{cap} of {kie_conn_id} allows fewer"


@contextlib.contextmanager
def counted(hook: Connected, call: CallOperation, body: Mapping[str, Any], ti: Any) -> Iterator[None]:
    """Hold a call that costs credits against the account's switch and caps while it is made.

    :param hook: the account.
    :param call: the operation.
    :param body: the request's fields as KIE names them.
    :param ti: the task instance, whose run pays it.
    :raises KieError: which of them does not allow it; nothing is sent.
    """
    hook.spending_switch.check()
    limiter, permit = permitted(hook, cost_of(hook, call, body, ti), call.name)
    try:
        yield
    except KieError as error:
        if not may_be_charged(error):
            limiter.give_back(permit)
        raise


def permitted(hook: Connected, cost: Cost, kind: str) -> tuple[CreateLimiter, Permit]:
    """Return the permit of a call that costs credits, and the limiter that has granted it.

    :param hook: the account.
    :param cost: of the call.
    :param kind: the operation's name.
    :raises KieError: which cap or rate does not allow it.
    """
    limiter = hook.limiter()
    permit = limiter.acquire(CALL_PERMIT_SECONDS, cost)
    if not permit.granted:
        raise refusal(permit, cost, hook.kie_conn_id, kind=kind)
    return limiter, permit


def may_be_charged(error: KieError) -> bool:
    """Return whether KIE may have charged a call that ended in an error: its answer was lost, or says nothing of it."""
    if isinstance(error, KieGenerationFailed):
        return True
    return error.scope is Scope.SERVICE and not isinstance(error, KieNotSent | KieMaintenance | KieLimiterUnavailable)


def settle(hook: Connected, quoted: Quote, record: TaskRecord, used: float | None) -> None:
    """Count what a task has used in place of what it was quoted at; more than that is a warning.

    :param hook: the account.
    :param quoted: what the request was quoted at.
    :param record: the task.
    :param used: credits that KIE says; None: it does not say.
    """
    if used is None:
        return
    if quoted.high is not None and used > quoted.high:
        log.warning("KIE task %s used %g credits, but was quoted at %s.", record.task_id, used, quoted)
    if used != quoted.high:
        hook.limiter().settle(request_name(record), used)


def request_name(record: TaskRecord) -> str:
    """Return the name under which a record's request is counted."""
    return f"{record.kind}/{record.digest}"
