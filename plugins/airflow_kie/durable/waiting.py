"""How a task of Airflow spends the time until KIE's task may have ended: deferred, rescheduled or asleep."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowRescheduleException

from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.hooks.tasks import ENDED_SECONDS
from airflow_kie.lifecycle.log_line import about
from airflow_kie.lifecycle.record import TaskRecord

if TYPE_CHECKING:
    from airflow_kie.hooks.kie import KieHook

log = logging.getLogger(__name__)

BACKSTOP = timedelta(seconds=60)
"""How much longer than our own deadline Airflow lets the trigger live, so that the event with the reason wins."""


class WaitMode(StrEnum):
    """Ways to wait."""

    DEFER = "defer"
    RESCHEDULE = "reschedule"
    POKE = "poke"


def wait_strategy(
    way: WaitMode,
    operator: BaseOperator,
    kie_conn_id: str,
    deadline: float,
    poll_interval: float | None,
    timeout: float = 0.0,
) -> Callable[[TaskRecord, float], None]:
    """Return the function that spends the time until a moment, in the way that is requested.

    :param way: defer and reschedule leave the task by an exception and free the worker; poke sleeps.
    :param operator: the operator or sensor that waits; it resumes in its `execute_complete`.
    :param kie_conn_id: the Airflow connection that the trigger reads with.
    :param deadline: epoch seconds at which waiting ends.
    :param poll_interval: seconds between the trigger's reads, None for the usual cadence.
    :param timeout: seconds that a task which replaces a failed one may take.
    """

    def defer(record: TaskRecord, until: float) -> NoReturn:
        from airflow_kie.triggers.task import KieTaskTrigger

        ends_at = record.own_deadline(deadline, timeout)
        log.info("Waiting for KIE: %s", about(record))
        operator.defer(
            trigger=KieTaskTrigger(kie_conn_id, record.to_json(), ends_at, poll_interval, until),
            method_name="execute_complete",
            kwargs={"awaited": record.task_id},  # a wake-up names no task, and the store can be emptied meanwhile
            timeout=timedelta(seconds=max(0.0, ends_at - time.time())) + BACKSTOP,
        )

    def reschedule(record: TaskRecord, until: float) -> NoReturn:
        log.info("Reading from KIE again later: %s", about(record))
        moment = datetime.fromtimestamp(until, tz=UTC)
        raise AirflowRescheduleException(moment)  # type: ignore[no-untyped-call]

    def poke(record: TaskRecord, until: float) -> None:
        log.info("Reading from KIE again in a moment: %s", about(record))
        time.sleep(max(0.0, until - time.time()))

    return {WaitMode.DEFER: defer, WaitMode.RESCHEDULE: reschedule, WaitMode.POKE: poke}[way]


def read_ended(
    hook: KieHook, operation: str, task_id: str, source: Mapping[str, Any] | None = None, *, quiet: bool = False
) -> TaskDetails:
    """Return the details of a task that has ended.

    :param hook: the account.
    :param operation: what has made it.
    :param task_id: its id.
    :param source: what it must be made from; a task of another parent is refused.
    :param quiet: changes of its state are logged as debug messages.
    :raises KieError: when it has failed, or has not ended.
    """
    return hook.wait(operation, task_id, wait_timeout=ENDED_SECONDS, source=source, quiet=quiet)


def defer_list(
    operator: BaseOperator,
    kie_conn_id: str,
    records: Mapping[str, TaskRecord],
    timeout: float,
    poll_interval: float | None,
    *,
    linger: float | None = None,
) -> NoReturn:
    """Leave until many tasks have ended; the operator resumes in its `execute_complete` with ``records``.

    :param operator: the operator that waits.
    :param kie_conn_id: the Airflow connection that the trigger reads with.
    :param records: the tasks, by the operator's names for them.
    :param timeout: seconds that each may take from the moment at which it became known.
    :param poll_interval: seconds between reads of one task, None for the usual cadence.
    :param linger: resume so many seconds after the first of them has ended; None: when all have.
    """
    from airflow_kie.triggers.task import KieTaskTrigger

    log.info("Waiting for %d KIE tasks.", len(records))
    stored = {name: record.to_json() for name, record in records.items()}
    operator.defer(
        trigger=KieTaskTrigger(
            kie_conn_id, None, time.time() + timeout, poll_interval, records=stored, timeout=timeout, linger=linger
        ),
        method_name="execute_complete",
        kwargs={"records": stored},
        timeout=timedelta(seconds=timeout) + BACKSTOP,
    )
