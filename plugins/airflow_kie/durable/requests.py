"""What identifies a task instance's request, and where its record is stored."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow_kie import metrics, settings
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.client.redact import is_address
from airflow_kie.durable.defaults import optional
from airflow_kie.durable.task_state import RecordStore, TaskStateLedgerStore, digest_of_this_try, source_key
from airflow_kie.hooks.ledger import open_ledger
from airflow_kie.hooks.sending import Sender
from airflow_kie.lifecycle.identity import request_digest
from airflow_kie.lifecycle.ledger import Ledger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.client.operations.operation import TaskOperation
    from airflow_kie.hooks.kie import KieHook
    from airflow_kie.lifecycle.record import TaskRecord

log = logging.getLogger(__name__)

READS = 8
"""Requests that are read in the ledger at a time."""


def asked_by(ti: Any) -> dict[str, str]:
    """Return what identifies a request that is made from nothing, besides itself: another run means another task."""
    return {"namespace": settings.text("namespace"), "dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id}


def known_record(
    stored: TaskRecord | None, new: TaskRecord, *, adopt_task_id: str | None = None, awaited: str | None = None
) -> TaskRecord:
    """Return what is known of a task: a person's word first, then the store, then the trigger.

    :param stored: what the task state store holds; a person can empty it while the task is deferred.
    :param new: the record of a new request.
    :param adopt_task_id: the id that a person has given.
    :param awaited: the id that the triggerer has waited for.
    :raises KieInvalidRequest: when the id that was given is an address.
    """
    record = stored if stored and stored.digest == new.digest else new
    given = optional(adopt_task_id)
    if is_address(given):
        raise KieInvalidRequest("adopt_task_id is an address; give the task id alone, as kie.ai/logs shows it")
    if record.task_id and given in ("", record.task_id, *record.failed_ids):
        return record
    known = given or awaited
    if not known or known in record.failed_ids:
        return record
    log.info("Adopting KIE task %s for %s; nothing is paid.", known, record.source_id or record.digest)
    if not awaited:
        metrics.ADOPTED.add(kind=task_kind(record.kind).noun, connection=record.connection)
    return record.given(known)


def store_of_request(
    context: Context, row: TaskOperation, body: Mapping[str, Any], *, idempotency_key: str, force_new: str
) -> tuple[RecordStore, str]:
    """Return where a task's record is stored, and the digest of its request.

    What is made from one thing at KIE is stored under that thing's id, by which callbacks find it.

    :param context: the task's context.
    :param row: the operation.
    :param body: the request's fields as KIE names them.
    :param idempotency_key: the user's own name for it; empty: none.
    :param force_new: the user's text for a new one; empty: none.
    """
    store, ti = context["task_state_store"], context["ti"]
    digest = request_digest(row, body, asked_by(ti), idempotency_key=idempotency_key, force_new=force_new)
    if (row.parent is None or row.by_request) and not idempotency_key:
        digest = digest_of_this_try(store, digest, ti.max_tries)
    source = list(row.source_in(body).values())
    by_source = row.parent and len(row.once_per) == 1 and source and not (idempotency_key or force_new)
    return RecordStore(store, source_key(row.noun, str(source[0])) if by_source else f"{row.noun}/{digest}"), digest


def sender_of(context: Context, hook: KieHook, row: TaskOperation, body: Mapping[str, Any], **known: Any) -> Sender:
    """Return what sends a task instance's request; a leg that pays nothing opens no ledger.

    :param context: the task's context.
    :param hook: the account.
    :param row: the operation.
    :param body: the request's fields as KIE names them.
    :param known: further arguments of :class:`~airflow_kie.hooks.sending.Sender`.
    """
    return Sender(hook, row, body, context["ti"], functools.cache(lambda: ledger_of(context, hook)), **known)


def given_up(sender: Sender, made: Mapping[str, str]) -> list[str]:
    """Return those of a task instance's requests whose KIE task a person has given up since an earlier try.

    :param sender: the account's, for this operation.
    :param made: KIE's task ids by the requests' digests.
    """
    named = sender.released()
    asked = {digest: task_id for digest, task_id in made.items() if digest in named}
    with ThreadPoolExecutor(READS) as pool:  # a person may have adopted the task again
        released = pool.map(sender.is_released, asked, asked.values())
        return [digest for digest, gone in zip(asked, released, strict=True) if gone]


def ledger_of(context: Context, hook: KieHook) -> Ledger:
    """Return an account's ledger, and log what it does not cover.

    :param context: the task's context; its state is the ledger where nothing else can keep it.
    :param hook: the account.
    """
    opened = open_ledger(hook, TaskStateLedgerStore(context["task_state_store"]))
    rest = f" Not covered: {opened.not_covered}." if opened.not_covered else ""
    log.info("Paid requests are recorded in %s.%s", opened.where, rest)
    return opened.ledger
