"""Suno: music, what is made of a song, lyrics and voices (docs.kie.ai suno-api)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_kie.client import errors
from airflow_kie.client.operations.operation import (
    CallOperation,
    Medium,
    Parent,
    ResultRow,
    State,
    TaskOperation,
    Timing,
)


def _states(*failed: str, running: tuple[str, ...] = ()) -> Mapping[str | int, State]:
    """Return the state words that all of these operations share, and an operation's own."""
    return {
        **dict.fromkeys(("PENDING", *running), State.RUNNING),
        "SUCCESS": State.SUCCEEDED,
        "CALLBACK_EXCEPTION": State.UNDELIVERED,
        **dict.fromkeys(("CREATE_TASK_FAILED", *failed), State.FAILED),
    }


_SONG = Parent("taskId", "suno.music")
_TRACK = Parent("audioId", "suno.music")
_TRACKS = "to_array(from_json(response).sunoData)"
_TRACK_FIELDS = """{audio_id: id, audio_url: audioUrl, image_url: imageUrl, lyrics: prompt, title: title, tags: tags,
    model: modelName, duration_seconds: duration}"""

MUSIC = TaskOperation(
    name="suno.music",
    title="Generate Music",
    page="suno-api/generate-music",
    create="/api/v1/generate",
    details="/api/v1/generate/record-info",
    required=("customMode", "instrumental", "model"),  # a custom instrumental has no prompt
    state_path="status",
    states=_states("GENERATE_AUDIO_FAILED", "SENSITIVE_WORD_ERROR", running=("TEXT_SUCCESS", "FIRST_SUCCESS")),
    results=(ResultRow("track", f"{_TRACKS}[].audioUrl", Medium.AUDIO),),
    shape_known=True,
    tracks=f"{_TRACKS}[?type(@) == 'object'].{_TRACK_FIELDS}",
    running_errors=True,
    details_errors={400: errors.KieContentRejected, 413: errors.KieContentRejected},
    timing=Timing(first_read=20, typical=120),
)

COVER = TaskOperation(
    name="suno.cover",
    title="Generate Music Cover",
    page="suno-api/cover-suno",
    create="/api/v1/suno/cover/generate",
    details="/api/v1/suno/cover/record-info",
    parent=_SONG,
    once_per=("taskId",),
    required=("taskId",),
    # Here 2 is "generating", unlike MIDI and Veo. The page's schema names the numbers and its prose the words.
    states={
        0: State.RUNNING,
        1: State.SUCCEEDED,
        2: State.RUNNING,
        3: State.FAILED,
        **_states("GENERATE_COVER_FAILED"),
    },
    results=(ResultRow("cover", "to_array(response.images)[]", Medium.IMAGE),),
    shape_known=True,
    parent_path="parentTaskId",
    free=True,
    duplicate_codes=frozenset({400, 409}),
    timing=Timing(first_read=8, typical=45, timeout=20 * 60),
)


def _music_from(name: str, title: str, page: str, *required: str, once_per: str, **more: Any) -> TaskOperation:
    """Return the row of an operation that makes music of something, and is read where music is read."""
    return replace(
        MUSIC,
        name=f"suno.{name}",
        title=title,
        page=f"suno-api/{page}",
        create=f"/api/v1/generate/{name.replace('_', '-')}",
        once_per=(once_per,),
        required=(once_per, *required, "model"),
        shape_known=False,
        **more,
    )


EXTEND = _music_from("extend", "Extend Music", "extend-music", "defaultParamFlag", once_per="audioId", parent=_TRACK)
UPLOAD_COVER = _music_from(
    "upload_cover",
    "Upload And Cover Audio",
    "upload-and-cover-audio",
    "prompt",
    "customMode",
    "instrumental",
    once_per="uploadUrl",
)
UPLOAD_EXTEND = _music_from(
    "upload_extend", "Upload And Extend Audio", "upload-and-extend-audio", "defaultParamFlag", once_per="uploadUrl"
)


def _of_track(name: str, title: str, page: str, path: str, failed: str, *results: ResultRow) -> TaskOperation:
    """Return the row of an operation on a finished track, with a state word in `successFlag`."""
    return TaskOperation(
        name=f"suno.{name}",
        title=title,
        page=f"suno-api/{page}",
        create=f"/api/v1/{path}/generate",
        details=f"/api/v1/{path}/record-info",
        parent=_SONG,
        once_per=("taskId", "audioId"),
        required=("taskId", "audioId"),
        states=_states(failed),
        results=results,
    )


_STEMS = {
    "vocals": "vocal",
    "instrumental": "instrumental",
    "backing_vocals": "backingVocals",
    "drums": "drums",
    "bass": "bass",
    "guitar": "guitar",
    "piano": "piano",
    "keyboard": "keyboard",
    "percussion": "percussion",
    "strings": "strings",
    "synth": "synth",
    "fx": "fx",
    "brass": "brass",
    "woodwinds": "woodwinds",
}
"""Role of a stem → its field, without "Url"."""
WAV = replace(
    _of_track(
        "wav",
        "Convert to WAV",
        "convert-to-wav",
        "wav",
        "GENERATE_WAV_FAILED",
        ResultRow("wav", "response.audioWavUrl", Medium.AUDIO),
    ),
    duplicate_codes=frozenset({409}),
)
STEMS = replace(
    _of_track(
        "stems",
        "Vocal and Instrument Separation",
        "separate-vocals",
        "vocal-removal",
        "GENERATE_AUDIO_FAILED",
        *(ResultRow(role, f"response.{field}Url", Medium.AUDIO, required=False) for role, field in _STEMS.items()),
        ResultRow("stem", "links(response)", Medium.AUDIO, required=False),  # one that KIE has added since
    ),
    inputs="response.originUrl",
    once_per=("taskId", "audioId", "type"),  # stems of another type are another task
)
VIDEO = _of_track(
    "video",
    "Create Music Video",
    "create-music-video",
    "mp4",
    "GENERATE_MP4_FAILED",
    ResultRow("video", "response.videoUrl", Medium.VIDEO),
)
MIDI = TaskOperation(
    name="suno.midi",
    title="Generate MIDI",
    page="suno-api/generate-midi",
    create="/api/v1/midi/generate",
    details="/api/v1/midi/record-info",
    parent=Parent("taskId", "suno.stems"),
    once_per=("taskId",),
    required=("taskId",),
    states={0: State.RUNNING, 1: State.SUCCEEDED, 2: State.FAILED, 3: State.FAILED},  # 2: could not be created
    results=(ResultRow("midi", "[midiData.instruments]", Medium.JSON, inline=True),),
)
LYRICS = TaskOperation(
    name="suno.lyrics",
    title="Generate Lyrics",
    page="suno-api/generate-lyrics",
    create="/api/v1/lyrics",
    details="/api/v1/lyrics/record-info",
    required=("prompt",),
    state_path="status",
    states=_states("GENERATE_LYRICS_FAILED", "SENSITIVE_WORD_ERROR"),
    results=(ResultRow("lyrics", "to_array(response.data)[].text", Medium.TEXT, inline=True),),
    create_errors={  # this page has a code list of its own: 405 and 430 are the rate limit, 429 is an empty account
        405: errors.KieRateLimited,
        413: errors.KieContentRejected,
        429: errors.KieOutOfCredits,
        430: errors.KieRateLimited,
    },
    timing=Timing(first_read=5, typical=20, timeout=10 * 60),
)
VOICE = TaskOperation(
    name="voice.generate",
    title="Generate Voice",
    page="suno-api/voice-generate",
    create="/api/v1/voice/generate",
    details="/api/v1/voice/record-info",
    parent=Parent("taskId", "voice.validate"),
    once_per=("taskId",),
    required=("taskId", "verifyUrl"),
    state_path="status",
    states=_states(),
    results=(ResultRow("voice_id", "[voiceId, response.voiceId]", Medium.TEXT, inline=True),),
)
VOICE_AGAIN = replace(
    VOICE,
    name="voice.regenerate",
    title="Regenerate Voice Validation Phrase",
    page="suno-api/voice-regenerate",
    create="/api/v1/voice/regenerate",
    details="/api/v1/voice/validate-info",
    required=("taskId",),
    results=(ResultRow("phrase", "validateInfo", Medium.TEXT, inline=True),),
    callback_field="calBackUrl",  # KIE's own spelling on this page
)
STYLE = CallOperation(
    "style", "Boost Music Style", "suno-api/boost-music-style", "/api/v1/style/generate", required=("content",)
)
