"""Runway and Aleph in their dedicated API variant (docs.kie.ai old-model/runway-api)."""

from __future__ import annotations

from dataclasses import replace

from airflow_kie.client.operations.operation import Medium, Parent, ResultRow, State, TaskOperation, Timing

GENERATE = TaskOperation(
    name="runway.generate",
    title="Generate AI Video",
    page="old-model/runway-api/generate-ai-video",
    create="/api/v1/runway/generate",
    details="/api/v1/runway/record-detail",
    required=("prompt", "duration", "quality"),
    state_path="state",
    states={
        **dict.fromkeys(("wait", "queueing", "generating"), State.RUNNING),
        "success": State.SUCCEEDED,
        "fail": State.FAILED,
    },
    results=(
        ResultRow("video", "videoInfo.videoUrl", Medium.VIDEO),
        ResultRow("preview", "videoInfo.imageUrl", Medium.IMAGE, required=False),
    ),
    error_code_path="failCode",
    error_message_path="failMsg",
    unknown_codes=frozenset({422}),
    timing=Timing(first_read=30, typical=150),
)
EXTEND = replace(
    GENERATE,
    name="runway.extend",
    title="Extend AI Video",
    page="old-model/runway-api/extend-ai-video",
    create="/api/v1/runway/extend",
    parent=Parent("taskId", "runway.generate"),
    once_per=("taskId",),
    by_request=True,
    required=("taskId", "prompt", "quality"),
    parent_path="parentTaskId",
)
ALEPH = TaskOperation(
    name="runway.aleph",
    title="Generate Aleph Video",
    page="old-model/runway-api/generate-aleph-video",
    create="/api/v1/aleph/generate",
    details="/api/v1/aleph/record-info",
    required=("prompt", "videoUrl"),
    # The page calls 0 "failed or in progress"; recorded: 0 while it runs, 3 when it has failed.
    states={0: State.RUNNING, 1: State.SUCCEEDED, 2: State.FAILED, 3: State.FAILED},
    results=(
        ResultRow("video", "response.resultVideoUrl", Medium.VIDEO),
        ResultRow("preview", "response.resultImageUrl", Medium.IMAGE, required=False),
    ),
    timing=Timing(first_read=30, typical=150),
)
