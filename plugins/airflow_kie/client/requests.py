"""Requests as values: what to send, without sending it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_kie.client.account import NO_CALLBACK_URL
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.operation import (
    CallOperation,
    Endpoint,
    Host,
    Operation,
    TaskOperation,
    UploadOperation,
)


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
    """

    method: str
    path: str
    host: Host = Host.API
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    files: Mapping[str, tuple[str, bytes]] | None = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)


def create_request(kind: TaskOperation, body: Mapping[str, Any], callback_url: str) -> Request:
    """Return the request that makes a task.

    :param kind: the row.
    :param body: the fields as KIE names them; None values are left out.
    :param callback_url: where KIE shall call back. KIE refuses a create without one (422), so there always is one.
    :raises KieInvalidRequest: when a field is missing that KIE refuses to do without.
    """
    fields = {key: value for key, value in body.items() if value is not None}
    _check_required(kind, kind.required, fields)
    if kind.callback_field:
        fields[kind.callback_field] = callback_url or NO_CALLBACK_URL
    return Request(kind.create.method, kind.create.path, kind.create.host, json=fields)


def details_request(kind: TaskOperation, task_id: str, source: Mapping[str, Any]) -> Request:
    """Return the request that reads a task.

    :param kind: the row.
    :param task_id: KIE's id of the task.
    :param source: what the task was made from: a kind without details page is read by sending its create again.
    """
    if kind.details is None:
        return Request(kind.create.method, kind.create.path, kind.create.host, json=dict(source))
    return _request(kind.details, {kind.details_field: task_id})


def call_request(call: CallOperation, body: Mapping[str, Any] | None = None) -> Request:
    """Return the request of an operation that answers at once.

    :raises KieInvalidRequest: when a field is missing that KIE refuses to do without.
    """
    fields = dict(body or {})
    _check_required(call, call.required, fields)
    return _request(call.endpoint, fields)


def upload_request(upload: UploadOperation, body: Mapping[str, str], file: tuple[str, bytes] | None = None) -> Request:
    """Return the request that gives KIE a file.

    :param upload: the row.
    :param body: ``uploadPath``, ``fileName`` and, where the body is JSON, the content.
    :param file: (file name, bytes) where the row sends multipart.
    :raises KieInvalidRequest: when a field is missing that KIE refuses to do without.
    """
    _check_required(upload, upload.required, body)
    endpoint = upload.endpoint
    if upload.file_field is None:
        return Request(endpoint.method, endpoint.path, endpoint.host, json=dict(body))
    files = {upload.file_field: file} if file else {}
    return Request(endpoint.method, endpoint.path, endpoint.host, files=files, form=dict(body))


def _request(endpoint: Endpoint, fields: Mapping[str, Any]) -> Request:
    if endpoint.method == "GET":
        return Request(endpoint.method, endpoint.path, endpoint.host, params={k: str(v) for k, v in fields.items()})
    return Request(endpoint.method, endpoint.path, endpoint.host, json=dict(fields))


def _check_required(operation: Operation, required: tuple[str, ...], fields: Mapping[str, Any]) -> None:
    missing = [name for name in required if fields.get(name) in (None, "")]
    if missing:
        raise KieInvalidRequest(
            f"{operation.title} needs {', '.join(missing)} (docs.kie.ai, {operation.page}); nothing was sent",
            kind=operation.name,
        )
