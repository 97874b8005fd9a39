"""Requests as values: what to send, without sending it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from airflow_kie.client.account import NO_CALLBACK_URL
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.market import JOBS
from airflow_kie.client.operations.operation import CallOperation, Form, Host, Operation, TaskOperation, snake_case


@dataclass(frozen=True)
class Request:
    """One request to KIE; the transport adds the host's address and the key.

    :param method: GET or POST.
    :param path: path below the host.
    :param host: which of KIE's hosts.
    :param params: query parameters.
    :param json: the JSON body, None for none.
    :param files: multipart files: field → (file name, bytes).
    :param form: the other multipart fields.
    :param headers: further headers.
    """

    method: str
    path: str
    host: Host = Host.API
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    files: Mapping[str, tuple[str, bytes | BinaryIO]] | None = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def create_request(kind: TaskOperation, body: Mapping[str, Any], callback_url: str) -> Request:
    """Return the request that makes a task.

    :param kind: the row.
    :param body: the fields as KIE names them; None values are left out.
    :param callback_url: where KIE calls back. It is always set: the dedicated API variant refuses a create without
        one (422).
    :raises KieInvalidRequest: when a field is missing that KIE refuses to do without.
    """
    fields = kind.fields(body)
    _check_required(kind, fields)
    if kind.model:
        fields = {"model": kind.model, "input": {snake_case(name): value for name, value in fields.items()}}
    return Request("POST", kind.create, json=fields | {kind.callback_field: callback_url or NO_CALLBACK_URL})


def details_request(kind: TaskOperation, task_id: str) -> Request:
    """Return the request that reads a task.

    :param kind: the row.
    :param task_id: KIE's id of the task.
    """
    return Request("GET", kind.details, params={"taskId": task_id})


def call_request(
    call: CallOperation,
    body: Mapping[str, Any] | None = None,
    file: tuple[str, bytes | BinaryIO] | None = None,
    form: str = Form.DEDICATED,
) -> Request:
    """Return the request of an operation that answers at once.

    :param call: the row.
    :param body: the fields as KIE names them.
    :param file: (file name, bytes) where the row sends multipart.
    :param form: the API variant in which KIE is asked, of a row that has a model.
    :raises KieInvalidRequest: when a field is missing that KIE refuses to do without.
    """
    fields = dict(body or {})
    _check_required(call, fields)
    if call.model and form == Form.UNIFIED:
        given = {snake_case(name): value for name, value in fields.items()}
        return Request("POST", JOBS.create, json={"model": call.model, "input": given})
    if call.method == "GET":
        return Request("GET", call.path, call.host, params={name: str(value) for name, value in fields.items()})
    if call.file_field is None:
        return Request(call.method, call.path, call.host, json=fields)
    return Request(call.method, call.path, call.host, files={call.file_field: file} if file else {}, form=fields)


def _check_required(operation: Operation, fields: Mapping[str, Any]) -> None:
    missing = [name for name in operation.required if fields.get(name) in (None, "")]
    if missing:
        raise KieInvalidRequest(
            f"{operation.title} needs {', '.join(missing)} (docs.kie.ai, {operation.page}); nothing was sent",
            kind=operation.name,
        )
