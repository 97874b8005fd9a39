"""The simulator answers in the unified form as pages and reports say: same code, members and types, each sourced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kie_callback_receiver import CallbackReceiver
from kie_simulator.server import SimulatorServer
from kie_traffic import ask, leaves, opened, shape
from live_recordings import differences

FOLDER = Path(__file__).parents[1] / "data" / "unified"
WRITTEN = sorted(FOLDER.glob("*.json"))
CALLBACKS = sorted((FOLDER / "callbacks").glob("*.json"))
SONG, AUDIO = "3f1c9e0b7a6d45289c0e1f2a3b4c5d6e", "8551a662-6f1c-4d2b-9d3a-1c2b3a4d5e6f"
MARKS = ("[D]", "[D-skill]", "[O]", "[C]", "[?]")
SETTINGS: dict[str, dict[str, Any]] = {
    "cover--images": {"cover_result": "images"},
    "cover--nested": {"cover_result": "nested"},
    "timestamped-lyrics--nested": {"inline_shape": "nested"},
    "staged-song": {"unified_callback": "staged"},
    "staged-cover": {"unified_callback": "staged"},
}
FAILING = {"failed-and-refunded", "market-failure"}


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(discovery_seconds=0) as running:
        yield running


@pytest.fixture
def kie(server: SimulatorServer) -> Iterator[httpx.Client]:
    server.control.reset()
    headers = {"Authorization": f"Bearer {server.api_key}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=200) as client:
        yield client


def prepared(server: SimulatorServer, kie: httpx.Client, name: str) -> dict[str, str]:
    """Switch on what a file is about, and return a song's ids by those of the files."""
    task_id = server.control.make_music("Rain", form="unified")[0].task_id
    record = kie.get(f"/api/v1/jobs/recordInfo?taskId={task_id}").json()["data"]
    server.control.set(**SETTINGS.get(name, {}))
    if name in FAILING:
        server.control.add_fault("task", "try_again")
    return {SONG: task_id, AUDIO: record["response"]["data"][0]["id"]}


@pytest.mark.parametrize("file", WRITTEN, ids=lambda path: path.stem)
def test_an_answer_has_the_members_and_types_that_are_written_down(
    file: Path, server: SimulatorServer, kie: httpx.Client
) -> None:
    ids = prepared(server, kie, file.stem)
    for exchange in json.loads(file.read_text()):
        wanted = exchange["response"]["body"]
        answer = ask(kie, exchange["request"], ids)
        if "recordInfo" in exchange["request"]["url"] and wanted["data"] and wanted["data"]["state"] != "waiting":
            server.control.advance(1000)
            answer = ask(kie, exchange["request"], ids)
        told = answer.json()
        assert (answer.status_code, answer.headers["content-type"], told["code"]) == (
            exchange["response"]["status"],
            exchange["response"]["content_type"],
            wanted["code"],
        ), told
        assert shape(opened(told)) == shape(opened(wanted)), exchange["about"]
        if told["code"] != 200:
            assert told["msg"] == wanted["msg"]
        for member in ("state", "successFlag", "failCode", "model", "creditsConsumed", "operationType"):
            assert (told["data"] or {}).get(member) == (wanted["data"] or {}).get(member)
        if told["data"] and "recordId" in wanted["data"]:
            ids[wanted["data"]["taskId"]] = told["data"]["taskId"]


@pytest.mark.parametrize("file", CALLBACKS, ids=lambda path: path.stem)
def test_a_callback_has_the_members_and_types_that_are_written_down(
    file: Path, server: SimulatorServer, kie: httpx.Client
) -> None:
    written = json.loads(file.read_text())
    ids = prepared(server, kie, file.stem)
    server.control.set(music_seconds=0, cover_seconds=0)
    with CallbackReceiver() as receiver:
        request = {"method": "POST", "url": "/api/v1/jobs/createTask", "body": written["request"]}
        request["body"] = {**written["request"], "callBackUrl": receiver.url}
        assert ask(kie, request, ids).json()["code"] == 200
        told = receiver.next().body
        while told["data"].get("callbackType") in ("text", "first"):
            told = receiver.next().body
    assert shape(opened(told)) == shape(opened(written["body"]))
    assert (told["code"], told["msg"]) == (written["body"]["code"], written["body"]["msg"])


@pytest.mark.parametrize("file", [*WRITTEN, *CALLBACKS], ids=lambda path: path.stem)
def test_every_member_of_what_is_written_by_hand_has_its_source_and_none_is_called_recorded(file: Path) -> None:
    written = json.loads(file.read_text())
    for one in written if isinstance(written, list) else [written]:
        body = one["body"] if "body" in one else one["response"]["body"]
        assert set(one["sources"]) == leaves(opened(body)), one["about"]
        assert all(source.startswith(MARKS) for source in one["sources"].values())
        assert one["recorded"] is False


def test_the_simulator_answers_as_kie_did_in_every_recording_of_the_live_check(
    server: SimulatorServer, kie: httpx.Client
) -> None:
    for recording in sorted((FOLDER / "recorded").glob("*.json")):
        assert differences(server, kie, json.loads(recording.read_text())) == {}, recording.name
