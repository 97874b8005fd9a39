"""Suno: what is made of a finished track, in both API variants: WAV, stems, MIDI, a video."""

from __future__ import annotations

from dataclasses import replace

from airflow_kie.client.operations.market import made
from airflow_kie.client.operations.operation import CallOperation, Medium, Parent, ResultRow, State, TaskOperation
from airflow_kie.client.operations.suno import SONG, states
from airflow_kie.client.operations.unified import in_both_forms


def _of_track(name: str, title: str, page: str, path: str, failed: str, *results: ResultRow) -> TaskOperation:
    """Return the row of an operation on a finished track, with a state word in `successFlag`."""
    return TaskOperation(
        name=f"suno.{name}",
        title=title,
        page=f"suno-api/{page}",
        create=f"/api/v1/{path}/generate",
        details=f"/api/v1/{path}/record-info",
        parent=SONG,
        once_per=("taskId", "audioId"),
        required=("taskId", "audioId"),
        states=states(failed),
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
_MADE_FILES = f"to_array({made('resultUrls')})[]"
WAV = in_both_forms(
    replace(
        _of_track(
            "wav",
            "Convert to WAV",
            "convert-to-wav",
            "wav",
            "GENERATE_WAV_FAILED",
            ResultRow("wav", "response.audioWavUrl", Medium.AUDIO),
        ),
        duplicate_codes=frozenset({409}),
    ),
    "ai-music-api/convert-to-wav-format",
    ResultRow("wav", _MADE_FILES, Medium.AUDIO),
)
STEMS = in_both_forms(
    replace(
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
        once_per=("taskId", "audioId", "type", "stemName"),  # stems of another type or name are another task
    ),
    "ai-music-api/separate-vocals",
    ResultRow("stem", _MADE_FILES, Medium.AUDIO),  # which of them is which is not documented
)
VIDEO = in_both_forms(
    _of_track(
        "video",
        "Create Music Video",
        "create-music-video",
        "mp4",
        "GENERATE_MP4_FAILED",
        ResultRow("video", "response.videoUrl", Medium.VIDEO),
    ),
    "ai-music-api/create-music-video",
    ResultRow("video", _MADE_FILES, Medium.VIDEO),
)
_MIDI = TaskOperation(
    name="suno.midi",
    title="Generate MIDI",
    page="suno-api/generate-midi",
    create="/api/v1/midi/generate",
    details="/api/v1/midi/record-info",
    parent=Parent("taskId", "suno.stems"),
    once_per=("taskId", "audioId"),
    required=("taskId",),
    states={0: State.RUNNING, 1: State.SUCCEEDED, 2: State.FAILED, 3: State.FAILED},  # 2: could not be created
    results=(ResultRow("midi", "[midiData.instruments]", Medium.JSON, inline=True),),
)
MIDI = in_both_forms(
    _MIDI,
    "ai-music-api/generate-midi-from-audio",
    ResultRow("midi", f"[{made('resultObject')}]", Medium.JSON, inline=True),
)
# These two answer at once, without a task, and once for a track: the answer is kept.
PERSONA = CallOperation(
    "suno.persona",
    "Generate Persona",
    "suno-api/generate-persona",
    "/api/v1/generate/generate-persona",
    required=("taskId", "audioId", "name", "description"),
    model="ai-music-api/generate-persona",
    once_per=("taskId", "audioId"),
)
"""Free; KIE makes one for a track and refuses a second (409)."""
TIMESTAMPED_LYRICS = CallOperation(
    "suno.timestamped_lyrics",
    "Get Timestamped Lyrics",
    "suno-api/get-timestamped-lyrics",
    "/api/v1/generate/get-timestamped-lyrics",
    required=("taskId", "audioId"),
    model="ai-music-api/timeStamped-lyrics",
    once_per=("taskId", "audioId"),
)
