"""Faults of details in the shape that the unified form's records have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from kie_simulator.faults import Fault
from kie_simulator.tasks import Json
from kie_simulator.unified.record import compact

_SUCCESS: Json = {"state": "success", "successFlag": 1}
_RUNNING: Json = {"state": "generating", "successFlag": 0, "resultJson": "", "response": None}


def _made(result: Json | None) -> Json:
    return _SUCCESS | {"resultJson": compact(result) if result is not None else "", "response": result}


def _pending_error(fault: Fault, data: Json) -> Json:
    code = 413 if fault.error_code is None else fault.error_code
    message = fault.error_message or "Uploaded audio matches existing work of art."
    return data | _RUNNING | {"failCode": str(code), "failMsg": message}


def _without_files(fault: Fault, data: Json) -> Json:
    """Say success before the result shows; the flag may lag too."""
    made = _made({"resultUrls": []} if fault.shape == "empty" else None)
    return data | made | ({} if fault.state is None else {"successFlag": fault.state})


def _unknown_shape(fault: Fault, data: Json) -> Json:
    return data | _made({"assets": [{"kind": "file", "href": "https://tempfile.aiquickdraw.com/s/asset"}]})


def _flag_message(fault: Fault, data: Json) -> Json:
    return data | _RUNNING | {"failMsg": fault.error_message or "The image server is busy."}


def _wrong_parent(fault: Fault, data: Json) -> Json:
    """Echo another song's id: nothing else in the record names the song."""
    param = json.loads(data["param"])
    fields = json.loads(param["input"]) | {"task_id": fault.parent or "0" * 31 + "1"}
    echo = compact(param | {"input": compact(fields)})
    return data | {"param": echo, "paramJson": echo}


def _input_repeated(fault: Fault, data: Json) -> Json:
    return data | _made({"resultUrls": [fault.url or "https://tempfile.aiquickdraw.com/p/original.mp3"]})


UNIFIED_FAULTS: Mapping[str, Callable[[Fault, Json], Json]] = {
    "pending_error": _pending_error,
    "without_files": _without_files,
    "unknown_shape": _unknown_shape,
    "flag_message": _flag_message,
    "wrong_parent": _wrong_parent,
    "input_repeated": _input_repeated,
}
