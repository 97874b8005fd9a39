"""Veo 3.1 in its dedicated API variant, whose pages alone name the tier that decides the price (old-model/veo3-api)."""

from __future__ import annotations

from dataclasses import replace

from airflow_kie.client import errors
from airflow_kie.client.operations.operation import Medium, Parent, ResultRow, State, TaskOperation, Timing

_VIDEO = Parent("taskId", "veo.generate")
# 2 is "failed" here, unlike a cover's.
_STATES: dict[str | int, State] = {0: State.RUNNING, 1: State.SUCCEEDED, 2: State.FAILED, 3: State.FAILED}

GENERATE = TaskOperation(
    name="veo.generate",
    title="Generate Veo3.1 Video",
    page="old-model/veo3-api/generate-veo-3-video",
    create="/api/v1/veo/generate",
    details="/api/v1/veo/record-info",
    required=("prompt",),
    states=_STATES,
    results=(
        ResultRow("video", "to_array(from_json(response.resultUrls))[]", Medium.VIDEO),
        ResultRow("full_video", "to_array(from_json(response.fullResultUrls))[]", Medium.VIDEO, required=False),
        ResultRow("original", "to_array(from_json(response.originUrls))[]", Medium.VIDEO, required=False),
    ),
    unknown_codes=frozenset({422}),
    timing=Timing(first_read=30, typical=150),
)
EXTEND = replace(
    GENERATE,
    name="veo.extend",
    title="Extend Veo3.1 Video",
    page="old-model/veo3-api/quickstart",
    create="/api/v1/veo/extend",
    parent=_VIDEO,
    once_per=("taskId",),
    by_request=True,
    required=("taskId", "prompt"),
)
HD = TaskOperation(
    name="veo.1080p",
    title="Get 1080P Video",
    page="old-model/veo3-api/get-veo-3-1080-p-video",
    create="",  # reading asks for it
    details="/api/v1/veo/get-1080p-video",
    parent=_VIDEO,
    once_per=("taskId",),
    required=("taskId",),
    state_path="resultUrl && 'ready'",
    states={"ready": State.SUCCEEDED},
    results=(ResultRow("video", "resultUrl", Medium.VIDEO),),
    # 400: "1080P is processing. It should be ready in 1-2 minutes."
    details_errors={400: errors.KieTaskNotShown},
    timing=Timing(first_read=5, typical=90),
)
UHD = replace(
    GENERATE,
    name="veo.4k",
    title="Get 4K Video",
    page="old-model/veo3-api/get-veo-3-4k-video",
    create="/api/v1/veo/get-4k-video",
    parent=_VIDEO,
    once_per=("taskId", "index"),
    required=("taskId",),
    # Posting again would be charged where it is not refused, so it is read where every video is. Should KIE name the
    # video's own id, its details show the smaller video until the large one is ready.
    state_path="successFlag == `1` && response.resolution && lower(response.resolution) != '4k' && `0` || successFlag",
    duplicate_codes=frozenset({422}),  # with the task in its data; otherwise a refusal
    timing=Timing(first_read=120, typical=450),
)
