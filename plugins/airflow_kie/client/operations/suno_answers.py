"""Suno's operations that answer at once, without a task (docs.kie.ai suno-api). Each call is paid for."""

from __future__ import annotations

from airflow_kie.client.operations.operation import CallOperation

PERSONA = CallOperation(
    "suno.persona",
    "Generate Persona",
    "suno-api/generate-persona",
    "/api/v1/generate/generate-persona",
    required=("taskId", "audioId", "name", "description"),
    model="ai-music-api/generate-persona",
)
"""Free; KIE makes one for a track and refuses a second (409)."""
TIMESTAMPED_LYRICS = CallOperation(
    "suno.timestamped_lyrics",
    "Get Timestamped Lyrics",
    "suno-api/get-timestamped-lyrics",
    "/api/v1/generate/get-timestamped-lyrics",
    required=("taskId", "audioId"),
    model="ai-music-api/timeStamped-lyrics",
)
CHECK_VOICE = CallOperation(
    "voice.check",
    "Suno Voice Check Availability",
    "suno-api/voice-check",
    "/api/v1/voice/check-voice",
    required=("task_id",),
    model="ai-music-api/check-voice",
)
