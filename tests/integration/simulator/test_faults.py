"""The faults that can be switched on in the simulator's API."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import httpx
import pytest
from tinytag import TinyTag

from kie_simulator.server import SimulatorServer
from kie_simulator_client import CALLBACK, Kie


def covers_paid(simulator: SimulatorServer) -> int:
    return len(simulator.control.ledger("cover"))


def test_a_reset_before_the_effect_makes_and_charges_nothing(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.add_fault("create", "reset_before", kind="cover")
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        kie.create_cover(song)
    assert simulator.control.tasks("cover") == []
    assert covers_paid(simulator) == 0


def test_a_reset_after_the_effect_has_made_and_charged_the_task(
    simulator: SimulatorServer, kie: Kie, song: str
) -> None:
    simulator.control.add_fault("create", "reset_after", kind="cover")
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        kie.create_cover(song)
    (task,) = simulator.control.tasks("cover")
    assert covers_paid(simulator) == 1
    assert kie.create_cover(song)["data"]["taskId"] == task["task_id"]


@pytest.mark.parametrize("action", ["code", "http", "html", "malformed", "empty"])
@pytest.mark.parametrize("after", [False, True])
def test_a_spoilt_create_has_taken_effect_only_when_the_fault_comes_after_it(
    simulator: SimulatorServer, kie: Kie, song: str, action: str, after: bool
) -> None:
    simulator.control.add_fault("create", action, kind="cover", after=after)
    kie.http.post("/suno/cover/generate", json={"taskId": song, "callBackUrl": CALLBACK})
    assert covers_paid(simulator) == int(after)


def test_a_code_comes_in_a_200_with_its_message_and_retry_after(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.add_fault("credit", "code", code=429, msg="slow down", retry_after=7)
    answer = kie.http.get("/chat/credit")
    assert answer.json() == {"code": 429, "msg": "slow down", "data": None}
    assert (answer.status_code, answer.headers["retry-after"]) == (200, "7")


def test_an_http_error_has_the_status_too(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.add_fault("credit", "http", http=503)
    assert kie.http.get("/chat/credit").status_code == 503


def test_a_gateway_page_is_html_with_status_502(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.add_fault("credit", "html")
    answer = kie.http.get("/chat/credit")
    assert (answer.status_code, "Bad gateway" in answer.text) == (502, True)


@pytest.mark.parametrize(("action", "text"), [("malformed", '{"code":200,"msg":"succ'), ("empty", "")])
def test_an_answer_can_be_no_json(simulator: SimulatorServer, kie: Kie, action: str, text: str) -> None:
    simulator.control.add_fault("credit", action)
    assert kie.http.get("/chat/credit").text == text


def test_fields_can_be_missing_outside_and_inside_the_data(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.add_fault("create", "missing_fields", fields=["msg", "data.taskId"])
    assert kie.create_cover(song) == {"code": 200, "data": {}}
    assert covers_paid(simulator) == 1


def test_a_slow_answer_comes_after_the_effect(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.add_fault("create", "slow", seconds=600)
    with pytest.raises(httpx.ReadTimeout):
        kie.http.post("/suno/cover/generate", json={"taskId": song, "callBackUrl": CALLBACK}, timeout=0.5)
    while not covers_paid(simulator):  # long before the answer, however busy the machine is
        pass
    assert covers_paid(simulator) == 1


def test_maintenance_holds_for_everything_until_it_is_switched_off(
    simulator: SimulatorServer, kie: Kie, song: str
) -> None:
    fault = simulator.control.add_fault("api", "code", code=455, msg="maintenance", times=-1)
    answers = [kie.create_cover(song), kie.get("/chat/credit"), kie.get("/generate/record-info", taskId=song)]
    assert [answer["code"] for answer in answers] == [455, 455, 455]
    simulator.control.clear_faults(fault)
    assert kie.create_cover(song)["code"] == 200


def test_a_fault_strikes_as_often_as_it_is_set_to_after_those_it_skips(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.add_fault("credit", "code", code=500, times=2, skip=1)
    assert [kie.get("/chat/credit")["code"] for _ in range(5)] == [200, 500, 500, 200, 200]
    (shown,) = simulator.control.faults()
    assert (shown["struck"], shown["left"]) == (2, 0)


@pytest.mark.parametrize(
    "match",
    [
        {"title": "Velvet Harbour"},
        {"kind": "cover"},
        {"path": "/api/v1/suno/cover/generate"},
        {"account": "sim-key"},
    ],
)
def test_a_fault_strikes_only_what_it_matches(
    simulator: SimulatorServer, kie: Kie, song: str, match: dict[str, str]
) -> None:
    simulator.control.add_fault("create", "code", code=500, title="Another Song", times=-1)
    simulator.control.add_fault("create", "code", code=501, **match)
    assert kie.create_cover(song)["code"] == 501
    assert kie.create_cover(song)["code"] == 200


def test_a_probability_decides_how_many_requests_are_struck(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.add_fault("credit", "code", code=500, times=-1, probability=0.3)
    struck = sum(kie.get("/chat/credit")["code"] == 500 for _ in range(100))
    assert 10 < struck < 55


def test_a_file_can_be_cut_where_it_is_kept_so_that_its_length_seems_right(
    simulator: SimulatorServer, kie: Kie, song: str
) -> None:
    url = kie.music(song)["response"]["sunoData"][0]["audioUrl"]
    headers = {"User-Agent": "Mozilla/5.0"}
    whole = httpx.get(url, headers=headers, timeout=200).content
    simulator.control.add_fault("file", "cut", role="audio")
    cut = httpx.get(url, headers=headers, timeout=200)
    assert (cut.status_code, cut.headers["content-length"]) == (200, str(len(whole) // 5))
    assert whole.startswith(cut.content)


def test_a_track_plays_as_long_as_its_details_say(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    track = kie.music(song)["response"]["sunoData"][0]
    content = httpx.get(track["audioUrl"], headers={"User-Agent": "Mozilla/5.0"}, timeout=200).content
    sound = TinyTag.get(file_obj=BytesIO(content))
    assert sound.duration == pytest.approx(track["duration"], rel=0.05)


def test_an_action_that_a_phase_does_not_know_is_refused_with_those_it_knows(simulator: SimulatorServer) -> None:
    with pytest.raises(ValueError, match="has the actions"):
        simulator.control.add_fault("credit", "truncated")


def finished_cover(simulator: SimulatorServer, kie: Kie, song: str) -> str:
    simulator.control.set(cover_seconds=0)
    cover_id: str = kie.create_cover(song)["data"]["taskId"]
    return cover_id


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        ({"action": "unknown_state"}, {"successFlag": 7}),
        ({"action": "unknown_state", "state": "REVIEWING"}, {"successFlag": "REVIEWING"}),
        ({"action": "pending_error"}, {"successFlag": 0, "errorCode": 413, "response": None}),
        ({"action": "without_files"}, {"successFlag": 1, "response": {"images": []}}),
        ({"action": "without_files", "shape": "null"}, {"successFlag": 1, "response": {"images": None}}),
        ({"action": "without_files", "shape": "no_response"}, {"successFlag": 1, "response": None}),
        ({"action": "flag_message", "error_message": "busy"}, {"successFlag": 2, "errorMessage": "busy"}),
        ({"action": "wrong_parent", "parent": "f" * 32}, {"parentTaskId": "f" * 32, "successFlag": 1}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if "action" in value else "",
)
def test_details_can_lie_for_one_read(
    simulator: SimulatorServer, kie: Kie, song: str, fault: dict[str, Any], wanted: dict[str, Any]
) -> None:
    cover_id = finished_cover(simulator, kie, song)
    truth = kie.cover(cover_id)
    simulator.control.add_fault(phase="details", kind="cover", task_id=cover_id, **fault)
    lie = kie.cover(cover_id)
    assert {key: lie[key] for key in wanted} == wanted
    assert kie.cover(cover_id) == truth


def test_details_can_be_without_data_for_some_reads(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.add_fault("details", "data_null", kind="cover", times=2)
    cover_id = finished_cover(simulator, kie, song)
    assert [kie.cover(cover_id) is None for _ in range(3)] == [True, True, False]


def test_a_music_success_can_be_without_tracks(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.add_fault("details", "without_files", kind="music")
    data = kie.music(song)
    assert (data["status"], data["response"]["sunoData"]) == ("SUCCESS", [])


@pytest.mark.parametrize(
    ("kind", "path", "field", "failed"),
    [("music", "/generate", "status", "SENSITIVE_WORD_ERROR"), ("cover", "/suno/cover/generate", "successFlag", 3)],
)
def test_a_task_can_fail_with_a_state_a_code_and_a_message(
    simulator: SimulatorServer, kie: Kie, song: str, kind: str, path: str, field: str, failed: str | int
) -> None:
    simulator.control.set(music_seconds=0, cover_seconds=0)
    simulator.control.add_fault("task", "fail", kind=kind, state=failed, error_code=400, error_message="artist name")
    created = kie.generate() if kind == "music" else kie.create_cover(song)
    data = kie.get(
        f"{path}/record-info".replace("generate/", "") if kind == "cover" else f"{path}/record-info",
        taskId=created["data"]["taskId"],
    )["data"]
    assert (data[field], data["errorCode"], data["errorMessage"]) == (failed, 400, "artist name")
    assert data["response"] is None


def test_a_fault_about_endings_strikes_tasks_that_are_running(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    cover_id = kie.create_cover(song)["data"]["taskId"]
    simulator.control.add_fault("task", "fail", source_id=song, kind="cover")
    simulator.control.advance(60)
    assert kie.cover(cover_id)["successFlag"] == 3


def test_a_task_can_take_longer(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.add_fault("task", "takes", kind="cover", seconds=5000)
    cover_id = kie.create_cover(song)["data"]["taskId"]
    simulator.control.advance(4000)  # the clock goes on meanwhile
    assert kie.cover(cover_id)["successFlag"] == 2
    simulator.control.advance(1001)
    assert kie.cover(cover_id)["successFlag"] == 1
