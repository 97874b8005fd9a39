"""When a wait ends, and what it ends with."""

from __future__ import annotations

from airflow_kie.client.errors import KieError, KieWaitTimeout, Remedy
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Rules


class WaitEnded(Exception):
    """A wait has reached its deadline; the task may still end.

    :param error: what to raise for it.
    """

    def __init__(self, error: KieError) -> None:
        super().__init__(str(error))
        self.error = error


def end_of_wait(record: TaskRecord, deadline: float, rules: Rules) -> float:
    """Return the epoch seconds at which a wait ends: a doubt that comes near the deadline is settled first.

    :param record: the task.
    :param deadline: epoch seconds.
    :param rules: how doubtful answers are decided.
    """
    deadline = record.own_deadline(deadline, rules.timeout)
    if record.doubt_at is None:
        return deadline
    # Answers that differ each time are not waited for without end.
    return min(max(deadline, record.doubt_at + rules.agree_after), deadline + 2 * rules.agree_after)


def timed_out(record: TaskRecord, unread: KieError | None = None) -> KieError:
    """Return the error of a wait that has reached its deadline, naming the task and its last state.

    :param record: the task.
    :param unread: why the last read failed, if it did: a KIE that is down says nothing about the task. What only a
        person can fix is not the reason: one read alone is not believed.
    """
    error = unread or KieWaitTimeout()
    if error.remedy is Remedy.PERSON:
        error = KieWaitTimeout(f"the last read was rejected: {error.facts.message}", code=error.facts.code)
    known = {"kind": record.kind, "source_id": record.source_id, "last_state": record.last_state}
    if record.task_id:
        return error.with_facts(**known, task_id=record.task_id)
    return error.with_facts(**known, paid="It is not known yet whether KIE created it")
