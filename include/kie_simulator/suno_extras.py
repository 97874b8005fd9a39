"""Details and callbacks of Suno's other operations: lyrics, WAV, stems, MIDI, music video, voice and recovery.

Each has its own spelling of states, times and ids; the pages disagree with one another and so does this module.
"""

from __future__ import annotations

from collections.abc import Callable

from kie_simulator.readings import CallbackBody, Family, Reading
from kie_simulator.songs import invent_lyrics
from kie_simulator.tasks import Json, State

_INTERNAL = "Internal Error - Please try again later"


def _stages(
    running: State, success: State, seconds: tuple[float, float]
) -> tuple[tuple[State, tuple[float, float]], ...]:
    return ((running, (0, 0)), (success, seconds))


def _per_track(reading: Reading, result: Json | None) -> Json:
    """Return what WAV, stem and music video details have in common; ``successFlag`` is a word."""
    code, message = reading.error()
    return {
        "taskId": reading.task.id,
        "musicId": str(reading.task.request.get("audioId", "")),
        "callbackUrl": reading.task.callback_url,
        "musicIndex": 0,
        "completeTime": reading.plain_time(reading.completed_ms()),
        "response": result if reading.has_results else None,
        "successFlag": reading.state,
        "createTime": reading.plain_time(reading.created_ms()),
        "errorCode": code,
        "errorMessage": message,
    }


def _simple_callback(field: str, role: str) -> Callable[[Reading], CallbackBody]:
    def callback(reading: Reading) -> CallbackBody:
        data: Json = {"task_id": reading.task.id, field: None}
        if not reading.succeeded:
            return CallbackBody("error", 500, _INTERNAL, data)
        return CallbackBody("complete", 200, "success", data | {field: reading.links(role)[0]})

    return callback


def _lyrics_texts(reading: Reading) -> list[Json]:
    return [
        {"text": invent_lyrics(f"{reading.task.id}/{n}"), "title": reading.task.title, "status": "complete"}
        for n in range(2)
    ]


def _lyrics_details(reading: Reading) -> Json:
    code, message = reading.error()
    texts = [text | {"errorMessage": ""} for text in _lyrics_texts(reading)]
    return {
        "taskId": reading.task.id,
        "param": str(reading.task.request.get("prompt", "")),
        "response": {"taskId": reading.task.id, "data": texts} if reading.has_results else None,
        "status": reading.state,
        "type": "LYRICS",
        "errorCode": code,
        "errorMessage": message,
    }


def _lyrics_callback(reading: Reading) -> CallbackBody:
    data: Json = {"callbackType": "complete", "task_id": reading.task.id, "data": None}
    if not reading.succeeded:
        return CallbackBody("complete", 400, reading.task.ending.message or "Lyrics generation failed", data)
    texts = [text | {"error_message": ""} for text in _lyrics_texts(reading)]
    return CallbackBody("complete", 200, "All generated successfully.", data | {"data": texts})


_STEMS = "backingVocals drums bass guitar piano keyboard percussion strings synth fx brass woodwinds"
_STEM_NAMES = tuple(_STEMS.split())


def _stem_urls(reading: Reading) -> tuple[str, list[str]]:
    vocal, *others = reading.links("audio")
    return vocal, others


def _vocal_result(reading: Reading) -> Json:
    vocal, others = _stem_urls(reading)
    split = reading.task.request.get("type") == "split_stem"
    groups = ["Vocals", "Drums"] if split else ["Vocals", "Instrumental"]
    origin = [
        {"duration": 184.2, "audio_url": url, "stem_type_group_name": group, "id": f"{reading.task.id[:28]}{n:04d}"}
        for n, (url, group) in enumerate(zip((vocal, *others), groups, strict=False))
    ]
    stems = {f"{name}Url": others[0] if split and name == "drums" else None for name in _STEM_NAMES}
    return {
        "vocalUrl": vocal,
        "instrumentalUrl": None if split else others[0],
        **stems,
        "originUrl": None,
        "originData": origin,
    }


def _vocal_details(reading: Reading) -> Json:
    result = _vocal_result(reading) if reading.has_results else None
    # Observed as epoch milliseconds, documented as a date-time.
    times = {"completeTime": reading.completed_ms(), "createTime": reading.created_ms()}
    return _per_track(reading, result) | times


def _vocal_callback(reading: Reading) -> CallbackBody:
    data: Json = {"task_id": reading.task.id, "vocal_separation_info": None}
    if not reading.succeeded:
        return CallbackBody("error", 500, "Vocal separation failed", data)
    vocal, others = _stem_urls(reading)
    info = {"vocal_url": vocal, "instrumental_url": others[0], "origin_url": ""}
    message = "vocal separation generated successfully."
    return CallbackBody("complete", 200, message, data | {"vocal_separation_info": info})


def _notes(*, times_as_text: bool) -> list[Json]:
    pitches = (60, 64, 67, 72)
    notes = [
        {
            "pitch": pitch,
            "start": str(n * 0.5) if times_as_text else n * 0.5,
            "end": str(n * 0.5 + 0.4) if times_as_text else n * 0.5 + 0.4,
            "velocity": 0.8,
        }
        for n, pitch in enumerate(pitches)
    ]
    return [{"name": "Piano", "notes": notes}]


def _midi_details(reading: Reading) -> Json:
    code, message = reading.error()
    data = {"state": "complete", "instruments": _notes(times_as_text=False)}
    return {
        "taskId": reading.task.id,
        "recordTaskId": -1,
        "audioId": reading.task.request.get("audioId", ""),
        "callbackUrl": reading.task.callback_url,
        "completeTime": reading.completed_ms(),
        # The notes are beside the state, not under ``response``.
        "midiData": data if reading.has_results else None,
        "successFlag": reading.state,
        "createTime": reading.created_ms(),
        "errorCode": code,
        "errorMessage": message,
    }


def _midi_callback(reading: Reading) -> CallbackBody:
    data: Json = {"taskId": reading.task.id}
    if not reading.succeeded:
        return CallbackBody("error", 500, "MIDI generation failed", data)
    notes = {"state": "complete", "instruments": _notes(times_as_text=True)}
    return CallbackBody("complete", 200, "success", data | notes)


def _voice_details(reading: Reading) -> Json:
    code, message = reading.error()
    validates = reading.task.kind != "voice_generate"
    field, value = ("validateInfo", "Streetlights hum a tune") if validates else ("voiceId", reading.task.id[:16])
    return {
        "taskId": reading.task.id,
        field: value if reading.has_results else None,
        "status": reading.state,
        "errorCode": code,
        "errorMessage": message,
    }


def _status_callback(reading: Reading) -> CallbackBody:
    data: Json = {"task_id": reading.task.id}
    if not reading.succeeded:
        return CallbackBody("error", 500, _INTERNAL, data)
    return CallbackBody("complete", 200, "success", data)


def _recovery_details(reading: Reading) -> Json:
    code, message = reading.error()
    return {
        "taskId": reading.task.id,
        "originalTaskId": reading.task.source_id,
        "status": reading.state,
        "errorCode": code,
        "errorMessage": message,
        "createTime": reading.created_ms(),
    }


LYRICS = Family(
    _stages("PENDING", "SUCCESS", (8, 25)),
    "GENERATE_LYRICS_FAILED",
    _lyrics_details,
    _lyrics_callback,
    state_field="status",
)
WAV = Family(
    _stages("PENDING", "SUCCESS", (10, 30)),
    "GENERATE_WAV_FAILED",
    lambda reading: _per_track(reading, {"audioWavUrl": next(iter(reading.links("wav")), None)}),
    _simple_callback("audioWavUrl", "wav"),
    files=("wav",),
)
VOCAL = Family(
    _stages("PENDING", "SUCCESS", (30, 90)),
    "GENERATE_AUDIO_FAILED",
    _vocal_details,
    _vocal_callback,
    files=("audio", "audio"),
)
MIDI = Family(_stages(0, 1, (20, 60)), 3, _midi_details, _midi_callback)
MP4 = Family(
    _stages("PENDING", "SUCCESS", (40, 120)),
    "GENERATE_MP4_FAILED",
    lambda reading: _per_track(reading, {"videoUrl": next(iter(reading.links("video")), None)}),
    _simple_callback("video_url", "video"),
    files=("video",),
)
# No source shows the answers of the voice and recovery details: these shapes are guesses in the family's style.
VOICE = Family(
    _stages("PENDING", "SUCCESS", (10, 40)), "CREATE_TASK_FAILED", _voice_details, _status_callback, "status"
)
RECOVERY = Family(
    _stages("PENDING", "SUCCESS", (10, 40)), "CREATE_TASK_FAILED", _recovery_details, _status_callback, "status"
)
