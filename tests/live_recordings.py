"""Recordings of the live check of the unified form: holding the simulator and the client against what KIE answered."""

from __future__ import annotations

from typing import Any

import httpx

from airflow_kie.client.answers.decode import Read, decode_details
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS
from kie_answers import answer
from kie_simulator.server import SimulatorServer
from kie_traffic import ask, opened, shape
from tools.live_contract_check.recording import NOT_JSON

Entries = list[dict[str, Any]]
_NOT_COMPARED = ("balance", "song, ")
"""Steps whose answers say nothing of the form, or hold a song that the simulator has not made."""


def differences(server: SimulatorServer, http: httpx.Client, entries: Entries) -> dict[str, tuple[Any, Any]]:
    """Return, for each step at which the simulator answers in another shape than KIE did, both shapes.

    Of the readings of a task the last is compared: how often it was read depends on how long it took.
    """
    ids = _song_ids(server, http, entries)
    last = {entry["step"]: entry for entry in entries}
    found: dict[str, tuple[Any, Any]] = {}
    for entry in entries:
        step, recorded = entry["step"], entry["response"]["body"]
        reads = step.startswith("details")
        whole = isinstance(recorded, dict) and NOT_JSON not in recorded
        if step.startswith(_NOT_COMPARED) or not whole or (reads and entry is not last[step]):
            continue
        if reads:
            server.control.advance(1000)
        told = ask(http, entry["request"], ids).json()
        if shape(opened(told)) != shape(opened(recorded)):
            found[step] = (shape(opened(told)), shape(opened(recorded)))
        if not reads and isinstance(recorded.get("data"), dict) and "taskId" in recorded["data"]:
            ids[recorded["data"]["taskId"]] = (told["data"] or {}).get("taskId", "")
    return found


def unread(entries: Entries) -> list[str]:
    """Return the steps at which KIE shows a finished task and the client finds no result in its record."""
    rows = {
        row.unified.model: row.unified for row in OPERATIONS.values() if isinstance(row, TaskOperation) and row.unified
    }
    found = []
    for entry in entries:
        body = entry["response"]["body"]
        data = body.get("data") if isinstance(body, dict) else None
        row = rows.get(data.get("model")) if isinstance(data, dict) and data.get("state") == "success" else None
        if row is not None and entry["step"].startswith("details"):
            read = decode_details(row, data["taskId"], answer(data))
            if not (isinstance(read, Read) and read.details.complete):
                found.append(entry["step"])
    return found


def _song_ids(server: SimulatorServer, http: httpx.Client, entries: Entries) -> dict[str, str]:
    song = server.control.make_music("Rain", form="unified")[0].task_id
    track = http.get(f"/api/v1/jobs/recordInfo?taskId={song}").json()["data"]["response"]["data"][0]["id"]
    own = {"task_id": song, "audio_id": track}
    given = [(entry["request"]["body"] or {}).get("input") or {} for entry in entries if "unknown" not in entry["step"]]
    return {fields[name]: own[name] for fields in given for name in own if name in fields}
