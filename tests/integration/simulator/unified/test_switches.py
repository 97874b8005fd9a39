"""What nobody has seen of the unified form is a setting or a fault: each one does what it is called."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kie_callback_receiver import CallbackReceiver
from kie_simulator.server import SimulatorServer
from kie_simulator_client import CALLBACK, Kie
from kie_simulator_client import UNIFIED_SONG as SONG

COVER = "ai-music-api/cover-generate"
GENERATE = "ai-music-api/generate"
WAV = "ai-music-api/convert-to-wav-format"
WORDS = "ai-music-api/timeStamped-lyrics"


def cover_of(simulator: SimulatorServer, kie: Kie) -> str:
    """Create the cover of a finished song and return its task id."""
    return str(kie.create(COVER, {"task_id": kie.song_ids(simulator)["task_id"]})["data"]["taskId"])


def test_an_unescaped_echo_makes_the_body_no_json_and_the_rest_of_it_can_be_read(
    simulator: SimulatorServer, kie: Kie
) -> None:
    task_id = cover_of(simulator, kie)
    simulator.control.advance(100)
    simulator.control.add_fault("details", "param_unescaped", form="unified")
    text = kie.http.get("/jobs/recordInfo", params={"taskId": task_id}).text
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    assert '"state": "success"' in text
    assert kie.record(task_id)["state"] == "success"


def test_a_success_may_have_a_shape_that_no_page_describes(simulator: SimulatorServer, kie: Kie) -> None:
    task_id = cover_of(simulator, kie)
    simulator.control.add_fault("details", "unknown_shape", kind="cover")
    record = kie.record(task_id)
    assert (record["state"], list(record["response"])) == ("success", ["assets"])


@pytest.mark.parametrize(
    ("shape", "members"), [("resultUrls", ["resultUrls"]), ("images", ["images"]), ("nested", ["code", "data"])]
)
def test_a_cover_comes_in_each_shape_that_clients_tell_of(
    simulator: SimulatorServer, kie: Kie, shape: str, members: list[str]
) -> None:
    simulator.control.set(cover_result=shape)
    task_id = cover_of(simulator, kie)
    simulator.control.advance(100)
    response = kie.record(task_id)["response"]
    assert set(members) <= set(response)
    assert json.dumps(response).count(".png") == 2


@pytest.mark.parametrize("shape", ["data", "nested"])
def test_timestamped_lyrics_are_in_the_answer_to_their_create_which_names_no_task(
    simulator: SimulatorServer, kie: Kie, shape: str
) -> None:
    simulator.control.set(inline_shape=shape)
    data = kie.create(WORDS, kie.song_ids(simulator))["data"]
    assert "taskId" not in data
    assert (data if shape == "data" else data["data"])["alignedWords"][0]["startS"] == 0
    assert [charge["credits"] for charge in simulator.control.ledger("timestamped_lyrics")] == [0.5]


def test_what_is_answered_at_once_may_be_a_task_instead_and_the_other_way_round(
    simulator: SimulatorServer, kie: Kie
) -> None:
    simulator.control.set(inline_models=[COVER])
    ids = kie.song_ids(simulator)
    words = kie.create(WORDS, ids)["data"]["taskId"]
    simulator.control.advance(100)
    assert kie.record(words)["response"]["alignedWords"]
    assert len(kie.create(COVER, {"task_id": ids["task_id"]})["data"]["resultUrls"]) == 2


@pytest.mark.parametrize("model", [GENERATE, COVER, "veo-3-1"])
def test_a_callback_has_the_shape_of_the_markets_pages(simulator: SimulatorServer, kie: Kie, model: str) -> None:
    simulator.control.set(music_seconds=0, cover_seconds=0, task_seconds=0)
    given = {GENERATE: SONG, COVER: {"task_id": "$"}, "veo-3-1": {"prompt": "x"}}[model]
    given = {name: kie.song_ids(simulator)["task_id"] if value == "$" else value for name, value in given.items()}
    with CallbackReceiver() as receiver:
        task_id = kie.create(model, given, callBackUrl=receiver.url)["data"]["taskId"]
        body = receiver.next().body
    assert (body["code"], body["msg"]) == (200, "Playground task completed successfully.")
    assert (body["data"]["taskId"], body["data"]["state"], body["data"]["model"]) == (task_id, "success", model)
    assert json.loads(body["data"]["resultJson"]) == kie.record(task_id)["response"]
    assert "failCode" not in body["data"]


def test_a_callback_of_a_failure_has_its_code_and_no_result(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(music_seconds=0)
    simulator.control.add_fault("task", "try_again", form="unified")
    with CallbackReceiver() as receiver:
        kie.create(GENERATE, SONG, callBackUrl=receiver.url)
        body = receiver.next().body
    assert (body["code"], body["msg"]) == (501, "Playground task failed.")
    assert (body["data"]["state"], body["data"]["failCode"], body["data"]["creditsConsumed"]) == ("fail", "400", 0)
    assert "resultJson" not in body["data"]


def test_songs_may_call_back_in_the_stages_that_the_suno_pages_describe(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(unified_callback="staged", music_seconds=0)
    with CallbackReceiver() as receiver:
        task_id = kie.create(GENERATE, SONG, callBackUrl=receiver.url)["data"]["taskId"]
        bodies = [receiver.next().body["data"] for _ in range(3)]
    assert {body["callbackType"] for body in bodies} == {"text", "first", "complete"}
    assert {body["task_id"] for body in bodies} == {task_id}


def test_the_first_reads_of_a_task_may_say_that_there_is_no_record(simulator: SimulatorServer, kie: Kie) -> None:
    task_id = cover_of(simulator, kie)
    simulator.control.set(first_reads_null=2)
    answers = [kie.get("/jobs/recordInfo", taskId=task_id) for _ in range(3)]
    assert [(answer["code"], answer["msg"]) for answer in answers] == [
        *[(422, "recordInfo is null")] * 2,
        (200, "success"),
    ]
    simulator.control.add_fault("details", "record_null", task_id=task_id)
    assert kie.get("/jobs/recordInfo", taskId=task_id)["code"] == 422


@pytest.mark.parametrize(("habit", "tasks"), [("new_task", 2), ("same_id", 1)])
@pytest.mark.parametrize(("model", "kind"), [(COVER, "cover"), (WAV, "wav")])
def test_a_second_request_for_a_song_makes_another_task_or_names_the_first(
    simulator: SimulatorServer, kie: Kie, habit: str, tasks: int, model: str, kind: str
) -> None:
    simulator.control.set(unified_duplicate=habit)
    ids = kie.song_ids(simulator)
    given = {"task_id": ids["task_id"]} if model == COVER else ids
    answers = [kie.create(model, given) for _ in range(2)]
    assert {answer["code"] for answer in answers} == {200}
    assert len({answer["data"]["taskId"] for answer in answers}) == tasks == len(simulator.control.ledger(kind))


@pytest.mark.parametrize("made_in", ["dedicated", "unified"])
def test_a_cover_is_made_in_either_form_of_a_song_of_either_form(
    simulator: SimulatorServer, kie: Kie, made_in: str
) -> None:
    song = kie.song_ids(simulator, made_in)["task_id"]
    assert kie.create(COVER, {"task_id": song})["code"] == 200
    # A cover of the one form is no duplicate in the other.
    assert kie.create_cover(song)["code"] == 200
    assert [charge["form"] for charge in simulator.control.ledger("cover")] == ["unified", "dedicated"]


def test_forms_with_separate_ids_know_nothing_of_each_others_songs(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(ids_between_forms="separate")
    old, new = (kie.song_ids(simulator, form)["task_id"] for form in ("dedicated", "unified"))
    refused = kie.create_cover(new)
    assert (refused["code"], refused["msg"]) == (422, "Original music record does not exist")
    assert kie.create(COVER, {"task_id": old})["msg"] == "Original music record does not exist"
    assert [kie.create_cover(old)["code"], kie.create(COVER, {"task_id": new})["code"]] == [200, 200]
    assert len(simulator.control.ledger("cover")) == 2


def test_an_unknown_song_may_become_a_task_that_fails_and_costs_nothing(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(missing_source="failed_task")
    before = kie.get("/chat/credit")["data"]
    task_id = kie.create(WAV, {"task_id": "0" * 32, "audio_id": "x"})["data"]["taskId"]
    assert kie.get("/chat/credit")["data"] == before
    simulator.control.advance(100)
    record = kie.record(task_id)
    assert (record["state"], record["failMsg"], record["creditsConsumed"]) == ("fail", "Record does not exist", 0)
    assert kie.get("/chat/credit")["data"] == before


def test_each_form_reads_its_own_tasks_unless_they_are_to_be_read_across(simulator: SimulatorServer, kie: Kie) -> None:
    old, new = (kie.song_ids(simulator, form)["task_id"] for form in ("dedicated", "unified"))
    assert (kie.music(new), kie.get("/jobs/recordInfo", taskId=old)["code"]) == (None, 422)
    simulator.control.set(reads_across_forms=True)
    assert len(kie.music(new)["response"]["sunoData"]) == len(kie.record(old)["response"]["data"]) == 2
    assert (kie.music(new)["status"], kie.record(old)["state"]) == ("SUCCESS", "success")
    assert kie.cover(new) is None


def test_what_the_forms_know_of_each_other_can_be_set_for_one_account_alone(
    simulator: SimulatorServer, kie: Kie
) -> None:
    simulator.control.accept_key("sim-apart")
    theirs = Kie(simulator, "sim-apart")
    simulator.control.set(account="sim-apart", ids_between_forms="separate", reads_across_forms=True)
    songs = {
        account: simulator.control.make_music("Rain", form="unified", account=account)[0].task_id
        for account in (simulator.api_key, "sim-apart")
    }
    of_all, of_theirs = songs.values()
    assert (kie.create_cover(of_all)["code"], theirs.create_cover(of_theirs)["code"]) == (200, 422)
    assert (kie.music(of_all), theirs.music(of_theirs)["status"]) == (None, "SUCCESS")
    theirs.close()
    for changes, reason in (({"speed": 2}, "speed cannot be set per account"), ({"missing_source": "x"}, "literal")):
        with pytest.raises(ValueError, match=reason):
            simulator.control.set(account="sim-apart", **changes)
    simulator.control.reset()
    simulator.control.accept_key("sim-apart")
    assert simulator.control.set(account="sim-apart")["reads_across_forms"] is False


@pytest.mark.parametrize(("habit", "status", "code"), [("json", 404, 404), ("html", 404, None), ("code", 200, 505)])
def test_an_old_path_may_be_gone(
    simulator: SimulatorServer, kie: Kie, habit: str, status: int, code: int | None
) -> None:
    song = kie.song_ids(simulator)["task_id"]
    simulator.control.add_fault("create", "gone", path="/api/v1/suno/cover/generate", gone=habit, times=-1)
    answer = kie.http.post("/suno/cover/generate", json={"taskId": song, "callBackUrl": CALLBACK})
    assert answer.status_code == status
    assert ("<html>" in answer.text) if code is None else answer.json()["code"] == code
    assert simulator.control.ledger() == []
    assert kie.generate()["code"] == 200


def test_a_model_may_be_no_longer_supported(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(unsupported_models=[GENERATE])
    answer = kie.create(GENERATE, SONG)
    assert answer["code"] == 422
    assert answer["msg"].startswith("The model name you specified is not supported.")


def test_a_fault_of_a_kind_strikes_both_forms_and_one_of_a_form_that_alone(
    simulator: SimulatorServer, kie: Kie
) -> None:
    song = kie.song_ids(simulator)["task_id"]
    simulator.control.add_fault("create", "code", kind="cover", code=455, times=2)
    assert [kie.create_cover(song)["code"], kie.create(COVER, {"task_id": song})["code"]] == [455, 455]
    simulator.control.add_fault("create", "html", kind="cover", form="unified", after=True, times=-1)
    assert kie.create_cover(song)["code"] == 200
    lost = kie.http.post("/jobs/createTask", json={"model": COVER, "input": {"task_id": song}})
    assert lost.status_code == 502
    assert [charge["form"] for charge in simulator.control.ledger("cover")] == ["dedicated", "unified"]


@pytest.mark.parametrize(("action", "wanted"), [("lost", 0), ("double", 2)])
def test_callbacks_of_the_unified_form_are_lost_and_doubled_like_others(
    simulator: SimulatorServer, kie: Kie, action: str, wanted: int
) -> None:
    simulator.control.set(cover_seconds=0)
    simulator.control.add_fault("callback", action, kind="cover", form="unified")
    song = kie.song_ids(simulator)["task_id"]
    with CallbackReceiver() as receiver:
        kie.create(COVER, {"task_id": song}, callBackUrl=receiver.url)
        for _ in range(wanted):
            receiver.next()
        kie.create(COVER, {"task_id": song}, callBackUrl=receiver.url)
        assert receiver.next().body["code"] == 200


def test_a_callback_may_repeat_the_request_unescaped_and_is_no_json_then(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(cover_seconds=0)
    simulator.control.add_fault("callback", "param_unescaped", kind="cover")
    with CallbackReceiver() as receiver:
        task_id = kie.create(COVER, {"task_id": kie.song_ids(simulator)["task_id"]}, callBackUrl=receiver.url)
        raw = receiver.next().raw
    with pytest.raises(json.JSONDecodeError):
        json.loads(raw)
    assert f'"taskId": "{task_id["data"]["taskId"]}"'.encode() in raw


def test_a_success_may_show_before_its_result_and_its_flag_do(simulator: SimulatorServer, kie: Kie) -> None:
    task_id = cover_of(simulator, kie)
    simulator.control.advance(100)
    simulator.control.add_fault("details", "without_files", task_id=task_id, shape="null", state=0)
    record = kie.record(task_id)
    assert (record["state"], record["successFlag"], record["resultJson"], record["response"]) == (
        "success",
        0,
        "",
        None,
    )
    assert kie.record(task_id)["response"]["resultUrls"]


@pytest.mark.parametrize("action", ["wrong_parent", "without_files", "unknown_state", "pending_error", "flag_message"])
def test_the_lies_of_the_dedicated_form_are_told_in_this_one_too(
    simulator: SimulatorServer, kie: Kie, action: str
) -> None:
    task_id = cover_of(simulator, kie)
    simulator.control.advance(100)
    truth = kie.record(task_id)
    simulator.control.add_fault("details", action, task_id=task_id)
    told: dict[str, Any] = kie.record(task_id)
    assert set(told) == set(truth)
    assert told != truth


def test_a_file_of_this_form_is_cut_where_a_fault_says_so(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(plain_images=True)
    task_id = cover_of(simulator, kie)
    simulator.control.advance(100)
    url = kie.record(task_id)["response"]["resultUrls"][0]
    simulator.control.add_fault("file", "cut", kind="cover", form="unified", role="image")
    assert len(kie.download(url).content) * 4 < len(kie.download(url).content)
