"""How a log names a task, so that a search for its id finds each change of its state."""

from __future__ import annotations

import logging

from airflow_kie.client.answers.details import ANSWER, TaskDetails
from airflow_kie.client.errors import KieError, Scope
from airflow_kie.client.operations.operation import State
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.lifecycle.record import TaskRecord

log = logging.getLogger(__name__)


def says_failed(record: TaskRecord) -> bool:
    """Return whether the last state that KIE names of a task is one of a failure."""
    word = record.last_state or ""
    state = task_kind(record.kind, record.form).states.get(int(word) if word.isdigit() else word)
    return state is State.FAILED


def about(record: TaskRecord) -> str:
    """Return one line that names a task, what it is made from, and its last state."""
    kind = task_kind(record.kind, record.form)
    source = f" for {record.source_id}" if record.source_id else ""
    word = record.last_state or ""
    meaning = kind.states.get(int(word)) if word.isdigit() else None  # a bare 1 says nothing
    state = f", last state {word}{f' ({meaning})' if meaning else ''}" if word else ""
    return f"{kind.title} task {record.task_id or '(no id yet)'}{source}{state}."


def log_read(before: TaskRecord, after: TaskRecord, unread: KieError | None, *, quiet: bool = False) -> None:
    """Log a read that failed, and a state that has changed."""
    if unread is not None:
        then = "it is read again" if unread.scope is Scope.SERVICE else "see below"
        log.warning("KIE task %s could not be read (%s); %s.", before.task_id, unread.reason, then)
    elif after.last_state != before.last_state:
        log.log(logging.DEBUG if quiet else logging.INFO, "%s", about(after))


def log_unknown_shape(record: TaskRecord, details: TaskDetails) -> None:
    """Log that a task has succeeded, and that its row found no result in KIE's answer."""
    if any(result.role == ANSWER for result in details.results):
        log.warning("KIE's answer has an unknown structure; it is stored as the task's result: %s", about(record))
