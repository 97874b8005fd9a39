"""Requests: KIE's endpoint table written out by hand, the callback field and the fields that KIE insists on."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_kie.client.account import NO_CALLBACK_URL
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.account import CREDIT, DOWNLOAD_URL, UPLOAD_BASE64, UPLOAD_STREAM
from airflow_kie.client.operations.operation import CallOperation, Host, TaskOperation
from airflow_kie.client.operations.registry import OPERATIONS, task_kind
from airflow_kie.client.operations.suno import STYLE
from airflow_kie.client.requests import call_request, create_request, details_request

CALLBACK = "https://callback.example/kie?who=song"

# name → create (or only) endpoint, details path, where KIE calls back; copied by hand from docs.kie.ai's tables.
ENDPOINTS: dict[str, tuple[str, str, str | None]] = {
    "suno.music": ("POST", "/api/v1/generate", "/api/v1/generate/record-info"),
    "suno.extend": ("POST", "/api/v1/generate/extend", "/api/v1/generate/record-info"),
    "suno.upload_cover": ("POST", "/api/v1/generate/upload-cover", "/api/v1/generate/record-info"),
    "suno.upload_extend": ("POST", "/api/v1/generate/upload-extend", "/api/v1/generate/record-info"),
    "suno.lyrics": ("POST", "/api/v1/lyrics", "/api/v1/lyrics/record-info"),
    "suno.wav": ("POST", "/api/v1/wav/generate", "/api/v1/wav/record-info"),
    "suno.stems": ("POST", "/api/v1/vocal-removal/generate", "/api/v1/vocal-removal/record-info"),
    "suno.midi": ("POST", "/api/v1/midi/generate", "/api/v1/midi/record-info"),
    "suno.video": ("POST", "/api/v1/mp4/generate", "/api/v1/mp4/record-info"),
    "suno.cover": ("POST", "/api/v1/suno/cover/generate", "/api/v1/suno/cover/record-info"),
    "voice.generate": ("POST", "/api/v1/voice/generate", "/api/v1/voice/record-info"),
    "voice.regenerate": ("POST", "/api/v1/voice/regenerate", "/api/v1/voice/validate-info"),
    "market": ("POST", "/api/v1/jobs/createTask", "/api/v1/jobs/recordInfo"),
    "suno.add_instrumental": ("POST", "/api/v1/generate/add-instrumental", "/api/v1/generate/record-info"),
    "suno.add_vocals": ("POST", "/api/v1/generate/add-vocals", "/api/v1/generate/record-info"),
    "suno.replace_section": ("POST", "/api/v1/generate/replace-section", "/api/v1/generate/record-info"),
    "suno.mashup": ("POST", "/api/v1/generate/mashup", "/api/v1/generate/record-info"),
    "suno.sounds": ("POST", "/api/v1/generate/sounds", "/api/v1/generate/record-info"),
    "suno.recovery": ("POST", "/api/v1/suno/recovery", "/api/v1/suno/recovery/record-info"),
    "voice.validate": ("POST", "/api/v1/voice/validate", "/api/v1/voice/validate-info"),
    "veo.generate": ("POST", "/api/v1/veo/generate", "/api/v1/veo/record-info"),
    "veo.extend": ("POST", "/api/v1/veo/extend", "/api/v1/veo/record-info"),
    "veo.4k": ("POST", "/api/v1/veo/get-4k-video", "/api/v1/veo/record-info"),
    "veo.1080p": ("POST", "", "/api/v1/veo/get-1080p-video"),
    "runway.generate": ("POST", "/api/v1/runway/generate", "/api/v1/runway/record-detail"),
    "runway.extend": ("POST", "/api/v1/runway/extend", "/api/v1/runway/record-detail"),
    "runway.aleph": ("POST", "/api/v1/aleph/generate", "/api/v1/aleph/record-info"),
    "gpt4o.image": ("POST", "/api/v1/gpt4o-image/generate", "/api/v1/gpt4o-image/record-info"),
    "gpt4o.download_url": ("POST", "/api/v1/gpt4o-image/download-url", None),
    "flux.kontext": ("POST", "/api/v1/flux/kontext/generate", "/api/v1/flux/kontext/record-info"),
    "suno.persona": ("POST", "/api/v1/generate/generate-persona", None),
    "suno.timestamped_lyrics": ("POST", "/api/v1/generate/get-timestamped-lyrics", None),
    "voice.check": ("POST", "/api/v1/voice/check-voice", None),
    "credit": ("GET", "/api/v1/chat/credit", None),
    "download_url": ("POST", "/api/v1/common/download-url", None),
    "models": ("GET", "/api/v1/models", None),
    "style": ("POST", "/api/v1/style/generate", None),
    "upload.base64": ("POST", "/api/file-base64-upload", None),
    "upload.stream": ("POST", "/api/file-stream-upload", None),
    "upload.url": ("POST", "/api/file-url-upload", None),
}

BODIES: dict[str, dict[str, Any]] = {
    "suno.music": {"prompt": "rain", "customMode": False, "instrumental": False, "model": "V5"},
    "suno.extend": {"defaultParamFlag": False, "audioId": "a", "model": "V5"},
    "suno.upload_cover": {"uploadUrl": "https://a/b.mp3", "prompt": "x", "customMode": True, "instrumental": True,
                          "model": "V5"},
    "suno.upload_extend": {"uploadUrl": "https://a/b.mp3", "defaultParamFlag": True, "model": "V5"},
    "suno.lyrics": {"prompt": "coffee"},
    "suno.wav": {"taskId": "m", "audioId": "a"},
    "suno.stems": {"taskId": "m", "audioId": "a"},
    "suno.midi": {"taskId": "s"},
    "suno.video": {"taskId": "m", "audioId": "a"},
    "suno.cover": {"taskId": "m"},
    "voice.generate": {"taskId": "v", "verifyUrl": "https://a/v.mp3"},
    "voice.regenerate": {"taskId": "v"},
    "market": {"model": "z-image", "input": {"prompt": "fox"}},
    "suno.add_instrumental": {"uploadUrl": "https://a/b.mp3", "title": "x", "negativeTags": "x", "tags": "x"},
    "suno.add_vocals": {"uploadUrl": "https://a/b.mp3", "prompt": "x", "title": "x", "negativeTags": "x", "style": "x"},
    "suno.replace_section": {"taskId": "m", "audioId": "a", "prompt": "x", "tags": "x", "title": "x",
                             "infillStartS": 10, "infillEndS": 20, "fullLyrics": "x"},
    "suno.mashup": {"uploadUrlList": ["https://a/b.mp3", "https://a/c.mp3"], "customMode": False, "model": "V5"},
    "suno.sounds": {"prompt": "x"},
    "suno.recovery": {"task_id": "m"},
    "voice.validate": {"voiceUrl": "https://a/b.mp3", "vocalStartS": 0, "vocalEndS": 10},
    "veo.generate": {"prompt": "fox"},
    "veo.extend": {"taskId": "v", "prompt": "fox"},
    "veo.4k": {"taskId": "v"},
    "veo.1080p": {"taskId": "v"},
    "runway.generate": {"prompt": "fox", "duration": 5, "quality": "720p"},
    "runway.extend": {"taskId": "r", "prompt": "fox", "quality": "720p"},
    "runway.aleph": {"prompt": "fox", "videoUrl": "https://a/b.mp4"},
    "gpt4o.image": {"size": "1:1"},
    "flux.kontext": {"prompt": "fox"},
}  # fmt: skip
KINDS = sorted(BODIES)


@pytest.mark.parametrize("name", sorted(ENDPOINTS))
def test_every_operation_has_the_paths_of_its_page(name: str) -> None:
    row = OPERATIONS[name]
    method, path, details = ENDPOINTS[name]
    if isinstance(row, TaskOperation):
        made, read = create_request(row, BODIES[name], CALLBACK), details_request(row, "t-1")
        assert (made.method, made.path, made.host) == (method, path, Host.API)
        assert (read.method, read.path, read.host) == ("GET", details, Host.API)
    else:
        assert (row.method, row.path, details) == (method, path, None)
        assert (row.host is Host.UPLOAD) is name.startswith("upload.")


def test_the_table_above_holds_every_operation() -> None:
    assert set(ENDPOINTS) == set(OPERATIONS)
    assert set(KINDS) == {name for name, row in OPERATIONS.items() if isinstance(row, TaskOperation)}


@pytest.mark.parametrize("name", KINDS)
def test_every_create_carries_its_body_and_the_callback_url_at_the_top_level(name: str) -> None:
    request = create_request(task_kind(name), BODIES[name], CALLBACK)
    spelled = "calBackUrl" if name == "voice.regenerate" else "callBackUrl"
    assert request.json == BODIES[name] | {spelled: CALLBACK}


@pytest.mark.parametrize("name", KINDS)
def test_a_create_without_a_callback_url_gets_one_that_resolves_nowhere(name: str) -> None:
    request = create_request(task_kind(name), BODIES[name], "")
    assert NO_CALLBACK_URL in dict(request.json or {}).values()
    assert NO_CALLBACK_URL.split("/")[2].endswith(".invalid")


def test_none_is_left_out_and_false_and_zero_are_sent() -> None:
    body = {"prompt": "x", "customMode": False, "instrumental": False, "model": "V5", "style": None, "styleWeight": 0}
    sent = dict(create_request(task_kind("suno.music"), body, CALLBACK).json or {})
    assert "style" not in sent
    assert (sent["customMode"], sent["styleWeight"]) == (False, 0)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        (name, field, value)
        for name in KINDS
        for field in task_kind(name).required
        for value in (None, "")
        if value is not None or field not in task_kind(name).defaults
    ],
)
def test_a_create_without_a_required_field_is_refused_before_it_is_sent(name: str, field: str, value: Any) -> None:
    with pytest.raises(KieInvalidRequest, match=f"{field}.*nothing was sent"):
        create_request(task_kind(name), BODIES[name] | {field: value}, CALLBACK)


def test_a_custom_instrumental_needs_no_prompt() -> None:
    body = {"customMode": True, "instrumental": True, "model": "V5", "style": "jazz", "title": "Rain"}
    assert "prompt" not in dict(create_request(task_kind("suno.music"), body, CALLBACK).json or {})


@pytest.mark.parametrize("name", KINDS)
def test_details_are_read_by_the_id_of_the_task(name: str) -> None:
    request = details_request(task_kind(name), "t-1")
    assert (request.method, request.path) == ("GET", ENDPOINTS[name][2])
    assert (dict(request.params), request.json) == ({"taskId": "t-1"}, None)


def test_a_call_is_sent_as_its_page_says() -> None:
    assert call_request(CREDIT).json is None
    assert call_request(DOWNLOAD_URL, {"url": "https://a/b"}).json == {"url": "https://a/b"}
    assert call_request(STYLE, {"content": "Pop"}).json == {"content": "Pop"}
    assert dict(call_request(OPERATIONS["models"], {"q": "suno"}).params) == {"q": "suno"}  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [None, {}, {"url": ""}])
def test_a_call_without_a_required_field_is_refused_before_it_is_sent(body: dict[str, Any] | None) -> None:
    with pytest.raises(KieInvalidRequest, match="url"):
        call_request(DOWNLOAD_URL, body)


def test_an_upload_goes_to_the_other_host_as_json_or_multipart() -> None:
    body = {"base64Data": "aGk=", "uploadPath": "in"}
    as_json = call_request(UPLOAD_BASE64, body)
    assert (as_json.host, as_json.json, as_json.files) == (Host.UPLOAD, body, None)
    as_stream = call_request(UPLOAD_STREAM, {"uploadPath": "in"}, ("a.png", b"png"))
    assert (as_stream.json, as_stream.form) == (None, {"uploadPath": "in"})
    assert as_stream.files == {"file": ("a.png", b"png")}


@pytest.mark.parametrize("upload", [UPLOAD_BASE64, UPLOAD_STREAM])
def test_an_upload_without_a_path_is_refused_before_it_is_sent(upload: CallOperation) -> None:
    with pytest.raises(KieInvalidRequest, match="uploadPath"):
        call_request(upload, {"base64Data": "aGk="})


@pytest.mark.parametrize("name", ["suno.nothing", "credit", "upload.base64", ""])
def test_a_name_that_is_no_task_kind_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(KeyError, match=r"suno\.cover"):
        task_kind(name)


def test_only_what_costs_nothing_may_be_sent_again_after_a_lost_answer() -> None:
    assert {name for name in KINDS if task_kind(name).free} == {"suno.cover"}


def test_what_kie_says_that_it_has_made_before_is_known_by_its_codes() -> None:
    codes = {name: set(task_kind(name).duplicate_codes) for name in KINDS if task_kind(name).duplicate_codes}
    assert codes == {"suno.cover": {400, 409}, "suno.wav": {409}, "veo.4k": {422}}
