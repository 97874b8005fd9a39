"""Music tasks and the account's own calls of the simulator."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie


def test_music_goes_through_kies_states_and_its_tracks_grow_with_them(simulator: SimulatorServer, kie: Kie) -> None:
    task_id = kie.generate()["data"]["taskId"]
    seen: dict[str, list[tuple[bool, bool]]] = {}
    while "SUCCESS" not in seen:
        data = kie.music(task_id)
        tracks = (data["response"] or {"sunoData": []})["sunoData"]
        seen[data["status"]] = [(track["audioUrl"] != "", track["duration"] is not None) for track in tracks]
        simulator.control.advance(1)
    # The second half of a song may take no longer than the first: then FIRST_SUCCESS is passed unseen.
    assert list(seen)[:2] == ["PENDING", "TEXT_SUCCESS"]
    assert seen["PENDING"] == []
    assert seen["TEXT_SUCCESS"] == [(False, False), (False, False)]
    assert seen.get("FIRST_SUCCESS", [(True, True), (False, False)]) == [(True, True), (False, False)]
    assert seen["SUCCESS"] == [(True, True), (True, True)]


def test_music_takes_between_65_and_240_simulated_seconds(simulator: SimulatorServer, kie: Kie) -> None:
    for _ in range(8):
        kie.generate()
    durations = [task["seconds"] for task in simulator.control.tasks("music")]
    assert all(65 <= seconds <= 240 for seconds in durations)
    assert len(set(durations)) == 8


@pytest.mark.parametrize("state", ["PENDING", "TEXT_SUCCESS", "FIRST_SUCCESS"])
def test_songs_that_are_ordered_in_a_state_are_in_it(simulator: SimulatorServer, state: str) -> None:
    simulator.control.set(music_seconds=36_000)
    for _ in range(5):
        simulator.control.make_music(count=100, state=state)
    assert {task["state"] for task in simulator.control.tasks("music")} == {state}


def test_a_details_param_is_the_request_as_a_json_string(kie: Kie) -> None:
    task_id = kie.generate(prompt="a very long winter")["data"]["taskId"]
    assert json.loads(kie.music(task_id)["param"])["prompt"] == "a very long winter"


def test_a_song_costs_twelve_credits_and_the_balance_is_a_float(kie: Kie) -> None:
    kie.generate()
    assert kie.http.get("/chat/credit").text == '{"code":200,"msg":"success","data":9988.0}'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"callBackUrl": ""}, "Please enter callBackUrl."),
        ({"customMode": None}, "customMode cannot be blank"),
        ({"customMode": True, "title": "x"}, "style cannot be blank"),
        ({"customMode": True, "style": "pop", "title": "x" * 81}, "title cannot exceed 80 characters"),
        ({"prompt": "x" * 3001}, "prompt cannot exceed 3000 characters"),
    ],
)
def test_a_song_that_breaks_a_rule_is_refused(kie: Kie, changes: dict[str, Any], message: str) -> None:
    answer = kie.generate(**changes)
    assert (answer["code"], answer["msg"]) == (422, message)


@pytest.mark.parametrize(
    "state", ["CREATE_TASK_FAILED", "GENERATE_AUDIO_FAILED", "SENSITIVE_WORD_ERROR", "CALLBACK_EXCEPTION"]
)
def test_songs_can_be_made_in_every_bad_state(simulator: SimulatorServer, kie: Kie, state: str) -> None:
    song = simulator.control.make_music(state=state, error_message="Tags contain artist name")[0]
    data = kie.music(song.task_id)
    assert (data["status"], data["errorMessage"]) == (state, "Tags contain artist name")
    assert (data["response"] is not None) == (state == "CALLBACK_EXCEPTION")


def test_running_songs_go_on_from_the_state_they_were_made_in(simulator: SimulatorServer, kie: Kie) -> None:
    song = simulator.control.make_music(state="TEXT_SUCCESS")[0]
    assert kie.music(song.task_id)["status"] == "TEXT_SUCCESS"
    simulator.control.advance(240)
    assert kie.music(song.task_id)["status"] == "SUCCESS"


def test_songs_are_made_without_charge_in_the_order_of_their_titles(simulator: SimulatorServer, kie: Kie) -> None:
    songs = simulator.control.make_music("Zebra", "Apple", tracks=1)
    assert [song.title for song in songs] == ["Zebra", "Apple"]
    tracks = kie.music(songs[0].task_id)["response"]["sunoData"]
    assert [track["title"] for track in tracks] == ["Zebra"]
    assert simulator.control.ledger() == []


@pytest.mark.parametrize("tracks", [0, 1, 3])
def test_a_song_can_have_any_number_of_tracks(simulator: SimulatorServer, kie: Kie, tracks: int) -> None:
    song = simulator.control.make_music(tracks=tracks)[0]
    assert len(kie.music(song.task_id)["response"]["sunoData"]) == tracks


def test_an_extension_of_an_unknown_track_is_accepted_and_fails_later(simulator: SimulatorServer, kie: Kie) -> None:
    body = {"defaultParamFlag": True, "audioId": "nowhere", "model": "V5", "callBackUrl": "https://x.invalid"}
    task_id = kie.post("/generate/extend", **body)["data"]["taskId"]
    simulator.control.advance(300)
    assert kie.music(task_id)["status"] == "CREATE_TASK_FAILED"


def test_equal_seeds_give_equal_ids_and_durations() -> None:
    seen = []
    for _ in range(2):
        with SimulatorServer(seed="same") as running:
            running.control.make_music("One", "Two")
            seen.append([(task["task_id"], task["seconds"]) for task in running.control.tasks()])
    assert seen[0] == seen[1]


def test_simulated_time_runs_at_the_speed_that_is_set(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(speed=100_000)
    task_id = kie.generate()["data"]["taskId"]
    while kie.music(task_id)["status"] != "SUCCESS":
        pass
    assert simulator.control.tasks()[0]["seconds"] >= 65


def test_a_setting_that_does_not_exist_is_refused(simulator: SimulatorServer) -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        simulator.control.set(sped=3)


def test_a_reset_forgets_tasks_charges_settings_and_the_clock(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(rate_limit=1)
    before = simulator.control.advance(1_000_000)
    task_id = kie.generate()["data"]["taskId"]
    simulator.control.reset()
    assert kie.music(task_id) is None
    assert simulator.control.ledger() == []
    assert simulator.control.set()["rate_limit"] == 20
    assert simulator.control.advance(0) < before
