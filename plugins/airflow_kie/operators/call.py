"""KieCallOperator: what KIE answers at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import NEVER_EXPIRE, BaseOperator  # type: ignore[attr-defined]  # in its __all__, not in its stub

from airflow_kie.client.catalogue.checks import request_errors
from airflow_kie.client.catalogue.prices import quote
from airflow_kie.client.errors import KieCreateInDoubt, KieError, KieInvalidRequest
from airflow_kie.client.operations.operation import Host
from airflow_kie.client.redact import map_texts, without_urls
from airflow_kie.durable.outage_backoff import run_with_outage_backoff
from airflow_kie.durable.rendered_fields import HidesCredentials
from airflow_kie.durable.retried import Retried
from airflow_kie.hooks.cost import may_be_charged
from airflow_kie.hooks.kie import KieHook
from airflow_kie.hooks.tasks import call_operation

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_kie.durable.task_state import TaskStateStore

_STORE_KEY = "call"
_LINKS = frozenset({"download_url", "gpt4o.download_url"})
"""Operations whose answer is a link to a file: a credential, which XCom must not hold."""


class KieCallOperator(HidesCredentials, Retried, BaseOperator):
    """Asks KIE for something that it answers at once, and returns the answer.

    Addresses in the answer are left out: they are credentials. A call that costs credits is not repeated
    when its answer was lost; it fails then, and a clear asks again.

    :param operation: such as ``credit``, ``suno.timestamped_lyrics`` or ``style``; docs/operations.md lists them.
    :param request: the request's fields as KIE names them.
    :param kie_conn_id: Airflow connection of type ``kie``.
    :param check_fields: False sends what KIE's catalogue of this version would refuse, for a model that is newer.
    """

    template_fields: Sequence[str] = ("request", "kie_conn_id")
    template_fields_renderers = {"request": "json"}
    ui_color = "#f3e8ff"

    def __init__(
        self,
        *,
        operation: str,
        request: Mapping[str, Any] | None = None,
        kie_conn_id: str = KieHook.default_conn_name,
        check_fields: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.operation = operation
        self.row = call_operation(operation)
        if operation in _LINKS or self.row.host is Host.UPLOAD:
            raise KieInvalidRequest(
                f"{operation} answers with the address of a file, which is a credential and belongs in no XCom: call "
                "KieHook inside your own task, or use KieUploadOperator"
            )
        self.request = request
        self.kie_conn_id = kie_conn_id
        self.check_fields = check_fields

    def execute(self, context: Context) -> Any:
        """Return KIE's answer without the addresses in it."""
        return run_with_outage_backoff(context, lambda: self._call(context))

    def _call(self, context: Context) -> Any:
        hook, body = KieHook(self.kie_conn_id), self.request or {}
        if problems := request_errors(self.row, body, by_catalogue=self.check_fields):
            raise KieInvalidRequest(f"{'; '.join(problems)}; nothing was sent to KIE")
        if quote(self.row, body).high == 0:
            return map_texts(without_urls, hook.call(self.operation, body))
        store, max_tries = context["task_state_store"], context["ti"].max_tries
        if store.get(_STORE_KEY) == max_tries:
            raise KieCreateInDoubt(f"{self.row.title} was called by an earlier try")
        _mark(store, max_tries)
        try:
            answer = hook.call(self.operation, body)
        except KieError as error:
            if may_be_charged(error):
                raise KieCreateInDoubt(f"{self.row.title}: {error.facts.message}") from error
            _mark(store, -1)  # KIE has refused it, or was not asked
            raise
        _mark(store, -1)
        return map_texts(without_urls, answer)


def _mark(store: TaskStateStore, max_tries: int) -> None:
    """Store that the call is under way since the clear that this number counts, or, with -1, that it is over."""
    store.set(_STORE_KEY, max_tries, retention=NEVER_EXPIRE)
