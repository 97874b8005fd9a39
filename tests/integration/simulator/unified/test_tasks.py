"""Every operation of the unified form: it is created, read to its end, priced and refused as KIE's pages say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kie_simulator.server import SimulatorServer
from kie_simulator_client import UNIFIED_SONG as SONG
from kie_simulator_client import Kie

UPLOAD = "https://files.example.com/song.mp3"
TEXT = {"title": "Rain", "negative_tags": "metal"}
SECTION = {"full_lyrics": "la", "infill_start_s": 0, "infill_end_s": 12.5, "prompt": "x", "tags": "pop", "title": "x"}
# model: input beside the ids of a song, credits, where the result is in resultJson (KIE's reference, sections b, c, f)
OPERATIONS: dict[str, tuple[dict[str, Any], float, str]] = {
    "ai-music-api/generate": (SONG, 12, "data"),
    "ai-music-api/extend": ({"model": "V6", "audio_id": "$"}, 12, "data"),
    "ai-music-api/upload-and-cover-audio": ({"upload_url": UPLOAD, "instrumental": False, "model": "V6"}, 12, "data"),
    "ai-music-api/upload-and-extend-audio": ({"upload_url": UPLOAD, "model": "V6_WILD"}, 12, "data"),
    "ai-music-api/add-instrumental": (TEXT | {"upload_url": UPLOAD, "tags": "pop"}, 12, "data"),
    "ai-music-api/add-vocals": (TEXT | {"upload_url": UPLOAD, "style": "pop"}, 12, "data"),
    "ai-music-api/replace-section": (SECTION | {"task_id": "$", "audio_id": "$"}, 5, "data"),
    "ai-music-api/mashup": (
        {"upload_url_list": [UPLOAD, UPLOAD], "model": "V6", "style": "pop", "title": "x"},
        12,
        "data",
    ),
    "ai-music-api/sounds": ({"prompt": "a door", "model": "V6"}, 2.5, "data"),
    "ai-music-api/generate-lyrics": ({"prompt": "coffee"}, 0.4, "resultObject"),
    "ai-music-api/convert-to-wav-format": ({"task_id": "$", "audio_id": "$"}, 0.4, "resultUrls"),
    "ai-music-api/create-music-video": ({"task_id": "$", "audio_id": "$"}, 2, "resultUrls"),
    "ai-music-api/cover-generate": ({"task_id": "$"}, 0, "resultUrls"),
    "ai-music-api/separate-vocals": (
        {"type": "separate_vocal", "task_id": "$", "audio_id": "$"},
        10,
        "resultUrls",
    ),
    "ai-music-api/suno-recovery-audio": ({"task_id": "$"}, 18, "data"),
    "ai-music-api/validation-phrase": (
        {"voice_url": UPLOAD, "vocal_start_s": 0, "vocal_end_s": 9},
        0,
        "validateInfo",
    ),
    "veo-3-1": ({"prompt": "x"}, 60, "resultUrls"),
    "runway": ({"prompt": "x", "duration": 5, "quality": "720p"}, 12, "resultUrls"),
    "runway/gen4-aleph": ({"prompt": "x", "video_url": UPLOAD}, 110, "resultUrls"),
    "4o-image-api": ({"prompt": "x", "size": "1:1"}, 6, "resultUrls"),
    "flux1-kontext": ({"prompt": "x"}, 5, "resultUrls"),
    "nano-banana-2-1": ({"prompt": "x"}, 4, "resultUrls"),
}
SUNO_MEMBERS = {"status", "operationType", "type", "parentMusicId"}


def filled(given: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    return {name: ids[name] if value == "$" else value for name, value in given.items()}


def finished(simulator: SimulatorServer, kie: Kie, model: str) -> Any:
    """Create a task of a model, let it end and return its record."""
    given = OPERATIONS[model][0]
    if "$" in given.values():
        given = filled(given, kie.song_ids(simulator))
    task_id = kie.create(model, given)["data"]["taskId"]
    simulator.control.advance(1000)
    return kie.record(task_id)


@pytest.mark.parametrize("model", OPERATIONS)
def test_a_task_of_every_operation_runs_to_success_and_says_what_it_cost(
    simulator: SimulatorServer, kie: Kie, model: str
) -> None:
    given, credits, member = OPERATIONS[model]
    before = kie.get("/chat/credit")["data"]
    answer = kie.create(model, filled(given, kie.song_ids(simulator)))
    assert answer["code"] == 200, answer
    assert answer["data"]["recordId"] == answer["data"]["taskId"]
    waiting = kie.record(answer["data"]["taskId"])
    assert (waiting["state"], waiting["successFlag"], waiting["resultJson"]) == ("waiting", 0, "")
    assert waiting["response"] is None

    simulator.control.advance(1000)
    record = kie.record(answer["data"]["taskId"])
    assert (record["state"], record["successFlag"], record["creditsConsumed"]) == ("success", 1, credits)
    made = json.loads(record["resultJson"])
    assert made == record["response"]
    assert made[member]
    assert json.loads(json.loads(record["param"])["input"])
    assert (set(record) >= SUNO_MEMBERS) == model.startswith("ai-music-api/")
    assert kie.get("/chat/credit")["data"] == pytest.approx(before - credits)


@pytest.mark.parametrize("model", ["ai-music-api/generate", "ai-music-api/convert-to-wav-format", "veo-3-1"])
def test_a_failed_task_says_so_with_a_numeric_text_and_costs_nothing(
    simulator: SimulatorServer, kie: Kie, model: str
) -> None:
    before = kie.get("/chat/credit")["data"]
    simulator.control.add_fault("task", "try_again", model=model)
    record = finished(simulator, kie, model)
    assert (record["state"], record["successFlag"], record["failCode"]) == ("fail", 3, "400")
    assert "try again" in record["failMsg"]
    assert (record["creditsConsumed"], record["resultJson"]) == (0, "")
    assert kie.get("/chat/credit")["data"] == before
    assert [charge["refunded"] for charge in simulator.control.ledger()] == [True]


def test_a_song_has_the_members_that_were_recorded(simulator: SimulatorServer, kie: Kie) -> None:
    record = finished(simulator, kie, "ai-music-api/sounds")
    made = json.loads(record["resultJson"])
    assert (made["code"], made["msg"], made["task_id"]) == (200, "success", record["taskId"])
    assert set(made["data"][0]) == {
        *("id", "title", "duration", "audio_url", "stream_audio_url", "image_url"),
        *("model_name", "prompt", "tags", "createTime"),
    }
    assert (record["type"], record["status"], record["parentMusicId"]) == ("chirp-hawk", "SUCCESS", "")


def test_v6_makes_the_length_that_is_asked_for_and_v6_mini_its_own(simulator: SimulatorServer, kie: Kie) -> None:
    lengths = {}
    for version in ("V6", "V6_WILD", "V6_MINI"):
        task_id = kie.create("ai-music-api/generate", SONG | {"model": version, "duration": 30})["data"]["taskId"]
        simulator.control.advance(1000)
        lengths[version] = [song["duration"] for song in kie.record(task_id)["response"]["data"]]
    assert all(28.8 <= length <= 30.4 for length in lengths["V6"] + lengths["V6_WILD"])
    assert all(185 <= length <= 204 for length in lengths["V6_MINI"])


@pytest.mark.parametrize(
    ("model", "given", "word"),
    [
        ("V6", {"prompt": "x"}, "not supported"),
        ("veo3", {"prompt": "x"}, "not supported"),
        ("ai-music-api/generate", {"custom_mode": False, "instrumental": False, "prompt": "x"}, "model"),
        ("ai-music-api/generate", SONG | {"model": "V3_5"}, "model"),
        ("ai-music-api/generate", SONG | {"model": "V4", "style": "x" * 201}, "200"),
        ("ai-music-api/generate", SONG | {"title": "x" * 81}, "80"),
        ("ai-music-api/generate", SONG | {"title": ""}, "title"),
        ("ai-music-api/generate", SONG | {"image_urls": [UPLOAD]}, "image_urls"),
        ("ai-music-api/generate", SONG | {"duration": 361}, "duration"),
        ("ai-music-api/generate", SONG | {"style": "", "lyrics": "", "prompt": "x"}, "At least one"),
        ("ai-music-api/extend", {"model": "V6", "audio_id": "x", "instrumental": True, "lyrics": "x"}, "lyrics"),
        ("ai-music-api/replace-section", SECTION, "One of these"),
        ("ai-music-api/replace-section", SECTION | {"upload_url": UPLOAD, "model": "V6", "infill_end_s": 9}, "10"),
        ("ai-music-api/separate-vocals", {"type": "split_stem"}, "One of these"),
        ("ai-music-api/separate-vocals", {"type": "split_stem_advanced", "audio_url": UPLOAD}, "stem_name"),
        ("ai-music-api/cover-generate", {"taskId": "x"}, "task_id"),
        ("ai-music-api/generate-lyrics", {"prompt": "x" * 201}, "200"),
        ("veo/get-1080p-video", {"task_id": "x"}, "taskId"),
        ("veo-3-1", {"prompt": "x", "generation_type": "REFERENCE_2_VIDEO", "duration": 4}, "8 seconds"),
        ("runway", {"prompt": "x", "duration": 10, "quality": "1080p"}, "1080p"),
        ("4o-image-api", {"size": "1:1"}, "One of these"),
    ],
)
def test_a_request_against_the_pages_is_refused_and_costs_nothing(
    simulator: SimulatorServer, kie: Kie, model: str, given: dict[str, Any], word: str
) -> None:
    answer = kie.create(model, given)
    assert (answer["code"], answer["data"]) == (422, None)
    assert word in answer["msg"]
    assert simulator.control.ledger() == []


def test_a_prompt_alone_is_refused_by_the_schemas_wording_and_may_be_accepted(
    simulator: SimulatorServer, kie: Kie
) -> None:
    given = {"custom_mode": False, "instrumental": False, "model": "V6", "prompt": "rain"}
    assert kie.create("ai-music-api/generate", given)["code"] == 422
    assert kie.create("ai-music-api/generate", given | {"style": "rain"})["code"] == 200
    simulator.control.set(prompt_only="accept")
    assert kie.create("ai-music-api/generate", given)["code"] == 200


def test_stems_and_sections_are_made_from_a_file_too(kie: Kie) -> None:
    given = {"type": "split_stem", "audio_url": UPLOAD}
    assert kie.create("ai-music-api/separate-vocals", given)["code"] == 200
    section = SECTION | {"upload_url": UPLOAD, "model": "V6"}
    assert kie.create("ai-music-api/replace-section", section)["code"] == 200


def test_what_is_made_from_a_video_or_from_stems_follows_its_task(simulator: SimulatorServer, kie: Kie) -> None:
    video = finished(simulator, kie, "veo-3-1")["taskId"]
    for model, given in (
        ("veo/extend", {"task_id": video, "prompt": "x"}),
        ("veo/get-1080p-video", {"taskId": video}),
        ("veo/get-4k-video", {"task_id": video}),
    ):
        task_id = kie.create(model, given)["data"]["taskId"]
        simulator.control.advance(1000)
        assert kie.record(task_id)["response"]["resultUrls"][0].endswith(".mp4")
    stems = finished(simulator, kie, "ai-music-api/separate-vocals")["taskId"]
    assert kie.create("ai-music-api/generate-midi-from-audio", {"task_id": stems})["code"] == 200
    assert kie.create("ai-music-api/generate-midi-from-audio", {"task_id": video})["code"] == 422


def test_an_empty_account_gets_free_covers_and_nothing_else(simulator: SimulatorServer, kie: Kie) -> None:
    ids = kie.song_ids(simulator)
    simulator.control.set_credits(0)
    assert kie.create("ai-music-api/cover-generate", {"task_id": ids["task_id"]})["code"] == 200
    assert kie.create("ai-music-api/generate", SONG)["code"] == 402


def test_what_has_no_files_is_answered_at_once(simulator: SimulatorServer, kie: Kie) -> None:
    ids = kie.song_ids(simulator)
    persona = kie.create("ai-music-api/generate-persona", ids | {"name": "Ada", "description": "warm"})["data"]
    style = kie.create("ai-music-api/boost-music-style", {"content": "jazz"})["data"]
    assert (bool(persona["persona_id"]), persona["name"], "jazz" in style["result"]) == (True, "Ada", True)
    assert [charge["credits"] for charge in simulator.control.ledger()] == [0, 0.4]


def test_a_voice_is_made_in_the_order_of_the_pages(simulator: SimulatorServer, kie: Kie) -> None:
    phrase = finished(simulator, kie, "ai-music-api/validation-phrase")["taskId"]
    again = kie.create("ai-music-api/regenerate-phrase", {"task_id": phrase})["data"]["taskId"]
    voice = kie.create("ai-music-api/create-voice", {"task_id": again, "verify_url": UPLOAD})["data"]["taskId"]
    assert kie.create("ai-music-api/check-voice", {"task_id": phrase})["code"] == 422
    simulator.control.advance(1000)
    assert kie.record(voice)["response"]["voiceId"]
    assert kie.create("ai-music-api/check-voice", {"task_id": voice})["data"] == {"isAvailable": True}


def test_a_failure_keeps_the_dedicated_forms_word_in_status_alone(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.add_fault("task", "fail", kind="music", state="SENSITIVE_WORD_ERROR", error_code=400)
    record = finished(simulator, kie, "ai-music-api/generate")
    assert (record["state"], record["status"], record["failCode"]) == ("fail", "SENSITIVE_WORD_ERROR", "400")


def test_a_callback_that_did_not_get_through_leaves_the_song_a_success(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.add_fault("task", "callback_exception", kind="music")
    record = finished(simulator, kie, "ai-music-api/generate")
    assert (record["state"], record["status"]) == ("success", "CALLBACK_EXCEPTION")
    assert (record["creditsConsumed"], len(record["response"]["data"])) == (12, 2)


def test_the_dedicated_form_takes_v6_unless_it_is_told_not_to(simulator: SimulatorServer, kie: Kie) -> None:
    assert kie.generate(model="V6")["code"] == 200
    simulator.control.set(dedicated_refused_versions=["V6"])
    assert [kie.generate(model="V6")["code"], kie.generate(model="V5")["code"]] == [422, 200]


@pytest.mark.parametrize("model", ["sora-2-text-to-video", "claude-opus-5", "veo3_fast", "flux-kontext-pro"])
def test_models_that_are_gone_or_called_elsewhere_are_not_supported(kie: Kie, model: str) -> None:
    assert kie.create(model, {"prompt": "x"})["msg"].startswith("The model name you specified is not supported.")


@pytest.mark.parametrize(("written", "read"), [(rb"\ud83d rain", "? rain"), (rb"\ud83c\udf27 rain", "\U0001f327 rain")])
def test_half_a_character_is_read_as_a_question_mark(kie: Kie, written: bytes, read: str) -> None:
    body = b'{"model": "ai-music-api/generate-lyrics", "input": {"prompt": "' + written + b'"}}'
    answer = kie.http.post("/jobs/createTask", content=body, headers={"Content-Type": "application/json"}).json()
    param = json.loads(kie.record(answer["data"]["taskId"])["param"])
    assert json.loads(param["input"]) == {"prompt": read}


@pytest.mark.parametrize("value", [None, 0, True, [], {}, [[]], {"a": {"b": [1]}}, "x" * 6000, "http://[bad"])
def test_any_value_in_any_field_is_answered_in_the_envelope(simulator: SimulatorServer, kie: Kie, value: Any) -> None:
    simulator.control.set(rate_limit=100_000)
    for model, (given, _, _) in OPERATIONS.items():
        for name in ("task_id", *given):
            answer = kie.create(model, given | {name: value})
            assert answer["code"] in (200, 422, 500), (model, name, answer)
