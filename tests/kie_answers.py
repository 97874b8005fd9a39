"""KIE's answers for tests, shaped as docs.kie.ai and recordings show them: an envelope, usually under HTTP 200."""

from __future__ import annotations

import json
from typing import Any

from airflow_kie.client.answers.decode import Read, decode_details
from airflow_kie.client.answers.details import TaskDetails
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.operations.registry import task_kind

MUSIC_ID = "5c79be8e0a3b4f6d9e1c2a7b8d4f6e01"
COVER_ID = "21aee3c3c2a01fa5e030b3799fa4dd56"
OTHER_ID = "9f0c1d2e3b4a59687786a5b4c3d2e1f0"
CREDITS_TEXT = (
    "Credits insufficient : Your current balance isn\u2019t enough to run this request. Please top up to continue."
)


def answer(data: Any = None, code: Any = 200, msg: str = "success", http: int = 200, **headers: str) -> Response:
    """Return KIE's envelope as an HTTP answer; keywords are headers, with `_` for `-`."""
    body = json.dumps({"code": code, "msg": msg, "data": data}, ensure_ascii=False).encode()
    return raw(body, http, content_type="application/json;charset=UTF-8", **headers)


def raw(content: bytes, http: int = 200, **headers: str) -> Response:
    """Return an HTTP answer with any body."""
    return Response(http, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def cover_data(flag: Any, images: Any = None, **fields: Any) -> dict[str, Any]:
    """Return the `data` of cover details."""
    return {
        "taskId": COVER_ID,
        "parentTaskId": MUSIC_ID,
        "callbackUrl": "https://callback.example/x",
        "createTime": "2026-01-15T10:33:01.000Z",
        "completeTime": None,
        "response": None if images is None else {"images": images},
        "successFlag": flag,
        "errorCode": None,
        "errorMessage": None,
    } | fields


def music_data(status: Any, tracks: list[dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    """Return the `data` of music details."""
    return {
        "taskId": MUSIC_ID,
        "parentMusicId": "",
        "param": json.dumps({"prompt": "a calm piano", "title": "Rain", "model": "V5"}),
        "response": None if tracks is None else {"taskId": MUSIC_ID, "sunoData": tracks},
        "status": status,
        "type": "chirp-crow",
        "operationType": "generate",
        "errorCode": None,
        "errorMessage": None,
        "createTime": 1776862567160,
    } | fields


def track_data(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return one entry of `sunoData`, finished."""
    return {
        "id": f"8551c6f0-0000-4000-8000-{number:012d}",
        "audioUrl": f"https://musicfile.kie.ai/track-{number}.mp3",
        "streamAudioUrl": f"https://musicfile.kie.ai/stream-{number}",
        "imageUrl": f"https://musicfile.kie.ai/track-{number}.jpeg",
        "prompt": "[Verse]\nRain on the roof",
        "modelName": "chirp-crow",
        "title": "Rain",
        "tags": "calm, piano",
        "createTime": 1776862600000,
        "duration": 198.44,
    } | fields


def read(kind: str, data: Any) -> TaskDetails:
    """Return the details that are read from an answer's `data`."""
    named = data.get("taskId") or data.get("task_id") if isinstance(data, dict) else None
    got = decode_details(task_kind(kind), named if isinstance(named, str) and named else "asked-for", answer(data))
    assert isinstance(got, Read), got
    return got.details
