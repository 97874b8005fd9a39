"""KIE's navigation, line by line: every operation and model is called by its name, and its files are archived."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.ai.operators.llm import LLMOperator

from airflow_connections import kie_connection
from airflow_kie.client.callbacks.signature import task_id_in
from airflow_kie.client.catalogue.listed import operation_of
from airflow_kie.client.catalogue.models import models
from airflow_kie.client.errors import KieInvalidRequest
from airflow_kie.client.operations.operation import CallOperation
from airflow_kie.client.operations.registry import OPERATIONS, task_kind
from airflow_kie.hooks.kie import KieHook
from airflow_kie.operators.task import KieTaskOperator
from airflow_kie.sensors.task import KieTaskSensor
from airflow_kie.transfers.results_to_s3 import KieResultsToS3Operator
from airflow_task import StoredFiles, TaskRun
from catalogue_requests import FILE, request_for
from kie_callback_receiver import CallbackReceiver
from kie_simulator.server import SimulatorServer

NAVIGATION = Path(__file__).parents[2] / "data" / "kie-navigation.md"
FOUND = re.findall(r"^( *)- (.+)$", NAVIGATION.read_text(encoding="utf-8"), re.MULTILINE)
LINES = [(indent, " ".join(title.split())) for indent, title in FOUND]
# A line with lines below it is a heading.
LEAVES = [
    title
    for (indent, title), (below, _) in zip(LINES, [*LINES[1:], ("", "")], strict=True)
    if len(below) <= len(indent)
]
PAGES = {"Getting Started with KIE API (Important)", "Market"}
"""Text only, as every page that is called a quickstart."""
READS = {
    "Get 4o Image Details": "gpt4o.image",
    "Get Image Details": "flux.kontext",
    "Get Aleph Video Details": "runway.aleph",
    "Get AI Video Details": "runway.generate",
    "Get Veo3.1 Video Details": "veo.generate",
    "Get Music Task Details": "suno.music",
    "Get Cover Generation Details": "suno.cover",
    "Get Lyrics Task Details": "suno.lyrics",
    "Get WAV Conversion Details": "suno.wav",
    "Get Vocal Separation Details": "suno.stems",
    "Get MIDI Generation Details": "suno.midi",
    "Get Music Video Details": "suno.video",
    "Get Task Details": "market",
}
"""What is read: the sensor's and the trigger's, which the walk of each operation uses too."""
CALLBACKS = {
    "4o Image Generation Callbacks": "gpt4o.image",
    "Image Generation or Editing Callbacks": "flux.kontext",
    "AI Video Generation Callbacks": "runway.generate",
    "AI Video Extension Callbacks": "runway.extend",
    "Aleph Video Generation Callbacks": "runway.aleph",
    "Veo3.1 Video Generation Callbacks": "veo.generate",
    "Get 4K Video Callbacks": "veo.4k",
    "Music Generation Callbacks": "suno.music",
    "Music Extension Callbacks": "suno.extend",
    "Audio Upload and Cover Callbacks": "suno.upload_cover",
    "Audio Upload and Extension Callbacks": "suno.upload_extend",
    "Add Instrumental Callbacks": "suno.add_instrumental",
    "Add Vocals Callbacks": "suno.add_vocals",
    "Music Cover Generation Callbacks": "suno.cover",
    "Replace Music Section Callbacks": "suno.replace_section",
    "Lyrics Generation Callbacks": "suno.lyrics",
    "Convert to WAV Callbacks": "suno.wav",
    "Audio Separation Callbacks": "suno.stems",
    "MIDI Generation Callbacks": "suno.midi",
    "Music Video Generation Callbacks": "suno.video",
}
NAMED = {
    "Get Direct Download URL": "gpt4o.download_url",
    "Vocal & Instrument Stem Separation": "suno.stems",
    "kling-3.0 motion-control": "kling-3.0/motion-control",
}
"""Lines that KIE's catalogue titles otherwise."""
AUDIO = "https://files.example/in.mp3"
SONG = {"customMode": False, "instrumental": False, "model": "V5"}


def model_of(title: str) -> str:
    """Return the model of a line, or the operation that it names."""
    found = [name for name, model in models().items() if title in (model.title, model.former_title)]
    return NAMED.get(title) or next(iter(found), "")


CHAT = [title for title in LEAVES if (model := models().get(model_of(title))) and model.is_chat]
"""Chat models make no task: Airflow's own provider for language models is pointed at their endpoints."""
TEXT = [title for title in LEAVES if title in PAGES or title.endswith("Quickstart")]
ASKED = [t for t in LEAVES if t not in (*TEXT, *CHAT, *READS, *CALLBACKS)]


def song(kie: SimulatorServer) -> dict[str, Any]:
    """Return the ids of a finished song and its first track."""
    music = kie.control.make_music("Velvet Harbour")[0].task_id
    track = KieHook().details("suno.music", music).details.tracks[0]  # type: ignore[union-attr]
    return {"taskId": music, "audioId": track.audio_id}


def _of(operation: str) -> Callable[[SimulatorServer], dict[str, Any]]:
    return lambda kie: {"taskId": made(kie, operation)}


def _extended(**fields: Any) -> Callable[[SimulatorServer], dict[str, Any]]:
    return lambda kie: song(kie) | fields


UPLOADED = {"uploadUrl": AUDIO, "title": "Rain", "negativeTags": "noise", "prompt": "rain"}
SECTION = {"prompt": "rain", "tags": "pop", "title": "Rain", "infillStartS": 10, "infillEndS": 25, "fullLyrics": "la"}
REQUESTS: dict[str, dict[str, Any] | Callable[[SimulatorServer], dict[str, Any]]] = {
    "suno.music": {"prompt": "rain", **SONG},
    "suno.extend": lambda kie: {"audioId": song(kie)["audioId"], "defaultParamFlag": False, "model": "V5"},
    "suno.upload_cover": {"uploadUrl": AUDIO, "prompt": "rain", **SONG},
    "suno.upload_extend": {"uploadUrl": AUDIO, "defaultParamFlag": False, **SONG},
    "suno.add_instrumental": UPLOADED | {"tags": "pop"},
    "suno.add_vocals": UPLOADED | {"style": "pop"},
    "suno.replace_section": _extended(**SECTION),
    "suno.mashup": {"uploadUrlList": [AUDIO, AUDIO], **SONG, "style": "pop", "title": "Rain"},
    "suno.cover": lambda kie: {"taskId": song(kie)["taskId"]},
    "suno.lyrics": {"prompt": "rain"},
    "suno.wav": song,
    "suno.stems": _extended(type="separate_vocal"),
    "suno.video": song,
    "suno.midi": _of("suno.stems"),
    "suno.persona": _extended(name="Ada", description="warm"),
    "suno.timestamped_lyrics": song,
    "style": {"content": "Pop"},
    "veo.generate": {"prompt": "a fox"},
    "veo.extend": lambda kie: _of("veo.generate")(kie) | {"prompt": "a fox runs on"},
    "veo.1080p": _of("veo.generate"),
    "veo.4k": _of("veo.generate"),
    "runway.generate": {"prompt": "a fox", "duration": 5, "quality": "720p"},
    "runway.extend": lambda kie: _of("runway.generate")(kie) | {"prompt": "a fox runs on", "quality": "720p"},
    "runway.aleph": {"prompt": "a fox", "videoUrl": FILE},
    "gpt4o.image": {"prompt": "a fox", "size": "1:1"},
    "flux.kontext": {"prompt": "a fox"},
    "market": {"model": "z-image", "input": {"prompt": "a fox", "aspect_ratio": "1:1"}},
    "suno.sounds": {"prompt": "a door"},
    "suno.recovery": lambda kie: {"task_id": song(kie)["taskId"]},
    "voice.validate": {"voiceUrl": AUDIO, "vocalStartS": 0, "vocalEndS": 10},
    "voice.regenerate": _of("voice.validate"),
    "voice.generate": lambda kie: _of("voice.validate")(kie) | {"verifyUrl": AUDIO},
    "voice.check": lambda kie: {"task_id": made(kie, "voice.generate")},
}
ELSEWHERE = ("suno.sounds", "suno.recovery", "voice.validate", "voice.regenerate", "voice.generate", "voice.check")
"""Operations that KIE has and this navigation does not."""


def body_of(kie: SimulatorServer, operation: str) -> dict[str, Any]:
    given = REQUESTS[operation]
    return given(kie) if callable(given) else given


def made(kie: SimulatorServer, operation: str, body: dict[str, Any] | None = None) -> str:
    """Make a task and let it end."""
    request = body_of(kie, operation) if body is None else body
    run = TaskRun(
        lambda: KieTaskOperator(task_id="make", operation=operation, request=request, wait_for_completion=False)
    )
    task_id = str(run.attempt())
    kie.control.advance(3600)
    return task_id


def archived(operation: str, task_id: str, bucket: str) -> list[dict[str, Any]]:
    """Wait for a task's end, and archive what it has made."""
    TaskRun(
        lambda: KieTaskSensor(task_id="wait", operation=operation, kie_task_id=task_id, poll_interval=0.05)
    ).attempt()
    result = TaskRun(
        lambda: KieResultsToS3Operator(task_id="archive", operation=operation, kie_task_id=task_id, bucket=bucket)
    ).attempt()
    files: list[dict[str, Any]] = result["files"]
    return files


@pytest.mark.parametrize("title", ASKED)
def test_every_operation_and_model_of_the_navigation_is_called_by_its_name(
    kie: SimulatorServer, archive: StoredFiles, title: str
) -> None:
    name = model_of(title)
    operation = name if name in OPERATIONS else operation_of(name) or "market"
    model = models().get(name)
    if operation != "market" or model is None:
        check_files(kie, archive, operation)
    elif model.status == "discontinued":  # KIE's pages no longer have it, and the simulator refuses it as KIE does
        with pytest.raises(KieInvalidRequest, match="not supported"):
            made(kie, "market", {"model": name, "input": request_for(model)})
        assert not kie.control.ledger()
    else:
        check_files(kie, archive, "market", {"model": name, "input": request_for(model)})


@pytest.mark.parametrize("operation", ELSEWHERE)
def test_every_other_operation_is_called_by_its_name(
    kie: SimulatorServer, archive: StoredFiles, operation: str
) -> None:
    check_files(kie, archive, operation)


def check_files(kie: SimulatorServer, archive: StoredFiles, operation: str, body: dict[str, Any] | None = None) -> None:
    """Make a task and check that all its files are in the bucket; what makes none answers."""
    if isinstance(OPERATIONS[operation], CallOperation):
        assert answered(kie, operation)
        return
    files = archived(operation, made(kie, operation, body), archive.bucket)
    assert files
    assert all(len(archive.body(file["key"])) == file["size"] > 0 for file in files)


def answered(kie: SimulatorServer, operation: str) -> Any:
    """Return what an operation that makes no task answers."""
    row = OPERATIONS[operation]
    assert isinstance(row, CallOperation)
    if operation != "gpt4o.download_url":
        return KieHook().get_conn().call(row, body_of(kie, operation))
    image = made(kie, "gpt4o.image")
    (url,) = KieHook().details("gpt4o.image", image).details.urls  # type: ignore[union-attr]
    return KieHook().get_conn().call(row, {"taskId": image, "url": url})


@pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning")  # Anthropic's own dates, which are not KIE's
@pytest.mark.parametrize("title", CHAT)
def test_every_chat_model_of_the_navigation_answers_airflows_own_operator(
    kie: SimulatorServer, chat: str, title: str
) -> None:
    model = model_of(title)
    run = TaskRun(lambda: LLMOperator(task_id="ask", prompt="hello", llm_conn_id=chat, model_id=model))
    run.extra["task_instance"] = run.ti
    assert run.execute().startswith(f"The simulated {model} has read ")
    (charge,) = kie.control.ledger()
    assert (charge["kind"], charge["request"]["model"]) == ("chat", model)


@pytest.mark.parametrize("title", READS)
def test_every_details_page_of_the_navigation_is_read(kie: SimulatorServer, title: str) -> None:
    task_id = made(kie, READS[title])
    details = KieHook().details(READS[title], task_id).details  # type: ignore[union-attr]
    assert details.task_id == task_id
    assert details.complete


@pytest.mark.parametrize("title", CALLBACKS)
def test_every_callback_of_the_navigation_names_the_task_that_is_waited_for(
    kie: SimulatorServer, monkeypatch: pytest.MonkeyPatch, title: str
) -> None:
    operation = CALLBACKS[title]
    body = body_of(kie, operation)
    with CallbackReceiver() as receiver:
        extra = {"rate_limit": 1000, "callback_url": receiver.url}
        monkeypatch.setenv("AIRFLOW_CONN_KIE_DEFAULT", kie_connection(kie, extra=extra))
        task_id = made(kie, operation, body)
        assert task_id_in(receiver.next().raw)[0] == task_id


def test_the_navigation_is_whole_and_nothing_of_it_is_without_a_place() -> None:
    assert len(LINES) == 213
    assert not [title for title in ASKED if not model_of(title)]
    walked = [*TEXT, *CHAT, *READS, *CALLBACKS, *dict.fromkeys(ASKED)]
    assert sorted(walked) == sorted(set(LEAVES))  # each line has one place
    assert {*READS, *CALLBACKS} <= set(LEAVES)
    assert len(CHAT) == 14
    assert all(task_kind(name) for name in {*READS.values(), *CALLBACKS.values()})
    served = {*REQUESTS, "gpt4o.download_url", "credit", "download_url", "models"}
    assert {*OPERATIONS} - served == {"upload.base64", "upload.stream", "upload.url"}, "tests/unit/client has uploads"
