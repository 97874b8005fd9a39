"""The identity of a request: the digest under which the ledger of paid requests records it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.operation import CallOperation, TaskOperation
from airflow_kie.client.redact import without_queries


def request_digest(
    kind: TaskOperation,
    body: Mapping[str, Any],
    asked_by: Mapping[str, Any],
    *,
    idempotency_key: str = "",
    force_new: str = "",
) -> str:
    """Return the digest of a request.

    A request that is made from something at KIE is identified by that and by the fields that distinguish it: every run
    means the same task. Any other request is a new one in each run. A key of the user's replaces both.

    :param kind: the row.
    :param body: the request's fields as KIE names them, in either API variant's spelling, which makes no difference.
    :param asked_by: namespace, DAG, run and Airflow task, and the position in a list of equal requests.
    :param idempotency_key: the user's own name for the request, the same over runs.
    :param force_new: a text that was not used before makes another request of it.
    """
    identity: dict[str, Any]
    if idempotency_key:
        identity = {"key": idempotency_key}
    elif kind.parent is not None:
        identity = {"source": kind.source_in(body), "request": kind.named(body) if kind.by_request else None}
    else:
        identity = {"asked_by": dict(asked_by), "request": kind.named(body)}
    if force_new:
        identity["force_new"] = force_new
    return digest_of({"operation": kind.name, **identity})


def call_digest(
    call: CallOperation, body: Mapping[str, Any], asked_by: Mapping[str, Any], idempotency_key: str = ""
) -> str:
    """Return the digest of a call that KIE answers at once.

    :param call: the row.
    :param body: the request's fields as KIE names them.
    :param asked_by: who asks: what another one asks for is another call.
    :param idempotency_key: the user's own name for it, the same over runs.
    """
    identity: dict[str, Any] = {"asked_by": dict(asked_by), "request": dict(body)}
    if idempotency_key:
        identity = {"key": idempotency_key}
    elif call.once_per:
        identity = {"source": {name: body.get(name) for name in call.once_per}}
    return digest_of({"operation": call.name, **identity})


def digest_of(value: Mapping[str, Any]) -> str:
    """Return the digest of plain values: keys sorted, nulls, callback URLs and the queries of addresses left out.

    :raises KieInvalidRequest: for a value that is not JSON, such as a date.
    """
    try:
        text = json.dumps(_canonical(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, RecursionError) as error:
        raise KieInvalidRequest(f"the request has a value that is not JSON ({error})") from None
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {str(name): _canonical(item) for name, item in value.items() if item is not None}
        return {name: item for name, item in kept.items() if name.lower() != "callbackurl"}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return without_queries(value) if isinstance(value, str) else value
