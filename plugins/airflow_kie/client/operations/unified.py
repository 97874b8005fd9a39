"""The unified API variant of an operation: what all of them share (docs.kie.ai suno-api, pages of October 2026)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from airflow_kie.client import errors
from airflow_kie.client.operations.market import JOBS
from airflow_kie.client.operations.operation import Form, ResultRow, TaskOperation, snake_case


def in_both_forms(
    dedicated: TaskOperation, model: str, *results: ResultRow, also_reads: Iterable[str] = (), **more: Any
) -> TaskOperation:
    """Return the row of an operation that can be requested in both API variants.

    :param dedicated: its row in the dedicated API variant.
    :param model: its model in the unified API variant.
    :param results: what it makes, as the unified API variant shows it.
    :param also_reads: models whose tasks are read like its own.
    :param more: further fields of the unified row that differ.
    """
    parent = dedicated.parent
    fields: dict[str, Any] = {
        "form": Form.UNIFIED,
        "required": tuple(name for name in dedicated.required if name not in more.get("unsent", ())),
        "both_forms": True,
        "model": model,
        "reads": frozenset((model, *also_reads)),
        "create": JOBS.create,
        "details": JOBS.details,
        "callback_field": JOBS.callback_field,
        "id_path": "taskId || recordId",
        "state_path": JOBS.state_path,
        "states": JOBS.states,
        "results": results,
        # A success of unknown shape is paid and finished: of most of these nobody has published a record.
        "shape_known": False,
        "inputs": "",
        "tracks": "",
        # The record repeats the request, and names what it is made from nowhere else.
        "parent_path": f"from_json(from_json(param).input).{snake_case(parent.field)}" if parent else "",
        "error_code_path": JOBS.error_code_path,
        "error_message_path": JOBS.error_message_path,
        "unknown_codes": JOBS.unknown_codes,
        "create_errors": {},
        # Measured in October 2026: 400 beside "try again later" and with the credits given back.
        "details_errors": {400: errors.KieGenerationFailed},
        "defaults": {},
    }
    return replace(dedicated, both_forms=True, default=Form.UNIFIED, unified=replace(dedicated, **{**fields, **more}))
