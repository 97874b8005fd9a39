"""Every operation of the simulator: it can be created, read to its end, and calls back in its own spelling."""

from __future__ import annotations

from typing import Any

import pytest

from kie_callback_receiver import CallbackReceiver
from kie_simulator.server import SimulatorServer
from kie_simulator_client import CALLBACK, Kie

UPLOAD = "https://files.example.com/song.mp3"
SONG = {"prompt": "rain", "style": "pop", "title": "Rain", "customMode": True, "instrumental": False, "model": "V5"}
REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "music": ("/generate", "/generate/record-info", SONG),
    "extend": ("/generate/extend", "/generate/record-info", {"defaultParamFlag": False, "model": "V5"}),
    "upload_cover": ("/generate/upload-cover", "/generate/record-info", SONG | {"uploadUrl": UPLOAD}),
    "upload_extend": (
        "/generate/upload-extend",
        "/generate/record-info",
        {"uploadUrl": UPLOAD, "defaultParamFlag": True, "model": "V5"},
    ),
    "add_instrumental": (
        "/generate/add-instrumental",
        "/generate/record-info",
        {"uploadUrl": UPLOAD, "title": "Rain", "negativeTags": "metal", "tags": "pop"},
    ),
    "add_vocals": (
        "/generate/add-vocals",
        "/generate/record-info",
        {"uploadUrl": UPLOAD, "title": "Rain", "negativeTags": "metal", "style": "pop", "prompt": "rain"},
    ),
    "replace_section": (
        "/generate/replace-section",
        "/generate/record-info",
        {"prompt": "x", "tags": "x", "title": "x", "infillStartS": 10.0, "infillEndS": 20.0, "fullLyrics": "x"},
    ),
    "mashup": (
        "/generate/mashup",
        "/generate/record-info",
        {"uploadUrlList": [UPLOAD, UPLOAD], "customMode": False, "model": "V5"},
    ),
    "sounds": ("/generate/sounds", "/generate/record-info", {"prompt": "a door"}),
    "cover": ("/suno/cover/generate", "/suno/cover/record-info", {}),
    "lyrics": ("/lyrics", "/lyrics/record-info", {"prompt": "coffee"}),
    "wav": ("/wav/generate", "/wav/record-info", {}),
    "vocal_removal": ("/vocal-removal/generate", "/vocal-removal/record-info", {}),
    "mp4": ("/mp4/generate", "/mp4/record-info", {}),
    "voice_validate": (
        "/voice/validate",
        "/voice/validate-info",
        {"voiceUrl": UPLOAD, "vocalStartS": 0.5, "vocalEndS": 9},
    ),
    "recovery": ("/suno/recovery", "/suno/recovery/record-info", {}),
    "jobs": (
        "/jobs/createTask",
        "/jobs/recordInfo",
        {"model": "z-image", "input": {"prompt": "x", "aspect_ratio": "1:1"}},
    ),
    "playground": (
        "/playground/createTask",
        "/playground/recordInfo",
        {"model": "nano-banana-2", "input": {"prompt": "x"}},
    ),
    "gpt4o_image": ("/gpt4o-image/generate", "/gpt4o-image/record-info", {"size": "1:1", "prompt": "x"}),
    "flux_kontext": ("/flux/kontext/generate", "/flux/kontext/record-info", {"prompt": "x"}),
    "veo": ("/veo/generate", "/veo/record-info", {"prompt": "x"}),
    "runway": ("/runway/generate", "/runway/record-detail", {"prompt": "x", "duration": 5, "quality": "720p"}),
    "aleph": ("/aleph/generate", "/aleph/record-info", {"prompt": "x", "videoUrl": UPLOAD}),
}
# kind: state field, its words from running to success, its word for failure
UNSUPPORTED = (
    "The model name you specified is not supported. Please verify your input and use one of the supported models "
    "provided by KIE."
)
STATES: dict[str, tuple[str, set[Any], Any, Any]] = {
    "cover": ("successFlag", {0, 2}, 1, 3),
    "lyrics": ("status", {"PENDING"}, "SUCCESS", "GENERATE_LYRICS_FAILED"),
    "wav": ("successFlag", {"PENDING"}, "SUCCESS", "GENERATE_WAV_FAILED"),
    "vocal_removal": ("successFlag", {"PENDING"}, "SUCCESS", "GENERATE_AUDIO_FAILED"),
    "mp4": ("successFlag", {"PENDING"}, "SUCCESS", "GENERATE_MP4_FAILED"),
    "voice_validate": ("status", {"PENDING"}, "SUCCESS", "CREATE_TASK_FAILED"),
    "recovery": ("status", {"PENDING"}, "SUCCESS", "CREATE_TASK_FAILED"),
    "jobs": ("state", {"waiting", "generating"}, "success", "fail"),
    "playground": ("state", {"waiting", "generating"}, "success", "fail"),
    "gpt4o_image": ("successFlag", {0}, 1, 3),
    "flux_kontext": ("successFlag", {0}, 1, 3),
    "veo": ("successFlag", {0}, 1, 3),
    "runway": ("state", {"wait", "queueing", "generating"}, "success", "fail"),
    "aleph": ("successFlag", {0}, 1, 3),
}
MUSIC = ("status", {"PENDING", "TEXT_SUCCESS", "FIRST_SUCCESS"}, "SUCCESS", "GENERATE_AUDIO_FAILED")


def finished_song(simulator: SimulatorServer, kie: Kie) -> dict[str, str]:
    song = simulator.control.make_music("Rain")[0].task_id
    audio_id = kie.music(song)["response"]["sunoData"][0]["id"]
    return {"taskId": song, "task_id": song, "audioId": audio_id}


def create(simulator: SimulatorServer, kie: Kie, kind: str, callback: str = CALLBACK) -> tuple[str, str]:
    """Create a task of a kind and return its id and details path."""
    path, details, body = REQUESTS[kind]
    made_from = finished_song(simulator, kie) if kind not in ("music", "jobs", "playground") else {}
    answer = kie.post(path, **{**made_from, **body, "callBackUrl": callback})
    assert answer["code"] == 200, answer
    return answer["data"]["taskId"], details


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_task_of_every_kind_runs_through_its_own_states_to_success(
    simulator: SimulatorServer, kie: Kie, kind: str
) -> None:
    field, running, success, _ = STATES.get(kind, MUSIC)
    task_id, details = create(simulator, kie, kind)
    states: list[Any] = []
    while not states or states[-1] != success:
        states.append(kie.get(details, taskId=task_id)["data"][field])
        simulator.control.advance(5)
    assert set(states[:-1]) <= running
    assert states[0] in running


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_failed_task_of_every_kind_says_so_in_its_own_word(simulator: SimulatorServer, kie: Kie, kind: str) -> None:
    field, _, _, failed = STATES.get(kind, MUSIC)
    simulator.control.add_fault("task", "fail", kind=kind)
    task_id, details = create(simulator, kie, kind)
    simulator.control.advance(1000)
    assert kie.get(details, taskId=task_id)["data"][field] == failed


# Where the id is in a callback, and the code of a failure.
CALLBACK_IDS = {
    "music": ("data", "task_id"),
    "lyrics": ("data", "task_id"),
    "wav": ("data", "task_id"),
    "vocal_removal": ("data", "task_id"),
    "mp4": ("data", "task_id"),
    "runway": ("data", "task_id"),
    "cover": ("data", "taskId"),
    "gpt4o_image": ("data", "taskId"),
    "flux_kontext": ("data", "taskId"),
    "veo": ("data", "taskId"),
    "jobs": ("data", "taskId"),
    "aleph": ("", "taskId"),
}


@pytest.mark.parametrize("kind", CALLBACK_IDS)
@pytest.mark.parametrize("fails", [False, True])
def test_a_callback_of_every_kind_has_its_id_where_kie_puts_it(
    simulator: SimulatorServer, kie: Kie, kind: str, fails: bool
) -> None:
    simulator.control.set(music_seconds=0, cover_seconds=0, task_seconds=0)
    if fails:
        simulator.control.add_fault("task", "fail", kind=kind)
    outer, inner = CALLBACK_IDS[kind]
    with CallbackReceiver() as receiver:
        task_id, _ = create(simulator, kie, kind, receiver.url)
        body = receiver.next().body
        while kind == "music" and body["data"]["callbackType"] not in ("complete", "error"):
            body = receiver.next().body
    assert (body[outer] if outer else body)[inner] == task_id
    assert (body["code"] == 200) == (not fails)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/generate/record-info", (200, "success")),
        ("/lyrics/record-info", (200, "success")),
        ("/vocal-removal/record-info", (200, "success")),
        ("/aleph/record-info", (200, "success")),
        ("/jobs/recordInfo", (422, "recordInfo is null")),
        ("/gpt4o-image/record-info", (422, "The record does not exist")),
        ("/flux/kontext/record-info", (422, "The record does not exist")),
        ("/runway/record-detail", (422, "The record does not exist")),
    ],
)
def test_an_unknown_id_is_answered_as_each_details_endpoint_does(kie: Kie, path: str, wanted: tuple[int, str]) -> None:
    answer = kie.get(path, taskId="0" * 32)
    assert (answer["code"], answer["msg"], answer["data"]) == (*wanted, None)


def test_a_second_wav_of_a_track_is_a_409_and_a_second_stem_separation_is_charged_again(
    simulator: SimulatorServer, kie: Kie
) -> None:
    track = finished_song(simulator, kie) | {"callBackUrl": CALLBACK}
    assert [kie.post("/wav/generate", **track)["code"] for _ in range(2)] == [200, 409]
    assert [kie.post("/vocal-removal/generate", **track)["code"] for _ in range(2)] == [200, 200]
    assert len(simulator.control.ledger("vocal_removal")) == 2


def test_a_separation_can_name_the_track_itself_instead_of_stems(simulator: SimulatorServer, kie: Kie) -> None:
    task_id, details = create(simulator, kie, "vocal_removal")
    simulator.control.advance(200)
    simulator.control.add_fault("details", "input_repeated", kind="vocal_removal", url="https://kie.example/p/t.mp3")
    data = kie.get(details, taskId=task_id)["data"]
    named = {key: url for key, url in data["response"].items() if url}
    assert (data["successFlag"], named) == ("SUCCESS", {"originUrl": "https://kie.example/p/t.mp3"})


def test_midi_is_made_from_a_stem_separation_and_keeps_its_notes_outside_the_response(
    simulator: SimulatorServer, kie: Kie
) -> None:
    stems, _ = create(simulator, kie, "vocal_removal")
    task_id = kie.post("/midi/generate", taskId=stems, callBackUrl=CALLBACK)["data"]["taskId"]
    simulator.control.advance(100)
    data = kie.get("/midi/record-info", taskId=task_id)["data"]
    assert data["successFlag"] == 1
    assert data["midiData"]["instruments"][0]["notes"]
    assert "response" not in data


def test_a_persona_is_made_at_once_and_only_once_for_a_track(simulator: SimulatorServer, kie: Kie) -> None:
    body = finished_song(simulator, kie) | {"name": "Ada", "description": "warm"}
    first, second = (kie.post("/generate/generate-persona", **body) for _ in range(2))
    assert (first["code"], first["data"]["name"]) == (200, "Ada")
    assert second["code"] == 409


def test_timestamped_lyrics_are_answered_at_once(simulator: SimulatorServer, kie: Kie) -> None:
    answer = kie.post("/generate/get-timestamped-lyrics", **finished_song(simulator, kie))
    words = answer["data"]["alignedWords"]
    assert set(words[0]) == {"word", "success", "startS", "endS", "palign"}
    unknown = kie.post("/generate/get-timestamped-lyrics", taskId="x", audioId="y")
    assert unknown["msg"] == "The corresponding record does not exist"
    assert [charge["credits"] for charge in simulator.control.ledger("timestamped_lyrics")] == [0.5]


def test_what_is_answered_at_once_is_refused_where_the_account_has_too_few_credits(
    simulator: SimulatorServer, kie: Kie
) -> None:
    video, _ = create(simulator, kie, "veo")
    track = finished_song(simulator, kie)
    simulator.control.advance(300)
    simulator.control.set_credits(0.3)
    answers = (
        kie.post("/style/generate", content="Pop"),
        kie.post("/generate/get-timestamped-lyrics", **track),
        kie.get("/veo/get-1080p-video", taskId=video),
        kie.post("/veo/get-4k-video", taskId=video),
    )
    assert [answer["code"] for answer in answers] == [402] * 4
    simulator.control.set_credits(6)
    assert kie.get("/veo/get-1080p-video", taskId=video)["code"] == 200
    simulator.control.set_credits(0)
    assert kie.get("/veo/get-1080p-video", taskId=video)["code"] == 200, "it is paid"


def test_veo_4k_is_read_at_the_details_of_videos_and_named_by_a_repeated_create_which_is_paid_once(
    simulator: SimulatorServer, kie: Kie
) -> None:
    video, _ = create(simulator, kie, "veo")
    simulator.control.advance(200)
    answers = [kie.post("/veo/get-4k-video", taskId=video) for _ in range(2)]
    simulator.control.advance(700)
    answers.append(kie.post("/veo/get-4k-video", taskId=video))
    assert [answer["code"] for answer in answers] == [200, 422, 422]
    assert [bool(answer["data"]["resultUrls"]) for answer in answers] == [False, False, True]
    assert len(simulator.control.ledger("veo_4k")) == 1
    details = kie.get("/veo/record-info", taskId=answers[0]["data"]["taskId"])["data"]
    assert (details["successFlag"], details["response"]["resolution"]) == (1, "4k")


def test_veo_1080p_is_a_400_until_it_is_ready(simulator: SimulatorServer, kie: Kie) -> None:
    video, _ = create(simulator, kie, "veo")
    assert kie.get("/veo/get-1080p-video", taskId=video)["code"] == 400
    simulator.control.advance(300)
    links = [kie.get("/veo/get-1080p-video", taskId=video)["data"]["resultUrl"] for _ in range(2)]
    assert links[0].endswith(".mp4")
    assert [charge["credits"] for charge in simulator.control.ledger("veo_1080p")] == [5]


def test_regenerating_a_voice_wants_the_callback_url_in_kies_own_spelling(simulator: SimulatorServer, kie: Kie) -> None:
    voice, _ = create(simulator, kie, "voice_validate")
    assert kie.post("/voice/regenerate", taskId=voice, callBackUrl=CALLBACK)["code"] == 422
    assert kie.post("/voice/regenerate", taskId=voice, calBackUrl=CALLBACK)["code"] == 200


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"model": "no/such", "input": {}}, 422, UNSUPPORTED),
        ({"model": "z-image", "input": "text"}, 500, "Server exception, please try again later"),
        ({"model": "z-image", "input": {"prompt": "x"}}, 422, "aspect_ratio\u4e0d\u80fd\u4e3a\u7a7a"),
    ],
)
def test_a_bad_market_request_is_refused_as_observed(kie: Kie, body: dict[str, Any], code: int, message: str) -> None:
    answer = kie.post("/jobs/createTask", **body)
    assert (answer["code"], answer["msg"]) == (code, message)


def test_a_market_task_tells_its_duration_in_seconds_though_its_times_are_milliseconds(
    simulator: SimulatorServer, kie: Kie
) -> None:
    simulator.control.set(task_seconds=48)
    task_id, details = create(simulator, kie, "jobs")
    simulator.control.advance(50)
    data = kie.get(details, taskId=task_id)["data"]
    assert data["costTime"] == 48
    assert data["completeTime"] - data["createTime"] in (47_999, 48_000, 48_001)


def test_an_unknown_path_is_a_404_in_the_body_and_counted(simulator: SimulatorServer, kie: Kie) -> None:
    assert kie.post("/sounds/generate")["code"] == 404
    assert simulator.control.state()["requests"]["POST /api/v1/sounds/generate"] == 1


def test_what_kies_price_list_names_is_what_is_charged(simulator: SimulatorServer, kie: Kie) -> None:
    track = finished_song(simulator, kie) | {"callBackUrl": CALLBACK}
    kie.create_cover(track["taskId"])
    kie.post("/vocal-removal/generate", **track, type="split_stem")
    kie.post("/generate/sounds", prompt="a door")
    charges = {charge["kind"]: charge["credits"] for charge in simulator.control.ledger()}
    assert charges == {"cover": 0, "vocal_removal": 50, "sounds": 2.5}
