"""KieCallOperator: what KIE answers at once."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_kie.client.catalogue.checks import request_errors
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.operation import Host
from airflow_kie.client.operations.registry import call_operation
from airflow_kie.client.redact import map_texts, without_urls
from airflow_kie.durable.defaults import optional
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.requests import asked_by, ledger_of
from airflow_kie.durable.retried import KieOperator
from airflow_kie.durable.task_state import digest_of_this_try
from airflow_kie.hooks.calls import PaidCall, is_kept
from airflow_kie.hooks.catalogue import newer_models
from airflow_kie.hooks.kie import KieHook
from airflow_kie.lifecycle.identity import call_digest
from airflow_kie.lineage.facts import TaskLineage
from airflow_kie.lineage.lists import of_call

if TYPE_CHECKING:
    from airflow.sdk import Context

_LINKS = frozenset({"download_url", "gpt4o.download_url"})
"""Operations whose answer is a link to a file: a credential, which XCom must not hold."""


class KieCallOperator(KieOperator):
    """Calls a KIE operation that answers at once, and returns the answer.

    Addresses are removed from the answer, because they are credentials. A call that costs credits is paid for once per
    run (docs/paying-once.md): retries and clears return the stored answer. A persona and the timestamped lyrics of a
    track are paid for once across all runs. A call whose answer was lost is in doubt until a person releases it.

    :param operation: such as ``credit``, ``suno.timestamped_lyrics`` or ``style``; docs/operations.md lists them.
    :param request: the request's fields as KIE names them.
    :param kie_conn_id: Airflow connection of type ``kie``.
    :param idempotency_key: your own name for the call: all calls of the account with the same key are paid for once,
        across all runs.
    :param check_fields: False sends fields that this version's catalogue would reject, for newer models.
    """

    template_fields: Sequence[str] = ("request", "kie_conn_id", "idempotency_key")
    template_fields_renderers = {"request": "json"}
    ui_color = "#f3e8ff"

    def __init__(
        self,
        *,
        operation: str,
        request: Mapping[str, Any] | None = None,
        kie_conn_id: str = KieHook.default_conn_name,
        idempotency_key: str | None = None,
        check_fields: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.operation = operation
        self.row = call_operation(operation)
        if operation in _LINKS or self.row.host is Host.UPLOAD:
            raise KieInvalidRequest(
                f"{operation} answers with the address of a file, a credential that must not be in an XCom: call "
                "KieHook inside your own task, or use KieUploadOperator"
            )
        self.request = request
        self.kie_conn_id = kie_conn_id
        self.idempotency_key = idempotency_key
        self.check_fields = check_fields

    def execute(self, context: Context) -> Any:
        """Return KIE's answer without the addresses in it."""
        return run_with_outage_backoff(context, lambda: self._call(context))

    def lineage_at_start(self) -> TaskLineage:
        """Return the song that the call is about, if it is about one."""
        return of_call(self.row, self.kie_conn_id, self.request)

    def _call(self, context: Context) -> Any:
        hook, body = KieHook(self.kie_conn_id), self.request or {}
        if problems := request_errors(self.row, body, by_catalogue=self.check_fields, newer=newer_models):
            raise KieInvalidRequest(f"{'; '.join(problems)}; nothing was sent to KIE")
        if not is_kept(self.row, body):
            return map_texts(without_urls, hook.call(self.operation, body))
        ti, key = context["ti"], optional(self.idempotency_key)
        digest = call_digest(self.row, body, asked_by(ti), key)
        if not (key or self.row.once_per):
            digest = digest_of_this_try(context["task_state_store"], digest, ti.max_tries)
        ledger = functools.cache(lambda: ledger_of(context, hook))
        answer = PaidCall(hook, ledger, self.row, body, digest, ti).answer()
        return map_texts(without_urls, answer)
