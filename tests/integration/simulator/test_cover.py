"""Cover tasks of the simulator behave as KIE's page *Generate Music Cover* and the observations say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie

SIMULATOR = {"api_keys": ["sim-key", "sim-other"]}


def test_a_cover_has_its_own_id_and_goes_from_pending_over_generating_to_success(
    simulator: SimulatorServer, kie: Kie, song: str
) -> None:
    answer = kie.create_cover(song)
    cover_id = answer["data"]["taskId"]
    assert (answer["code"], answer["msg"]) == (200, "success")
    assert re.fullmatch("[0-9a-f]{32}", cover_id)
    assert cover_id != song

    flags = [kie.cover(cover_id)["successFlag"]]
    simulator.control.advance(6)
    flags.append(kie.cover(cover_id)["successFlag"])
    simulator.control.advance(60)
    flags.append(kie.cover(cover_id)["successFlag"])
    assert flags == [0, 2, 1]


def test_details_of_a_finished_cover_have_kies_fields_and_error_code_200(
    simulator: SimulatorServer, kie: Kie, song: str
) -> None:
    cover_id = kie.create_cover(song, callBackUrl="https://x.invalid/cb?secret=1")["data"]["taskId"]
    simulator.control.advance(61)
    data = kie.cover(cover_id)
    images = data.pop("response")["images"]
    times = [data.pop("createTime"), data.pop("completeTime")]
    assert data == {
        "taskId": cover_id,
        "parentTaskId": song,
        "callbackUrl": "https://x.invalid/cb?secret=1",
        "successFlag": 1,
        "errorCode": 200,
        "errorMessage": "",
    }
    assert len(set(images)) == 2
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)


def test_details_of_a_running_cover_have_no_files_and_no_end(kie: Kie, song: str) -> None:
    data = kie.cover(kie.create_cover(song)["data"]["taskId"])
    assert (data["response"], data["completeTime"], data["errorCode"]) == (None, None, None)


def test_times_are_epoch_milliseconds_when_that_is_switched_on(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.set(time_format="epoch", cover_seconds=0)
    data = kie.cover(kie.create_cover(song)["data"]["taskId"])
    assert isinstance(data["createTime"], int)
    assert isinstance(data["completeTime"], int)


def test_a_second_cover_of_a_song_is_refused_with_the_first_ones_id_and_not_charged(
    simulator: SimulatorServer, kie: Kie, song: str
) -> None:
    first = kie.create_cover(song)["data"]["taskId"]
    before = kie.get("/chat/credit")["data"]
    answer = kie.create_cover(song)
    assert (answer["code"], answer["data"]) == (400, {"taskId": first})
    assert kie.get("/chat/credit")["data"] == before
    assert [charge["task_id"] for charge in simulator.control.ledger("cover")] == [first]


@pytest.mark.parametrize("http", [200, 400])
@pytest.mark.parametrize("code", [400, 409])
@pytest.mark.parametrize("data", ["object", "null", "string"])
def test_the_form_of_a_duplicate_answer_can_be_chosen(
    simulator: SimulatorServer, kie: Kie, song: str, http: int, code: int, data: str
) -> None:
    first = kie.create_cover(song)["data"]["taskId"]
    simulator.control.set(duplicate={"http": http, "code": code, "data": data})
    answer = kie.http.post("/suno/cover/generate", json={"taskId": song, "callBackUrl": "https://x.invalid"})
    assert (answer.status_code, answer.json()["code"]) == (http, code)
    assert answer.json()["data"] == {"object": {"taskId": first}, "null": None, "string": first}[data]


def test_without_a_duplicate_answer_every_create_makes_a_task(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    simulator.control.set(duplicate="none")
    made = [kie.create_cover(song)["data"]["taskId"] for _ in range(2)]
    assert [charge["task_id"] for charge in simulator.control.ledger("cover")] == made
    simulator.control.set(duplicate={"code": 409})
    answer = kie.create_cover(song)
    assert (answer["code"], answer["data"]) == (409, {"taskId": made[-1]})


@pytest.mark.parametrize("blocks", [False, True])
def test_a_failed_cover_blocks_a_second_one_only_when_that_is_switched_on(
    simulator: SimulatorServer, kie: Kie, song: str, blocks: bool
) -> None:
    simulator.control.set(failed_cover_blocks=blocks, cover_seconds=0)
    simulator.control.add_fault("task", "fail", kind="cover")
    failed = kie.create_cover(song)["data"]["taskId"]
    assert kie.cover(failed)["successFlag"] == 3
    assert kie.create_cover(song)["code"] == (400 if blocks else 200)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"taskId": "0" * 32}, "Original music record does not exist"),
        ({"callBackUrl": None}, "Please enter callBackUrl"),
    ],
)
def test_a_create_that_lacks_something_is_refused_with_kies_words_and_not_charged(
    simulator: SimulatorServer, kie: Kie, song: str, changes: dict[str, Any], message: str
) -> None:
    assert kie.create_cover(song, **changes) == {"code": 422, "msg": message, "data": None}
    assert simulator.control.ledger() == []


def test_an_unknown_cover_id_is_a_success_without_data(kie: Kie) -> None:
    answer = kie.get("/suno/cover/record-info", taskId="0" * 32)
    assert answer == {"code": 200, "msg": "success", "data": None}


def test_a_music_id_is_unknown_to_the_cover_details_and_a_cover_id_to_the_music_details(kie: Kie, song: str) -> None:
    cover_id = kie.create_cover(song)["data"]["taskId"]
    assert kie.cover(song) is None
    assert kie.music(cover_id) is None


def test_a_task_of_another_account_is_unknown(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    cover_id = kie.create_cover(song)["data"]["taskId"]
    other = Kie(simulator, "sim-other")
    assert other.cover(cover_id) is None
    assert other.create_cover(song)["msg"] == "Original music record does not exist"
    other.close()


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "sim-key"])
def test_a_missing_or_wrong_key_is_refused_in_the_body_of_a_200(kie: Kie, song: str, authorization: str | None) -> None:
    kie.http.headers.pop("authorization")
    headers = {"Authorization": authorization} if authorization else {}
    answer = kie.http.post("/suno/cover/generate", json={"taskId": song}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (200, 401)
    assert answer.json()["msg"].startswith("Unauthorized \u2013 Authentication failed.")


def test_error_codes_become_http_statuses_when_that_is_switched_on(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(http_errors=True)
    answer = kie.http.post("/suno/cover/generate", json={"taskId": "x", "callBackUrl": "https://x.invalid"})
    assert (answer.status_code, answer.json()["code"]) == (422, 422)


@pytest.mark.parametrize("code", [402, 500])
def test_without_credits_a_create_is_refused_with_kies_typographic_words(
    simulator: SimulatorServer, kie: Kie, song: str, code: int
) -> None:
    simulator.control.set(out_of_credits_code=code)
    simulator.control.set_credits(0)
    answer = kie.create_cover(song)
    assert answer["code"] == code
    assert answer["msg"].startswith("Credits insufficient : Your current balance isn\u2019t enough")
    assert simulator.control.ledger() == []


def test_the_twenty_first_create_in_a_window_is_refused(simulator: SimulatorServer, kie: Kie) -> None:
    songs = simulator.control.make_music(count=21)
    simulator.control.set(rate_window=600)
    answers = [kie.create_cover(song.task_id) for song in songs]
    assert [answer["code"] for answer in answers] == [200] * 20 + [429]
    assert answers[-1]["msg"] == "Your call frequency is too high. Please try again later."
    assert simulator.control.state()["rate_limited"] == 1
    assert len(simulator.control.ledger("cover")) == 20


def test_each_account_has_a_rate_window_of_its_own(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(rate_limit=1, rate_window=600)
    assert [kie.generate()["code"], kie.generate()["code"]] == [200, 429]
    other = Kie(simulator, "sim-other")
    assert other.generate()["code"] == 200
    other.close()


def test_reading_a_task_too_often_is_counted_and_refused_only_when_that_is_switched_on(
    simulator: SimulatorServer, kie: Kie, song: str
) -> None:
    simulator.control.set(reads_per_second=1)
    for _ in range(40):
        assert kie.get("/generate/record-info", taskId=song)["code"] == 200
    assert simulator.control.state()["excess_reads"][song] > 0
    simulator.control.set(refuse_excess_reads=True)
    assert 429 in {kie.get("/generate/record-info", taskId=song)["code"] for _ in range(40)}


def test_a_cover_of_unfinished_music_is_accepted_unless_switched_off(simulator: SimulatorServer, kie: Kie) -> None:
    first, second = simulator.control.make_music("One", "Two", state="PENDING")
    assert kie.create_cover(first.task_id)["code"] == 200
    simulator.control.set(unfinished_music="refuse")
    assert kie.create_cover(second.task_id)["code"] == 422


def test_the_ledger_keeps_no_query_string_of_a_callback_url(simulator: SimulatorServer, kie: Kie, song: str) -> None:
    kie.create_cover(song, callBackUrl="https://x.invalid/cb?signature=secret")
    (charge,) = simulator.control.ledger("cover")
    assert charge["request"]["callBackUrl"] == "https://x.invalid/cb"
    assert charge["source_id"] == song
