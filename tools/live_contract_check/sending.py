"""Sending one create, paid or not, as the account's limiter and its spending switch allow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from airflow_kie.client.errors import KieSpendingCap, KieSpendingStopped, KieThrottled
from airflow_kie.hooks.kie import KieHook

PERMIT_TIMEOUT = 30.0
"""Seconds that a person waits for the account's limiter."""

Answer = TypeVar("Answer")


def send_create(hook: KieHook, kind: str, send: Callable[[], Answer], made: Callable[[Answer], bool]) -> Answer:
    """Send a create and return its answer.

    :param kind: what is created, for the error text.
    :param send: sends it.
    :param made: whether an answer means that something may have been made; otherwise the permit is given back.
    :raises KieSpendingStopped: when a person has stopped new tasks.
    :raises KieThrottled: when no permit came in time; KieSpendingCap when a cap on credits is reached.
    """
    hook.spending_switch.check()
    limiter = hook.limiter()
    permit = limiter.acquire(PERMIT_TIMEOUT)
    if not permit.granted:
        busy = KieThrottled if permit.over == "rate" else KieSpendingCap
        raise busy(retry_after=permit.wait_seconds, kind=kind)
    try:
        hook.spending_switch.check()  # the permit may have been waited for
    except KieSpendingStopped:
        limiter.give_back(permit)
        raise
    answer = send()
    if not made(answer):
        limiter.give_back(permit)
    return answer
