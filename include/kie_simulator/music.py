"""Details and callbacks of music tasks (KIE pages *Get Music Task Details* and *Music Generation Callbacks*)."""

from __future__ import annotations

import json
from typing import Any

from kie_simulator.readings import CallbackBody, Family, Reading
from kie_simulator.tasks import Json, Track

_TEXT, _FIRST, _ALL = 1, 2, 3
_OPERATION_TYPES = {"extend": "extend", "upload_cover": "upload_cover", "upload_extend": "upload_extend"}


def _finished_tracks(reading: Reading) -> int:
    if reading.has_results:
        return len(reading.task.tracks)
    return 1 if reading.stage == _FIRST and not reading.ended else 0


def _track(reading: Reading, track: Track, *, finished: bool) -> Json:
    audio, image = reading.link(track.audio), reading.link(track.image)
    return {
        "id": track.audio_id,
        # Observed: while a track is being made its audioUrl is empty and its duration null, and it can be streamed.
        "audioUrl": audio if finished else "",
        "sourceAudioUrl": audio if finished else None,
        "streamAudioUrl": reading.link(track.stream),
        "sourceStreamAudioUrl": reading.link(track.stream) if finished else None,
        "imageUrl": image,
        "sourceImageUrl": image if finished else None,
        "prompt": track.prompt,
        "modelName": track.model,
        "title": track.title,
        "tags": track.tags,
        "createTime": reading.created_ms(),
        "duration": track.duration if finished else None,
    }


def details(reading: Reading) -> Json:
    """Return ``data`` of ``/generate/record-info``."""
    task = reading.task
    code, message = reading.error()
    finished = _finished_tracks(reading)
    response: Json | None = None
    if reading.has_results or (reading.stage >= _TEXT and not reading.ended):
        tracks = [_track(reading, t, finished=i < finished) for i, t in enumerate(task.tracks)]
        response = {"taskId": task.id, "sunoData": tracks}
    return {
        "taskId": task.id,
        "parentMusicId": str(task.request.get("audioId", "")),
        "param": json.dumps(dict(task.request), ensure_ascii=False),
        "response": response,
        "status": reading.state,
        "type": "chirp-crow",
        "operationType": _OPERATION_TYPES.get(task.kind, "generate"),
        "errorCode": code,
        "errorMessage": message,
        "createTime": reading.created_ms(),
    }


def _callback_track(reading: Reading, track: Track) -> Json:
    audio, stream, image = (reading.link(file) for file in (track.audio, track.stream, track.image))
    return {
        "id": track.audio_id,
        "audio_url": audio,
        "source_audio_url": audio,
        "stream_audio_url": stream,
        "source_stream_audio_url": stream,
        "image_url": image,
        "source_image_url": image,
        "prompt": track.prompt,
        "model_name": track.model,
        "title": track.title,
        "tags": track.tags,
        "createTime": reading.plain_time(reading.created_ms()),
        "duration": track.duration,
    }


def callback(reading: Reading) -> CallbackBody:
    """Return the callback of a music task: text, first, complete or error."""
    task = reading.task
    stage, code, message = "complete", 200, "All generated successfully."
    tracks: list[Json] | None = [_callback_track(reading, track) for track in task.tracks]
    if reading.ended and not reading.succeeded:
        stage, code = "error", task.ending.callback_code
        message, tracks = task.ending.message or "Audio generation failed", None
    elif not reading.ended and reading.stage == _TEXT:
        stage, message, tracks = "text", "Text generation completed.", []
    elif not reading.ended:
        stage, message, tracks = "first", "First track generated successfully.", (tracks or [])[:1]
    data: dict[str, Any] = {"callbackType": stage, "task_id": task.id, "data": tracks}
    return CallbackBody(stage, code, message, data)


MUSIC = Family(
    stages=(
        ("PENDING", (0, 0)),
        ("TEXT_SUCCESS", (22, 32)),
        ("FIRST_SUCCESS", (57, 74)),
        ("SUCCESS", (65, 240)),
    ),
    failed="GENERATE_AUDIO_FAILED",
    details=details,
    callback=callback,
    state_field="status",
    every_stage=True,
)
