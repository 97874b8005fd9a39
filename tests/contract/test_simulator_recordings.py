"""The simulator answers every recorded request as KIE did: same status, same code, same shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kie_simulator.server import SimulatorServer
from kie_traffic import ask, opened, shape

RECORDINGS = sorted((Path(__file__).parents[1] / "data" / "kie-recordings").glob("*.json"))
ADDED_IN_AUTUMN = {"successFlag", "paramJson", "response", "creditsConsumed"}
MARKET_STATES = {"waiting", "queuing", "generating", "success", "fail"}


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as running:
        yield running


@pytest.fixture
def simulator(server: SimulatorServer) -> SimulatorServer:
    server.control.reset()
    return server


@pytest.fixture
def kie(simulator: SimulatorServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {simulator.api_key}"}
    with httpx.Client(base_url=simulator.url, headers=headers, trust_env=False, timeout=200) as client:
        yield client


def without_later_members(body: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what KIE has added to the market's records since they were recorded."""
    if isinstance(body["data"], dict) and "state" in body["data"]:
        return body | {"data": {name: value for name, value in body["data"].items() if name not in ADDED_IN_AUTUMN}}
    return body


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_answers_every_recorded_request_with_the_recorded_status_code_and_shape(
    recording: Path, simulator: SimulatorServer, kie: httpx.Client
) -> None:
    ids: dict[str, str] = {}
    for exchange in json.loads(recording.read_text()):
        request, recorded = exchange["request"], exchange["response"]
        answer = ask(kie, request, ids)
        wanted = recorded["body"]["data"]
        while isinstance(wanted, dict) and answer.json()["data"].get("state") != wanted.get("state"):
            assert answer.json()["data"]["state"] in MARKET_STATES - {"success", "fail"}
            simulator.control.advance(1)
            answer = ask(kie, request, ids)

        data = answer.json()["data"]
        assert answer.status_code == recorded["status"]
        assert answer.headers["content-type"] == recorded["content_type"]
        assert answer.json()["code"] == recorded["body"]["code"]
        assert shape(without_later_members(answer.json())) == shape(recorded["body"])
        if recorded["body"]["code"] != 200:
            assert answer.json()["msg"] == recorded["body"]["msg"]
        if isinstance(wanted, dict) and "state" in wanted:
            assert shape(opened(without_later_members(answer.json()))) == shape(opened(recorded["body"]))
        if isinstance(wanted, dict) and "taskId" in wanted:
            ids[wanted["taskId"]] = data["taskId"]
            assert len(data["taskId"]) == len(wanted["taskId"])


def test_there_are_recordings_to_compare_with() -> None:
    assert len(RECORDINGS) >= 24
