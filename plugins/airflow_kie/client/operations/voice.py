"""Suno: voices, in the dedicated API variant (docs.kie.ai old-model/suno-api)."""

from __future__ import annotations

from dataclasses import replace

from airflow_kie.client.operations.operation import CallOperation, Medium, Parent, ResultRow, TaskOperation, Timing
from airflow_kie.client.operations.suno import states

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
    states=states(),
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
VOICE_VALIDATE = TaskOperation(
    name="voice.validate",
    title="Generate Voice Validation Phrase",
    page="suno-api/voice-validate",
    create="/api/v1/voice/validate",
    details="/api/v1/voice/validate-info",
    required=("voiceUrl", "vocalStartS", "vocalEndS"),
    state_path="status",
    states=states(),
    results=(ResultRow("phrase", "validateInfo", Medium.TEXT, inline=True),),
    timing=Timing(first_read=5, typical=30),
)
CHECK_VOICE = CallOperation(
    "voice.check",
    "Suno Voice Check Availability",
    "suno-api/voice-check",
    "/api/v1/voice/check-voice",
    required=("task_id",),
    model="ai-music-api/check-voice",
)
