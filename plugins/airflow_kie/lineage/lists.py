"""The lineage of a list of requests, of a call, and of a file that KIE is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from airflow_kie.client.operations.account import UPLOADED
from airflow_kie.client.operations.operation import CallOperation, TaskOperation
from airflow_kie.client.redact import texts_in
from airflow_kie.lineage.facts import Dataset, Facts, Made, TaskLineage, at_kie, made_from

MOST = 1000
"""Datasets of one kind in an event: stores refuse larger ones. A list's table, which is among its outputs, has all."""


def to_list(row: TaskOperation, kie_conn_id: str, requests: Any, common: Mapping[str, Any] | None) -> TaskLineage:
    """Return what a list is made from: its table in S3, what its requests name at KIE, and files that KIE was given.

    :param row: the operation.
    :param kie_conn_id: the connection of the account that pays.
    :param requests: the address of a table, or the requests themselves.
    :param common: the fields that each request has.
    """
    if isinstance(requests, str):
        inputs = _file(requests) + _given(common or {})
    else:
        bodies = [{**(common or {}), **body} for body in requests or () if isinstance(body, Mapping)]
        parents = [at for body in bodies[:MOST] for at in made_from(row.name, _parent(row, body))]
        inputs = tuple(dict.fromkeys([*parents, *(one for body in bodies[:MOST] for one in _given(body))]))
    return TaskLineage(inputs, (), Facts(row.name, kie_conn_id))


def _parent(row: TaskOperation, body: Mapping[str, Any]) -> str | None:
    named = row.named(body).get(row.parent.field) if row.parent else None
    return str(named) if named else None


def of_list(begun: TaskLineage, rows: Iterable[Mapping[str, Any]], bucket: str = "", table: str = "") -> TaskLineage:
    """Return the lineage of a list that has ended: each KIE task that it has made, its files, and its table.

    :param begun: of :func:`to_list`.
    :param rows: what became of each request.
    :param bucket: where its files are; empty: they are not archived.
    :param table: the key of its table.
    """
    outputs: list[Dataset] = []
    for row in rows:
        if row.get("task_id") and row["status"] in ("archived", "done") and len(outputs) < MOST:
            task_id, operation = row["task_id"], begun.facts.operation
            task = at_kie(operation, task_id)
            outputs.append(replace(task, made=Made(operation.rpartition(".")[2], task_id=task_id)))
            for file in row.get("files", ()):
                made = Made(file["kind"], task_id, task, size=file["size"], sha256=file["sha256"])
                outputs.append(Dataset(f"s3://{bucket}", file["key"], made))
    if table:
        outputs.append(Dataset(f"s3://{bucket}", table, Made("results", content_type="application/x-ndjson")))
    return replace(begun, outputs=tuple(outputs), facts=replace(begun.facts, changed=bool(outputs)))


def of_call(row: CallOperation, kie_conn_id: str, body: Any) -> TaskLineage:
    """Return the lineage of a call: the song that it is about, where it is about one.

    :param row: the operation.
    :param kie_conn_id: the connection of the account that pays.
    :param body: the request's fields.
    """
    song = body.get("taskId") if isinstance(body, Mapping) and "taskId" in row.once_per else None
    inputs = (at_kie("suno.music", str(song)),) if song else ()
    return TaskLineage(inputs, (), Facts(row.name, kie_conn_id, music_task_id=str(song) if song else None))


def to_upload(kie_conn_id: str, source: Any) -> TaskLineage:
    """Return the lineage of a file that KIE is given, before that."""
    return TaskLineage(_file(source), (), Facts("upload", kie_conn_id))


def of_upload(begun: TaskLineage, reference: str) -> TaskLineage:
    """Return the lineage of a file that KIE has.

    :param begun: of :func:`to_upload`.
    :param reference: by which requests name it.
    """
    source = begun.inputs[0] if begun.inputs else None
    return replace(begun, outputs=(replace(_uploaded(reference), made=Made("upload", made_from=source)),))


def _given(body: Mapping[str, Any]) -> tuple[Dataset, ...]:
    """Return the files that KIE was given and a request names."""
    return tuple(_uploaded(text) for text in texts_in(body) if text.startswith(UPLOADED))


def _uploaded(reference: str) -> Dataset:
    return at_kie("upload", reference.removeprefix(UPLOADED))


def _file(address: Any) -> tuple[Dataset, ...]:
    bucket, _, key = str(address).removeprefix("s3://").partition("/")
    return (Dataset(f"s3://{bucket}", key),) if str(address).startswith("s3://") and key else ()
