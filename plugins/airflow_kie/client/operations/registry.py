"""The rows: every KIE operation that this package knows, by name.

Sources are the pages at docs.kie.ai that each row names; where recorded traffic contradicts a page, the traffic wins.
Sensor, trigger, operator and callback receiver read this table and hold no KIE path of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from airflow_kie.client import errors
from airflow_kie.client.operations.operation import (
    CallOperation,
    Endpoint,
    Host,
    Operation,
    Phase,
    State,
    Step,
    TaskOperation,
    Timing,
    Tracks,
    UploadOperation,
    frozen,
)

_V1 = "/api/v1"

MUSIC_STATES = frozen(
    {
        "PENDING": State.RUNNING,
        "TEXT_SUCCESS": State.RUNNING,
        "FIRST_SUCCESS": State.RUNNING,
        "SUCCESS": State.SUCCEEDED,
        "CREATE_TASK_FAILED": State.FAILED,
        "GENERATE_AUDIO_FAILED": State.FAILED,
        "SENSITIVE_WORD_ERROR": State.FAILED,
        "CALLBACK_EXCEPTION": State.UNDELIVERED,
    }
)
"""docs.kie.ai suno-api/get-music-details."""

COVER_STATES = frozen(
    {
        0: State.RUNNING,
        1: State.SUCCEEDED,
        2: State.RUNNING,
        3: State.FAILED,
        "PENDING": State.RUNNING,
        "SUCCESS": State.SUCCEEDED,
        "CALLBACK_EXCEPTION": State.UNDELIVERED,
        "CREATE_TASK_FAILED": State.FAILED,
        "GENERATE_COVER_FAILED": State.FAILED,
    }
)
"""docs.kie.ai suno-api/get-cover-suno-details: here 2 is "generating", unlike MIDI and Veo. The page's schema names the
numbers and its prose the words."""

FLAG_STATES = frozen({0: State.RUNNING, 1: State.SUCCEEDED, 2: State.FAILED, 3: State.FAILED})
"""MIDI, Veo, Flux Kontext: 2 is "could not be created"."""

MARKET_STATES = frozen(
    {
        "waiting": State.RUNNING,
        "queuing": State.RUNNING,
        "generating": State.RUNNING,
        "success": State.SUCCEEDED,
        "fail": State.FAILED,
    }
)
"""docs.kie.ai market/common/get-task-detail."""

_TRACK_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "audio_id": "id",
        "audio_url": "audioUrl",
        "image_url": "imageUrl",
        "lyrics": "prompt",
        "title": "title",
        "tags": "tags",
        "model": "modelName",
        "duration_seconds": "duration",
    }
)

_MUSIC_CODES = MappingProxyType({Phase.DETAILS: {400: errors.KieContentRejected, 413: errors.KieContentRejected}})


def _worded(*failed: str) -> Mapping[str | int, State]:
    return frozen(
        {
            "PENDING": State.RUNNING,
            "SUCCESS": State.SUCCEEDED,
            "CALLBACK_EXCEPTION": State.UNDELIVERED,
            "CREATE_TASK_FAILED": State.FAILED,
            **dict.fromkeys(failed, State.FAILED),
        }
    )


MUSIC = TaskOperation(
    name="suno.music",
    title="Generate Music",
    page="suno-api/generate-music",
    create=Endpoint("POST", f"{_V1}/generate"),
    details=Endpoint("GET", f"{_V1}/generate/record-info"),
    required=("customMode", "instrumental", "model"),  # a custom instrumental has no prompt
    state_path=("status",),
    states=MUSIC_STATES,
    tracks=Tracks(("response", Step.JSON, "sunoData", Step.EACH), _TRACK_FIELDS),
    result_paths=(("response", Step.JSON, "sunoData", Step.EACH, "audioUrl"),),
    running_errors=True,
    code_errors=_MUSIC_CODES,
    timing=Timing(first_read=20, typical=120, timeout=30 * 60),
)

COVER = TaskOperation(
    name="suno.cover",
    title="Generate Music Cover",
    page="suno-api/cover-suno",
    create=Endpoint("POST", f"{_V1}/suno/cover/generate"),
    details=Endpoint("GET", f"{_V1}/suno/cover/record-info"),
    parent_fields=("taskId",),
    required=("taskId",),
    states=COVER_STATES,
    result_paths=(("response", "images", Step.EACH),),
    parent_path=("parentTaskId",),
    free=True,
    duplicate_codes=frozenset({400, 409}),
    timing=Timing(first_read=8, typical=45, timeout=20 * 60),
)


def _music_like(
    name: str, title: str, page: str, path: str, required: Iterable[str], **made_from: Any
) -> TaskOperation:
    """Return a row for an operation that makes music and is read where music is read.

    :param made_from: `parent_fields` or `identity_fields`.
    """
    return replace(
        MUSIC,
        name=f"suno.{name}",
        title=title,
        page=f"suno-api/{page}",
        create=Endpoint("POST", f"{_V1}/generate/{path}"),
        required=tuple(required),
        **made_from,
    )


_MUSIC_LIKE = (
    _music_like(
        "extend",
        "Extend Music",
        "extend-music",
        "extend",
        ("defaultParamFlag", "audioId", "model"),
        parent_fields=("audioId",),
    ),
    _music_like(
        "upload_cover",
        "Upload And Cover Audio",
        "upload-and-cover-audio",
        "upload-cover",
        ("uploadUrl", "prompt", "customMode", "instrumental", "model"),
        identity_fields=("uploadUrl",),
    ),
    _music_like(
        "upload_extend",
        "Upload And Extend Audio",
        "upload-and-extend-audio",
        "upload-extend",
        ("uploadUrl", "defaultParamFlag", "model"),
        identity_fields=("uploadUrl",),
    ),
)


def _derived(name: str, title: str, page: str, path: str, failed: str, result: tuple[str | Step, ...]) -> TaskOperation:
    """Return a row for an operation on a finished track with a state word in `successFlag`."""
    return TaskOperation(
        name=f"suno.{name}",
        title=title,
        page=f"suno-api/{page}",
        create=Endpoint("POST", f"{_V1}/{path}/generate"),
        details=Endpoint("GET", f"{_V1}/{path}/record-info"),
        parent_fields=("taskId", "audioId"),
        required=("taskId", "audioId"),
        states=_worded(failed),
        result_paths=(result,),
    )


WAV = replace(
    _derived("wav", "Convert to WAV", "convert-to-wav", "wav", "GENERATE_WAV_FAILED", ("response", "audioWavUrl")),
    duplicate_codes=frozenset({409}),
)
STEMS = replace(
    _derived(
        "stems",
        "Vocal and Instrument Separation",
        "separate-vocals",
        "vocal-removal",
        "GENERATE_AUDIO_FAILED",
        ("response", Step.URLS),
    ),
    input_paths=(("response", "originUrl"),),
    identity_fields=("type",),
)
VIDEO = _derived(
    "video", "Create Music Video", "create-music-video", "mp4", "GENERATE_MP4_FAILED", ("response", "videoUrl")
)
MIDI = TaskOperation(
    name="suno.midi",
    title="Generate MIDI",
    page="suno-api/generate-midi",
    create=Endpoint("POST", f"{_V1}/midi/generate"),
    details=Endpoint("GET", f"{_V1}/midi/record-info"),
    parent_fields=("taskId",),
    required=("taskId",),
    states=FLAG_STATES,
    result_paths=(("midiData", "instruments"),),
)
LYRICS = TaskOperation(
    name="suno.lyrics",
    title="Generate Lyrics",
    page="suno-api/generate-lyrics",
    create=Endpoint("POST", f"{_V1}/lyrics"),
    details=Endpoint("GET", f"{_V1}/lyrics/record-info"),
    required=("prompt",),
    state_path=("status",),
    states=_worded("GENERATE_LYRICS_FAILED", "SENSITIVE_WORD_ERROR"),
    result_paths=(("response", "data", Step.EACH, "text"),),
    code_errors=MappingProxyType(
        {
            # This page has a code list of its own: 405 and 430 are the rate limit, 429 is an empty account.
            Phase.CREATE: {
                405: errors.KieRateLimited,
                413: errors.KieContentRejected,
                429: errors.KieOutOfCredits,
                430: errors.KieRateLimited,
            }
        }
    ),
    timing=Timing(first_read=5, typical=20, timeout=10 * 60),
)
VOICE = TaskOperation(
    name="voice.generate",
    title="Generate Voice",
    page="suno-api/voice-generate",
    create=Endpoint("POST", f"{_V1}/voice/generate"),
    details=Endpoint("GET", f"{_V1}/voice/record-info"),
    parent_fields=("taskId",),
    required=("taskId", "verifyUrl"),
    state_path=("status",),
    states=_worded(),
    result_paths=(("voiceId",), ("response", "voiceId")),
)
VOICE_AGAIN = replace(
    VOICE,
    name="voice.regenerate",
    title="Regenerate Voice Validation Phrase",
    page="suno-api/voice-regenerate",
    create=Endpoint("POST", f"{_V1}/voice/regenerate"),
    details=Endpoint("GET", f"{_V1}/voice/validate-info"),
    required=("taskId",),
    callback_field="calBackUrl",  # KIE's own spelling on this page
)
JOBS = TaskOperation(
    name="jobs",
    title="Market: Create Task",
    page="market/quickstart",
    create=Endpoint("POST", f"{_V1}/jobs/createTask"),
    details=Endpoint("GET", f"{_V1}/jobs/recordInfo"),
    required=("model", "input"),
    state_path=("state",),
    states=MARKET_STATES,
    result_paths=(("resultJson", Step.JSON, "resultUrls", Step.EACH),),
    error_code_path=("failCode",),
    error_message_paths=(("failMsg",),),
    unknown_codes=frozenset({422}),  # "recordInfo is null", also directly after the create
    timing=Timing(first_read=5, typical=60, timeout=30 * 60),
)
VEO_4K = TaskOperation(
    name="veo_4k",
    title="Veo 3.1: Get 4K Video",
    page="veo3-api/get-veo-3-4k-video",
    create=Endpoint("POST", f"{_V1}/veo/get-4k-video"),
    details=None,  # read by sending the create again: 422 with data, null results until it is ready
    parent_fields=("taskId",),
    identity_fields=("index",),
    required=("taskId",),
    state_path=None,
    result_paths=(("resultUrls", Step.EACH), ("result_urls", Step.EACH)),
    duplicate_codes=frozenset({422}),
    id_is_source=True,
    readable_codes=frozenset({200, 422}),
    timing=Timing(first_read=60, typical=400, timeout=30 * 60),
)

CREDIT = CallOperation("credit", "Get Remaining Credits", "common-api/get-account-credits",
              Endpoint("GET", f"{_V1}/chat/credit"))  # fmt: skip
DOWNLOAD_URL = CallOperation("download_url", "Get Download URL", "common-api/download-url",
                    Endpoint("POST", f"{_V1}/common/download-url"), ("url",))  # fmt: skip
MODELS = CallOperation("models", "List Models", "market/models", Endpoint("GET", f"{_V1}/models"))
STYLE = CallOperation("style", "Boost Music Style", "suno-api/boost-music-style",
             Endpoint("POST", f"{_V1}/style/generate"), ("content",))  # fmt: skip

UPLOAD_BASE64 = UploadOperation("upload.base64", "Base64 File Upload", "file-upload-api/upload-file-base-64",
                       Endpoint("POST", "/api/file-base64-upload", Host.UPLOAD),
                       ("base64Data", "uploadPath"))  # fmt: skip
UPLOAD_STREAM = UploadOperation("upload.stream", "File Stream Upload", "file-upload-api/upload-file-stream",
                       Endpoint("POST", "/api/file-stream-upload", Host.UPLOAD), file_field="file")  # fmt: skip

_ALL: tuple[Operation, ...] = (
    MUSIC,
    COVER,
    *_MUSIC_LIKE,
    WAV,
    STEMS,
    VIDEO,
    MIDI,
    LYRICS,
    VOICE,
    VOICE_AGAIN,
    JOBS,
    VEO_4K,
    CREDIT,
    DOWNLOAD_URL,
    MODELS,
    STYLE,
    UPLOAD_BASE64,
    UPLOAD_STREAM,
)

OPERATIONS: Mapping[str, Operation] = MappingProxyType({row.name: row for row in _ALL})
"""Every operation by name."""


def task_kind(name: str) -> TaskOperation:
    """Return the row of a task kind.

    :param name: such as ``suno.cover``.
    :raises KeyError: with the known names, when there is no such task kind.
    """
    row = OPERATIONS.get(name)
    if not isinstance(row, TaskOperation):
        known = ", ".join(sorted(key for key, value in OPERATIONS.items() if isinstance(value, TaskOperation)))
        raise KeyError(f"There is no KIE task kind {name!r}. Known: {known}.")
    return row
