"""Faults in details: answers that are whole but lie, lag or say too little."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kie_simulator.faults import Fault
from kie_simulator.readings import Family
from kie_simulator.tasks import Json
from kie_simulator.unified.faults import UNIFIED_FAULTS


def _unknown_state(fault: Fault, family: Family, data: Json) -> Json:
    unknown = 7 if isinstance(family.failed, int) else "REVIEWING"
    return data | {family.state_field: unknown if fault.state is None else fault.state}


def _pending_error(fault: Fault, family: Family, data: Json) -> Json:
    code, message = family.error_fields
    error = {
        code: 413 if fault.error_code is None else fault.error_code,
        message: fault.error_message or "Uploaded audio matches existing work of art.",
    }
    return data | {family.state_field: family.words()[0], "response": None} | error


def _emptied(value: Any, shape: str) -> Any:
    if isinstance(value, list):
        return [] if shape == "empty" else None
    if isinstance(value, dict):
        return {key: _emptied(inner, shape) for key, inner in value.items()}
    return value


def _without_files(fault: Fault, family: Family, data: Json) -> Json:
    success: Json = {family.state_field: family.words()[-1]}
    response = None if fault.shape == "no_response" else _emptied(data.get("response"), fault.shape)
    return data | success | {"response": response}


def _flag_message(fault: Fault, family: Family, data: Json) -> Json:
    message = {family.error_fields[1]: fault.error_message or "The image server is busy."}
    return data | {family.state_field: 2 if fault.state is None else fault.state, "response": None} | message


def _wrong_parent(fault: Fault, family: Family, data: Json) -> Json:
    return data | {"parentTaskId": fault.parent or "0" * 31 + "1"}


def _input_repeated(fault: Fault, family: Family, data: Json) -> Json:
    """Say success and name no stem, only the track that was to be separated (``originUrl``)."""
    response = dict.fromkeys(data.get("response") or {})
    origin = fault.url or "https://tempfile.aiquickdraw.com/p/original.mp3"
    return data | {family.state_field: family.words()[-1], "response": response | {"originUrl": origin}}


_FAULTS: Mapping[str, Callable[[Fault, Family, Json], Json]] = {
    "unknown_state": _unknown_state,
    "pending_error": _pending_error,
    "without_files": _without_files,
    "flag_message": _flag_message,
    "wrong_parent": _wrong_parent,
    "input_repeated": _input_repeated,
}


def spoilt_details(faults: Sequence[Fault], family: Family, data: Json | None) -> Json | None:
    """Return a task's details with faults applied.

    :param data: the true details, as they are at the end of the task where a fault shows a success.
    """
    for fault in faults:
        if fault.action == "data_null":
            return None
        if data is not None and "resultJson" in data and fault.action in UNIFIED_FAULTS:
            data = UNIFIED_FAULTS[fault.action](fault, data)
        elif data is not None and fault.action in _FAULTS:
            data = _FAULTS[fault.action](fault, family, data)
    return data
