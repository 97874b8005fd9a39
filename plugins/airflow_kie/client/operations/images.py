"""4o Image and Flux Kontext in their dedicated API variant (docs.kie.ai 4o-image-api, flux-kontext-api)."""

from __future__ import annotations

from airflow_kie.client.operations.operation import CallOperation, Medium, ResultRow, State, TaskOperation, Timing

_STATES: dict[str | int, State] = {0: State.RUNNING, 1: State.SUCCEEDED, 2: State.FAILED, 3: State.FAILED}
_UNKNOWN = frozenset({422})

GPT4O = TaskOperation(
    name="gpt4o.image",
    title="Generate 4o Image",
    page="old-model/4o-image-api/generate-4-o-image",
    create="/api/v1/gpt4o-image/generate",
    details="/api/v1/gpt4o-image/record-info",
    required=("size",),
    states=_STATES,
    results=(ResultRow("image", "to_array(response.resultUrls)[]", Medium.IMAGE),),
    unknown_codes=_UNKNOWN,
    timing=Timing(first_read=15, typical=60),
)
GPT4O_LINK = CallOperation(
    "gpt4o.download_url",
    "Get Direct Download URL",
    "old-model/4o-image-api/get-4-o-image-download-url",
    "/api/v1/gpt4o-image/download-url",
    required=("taskId", "url"),
)
KONTEXT = TaskOperation(
    name="flux.kontext",
    title="Generate or Edit Image",
    page="old-model/flux-kontext-api/generate-or-edit-image",
    create="/api/v1/flux/kontext/generate",
    details="/api/v1/flux/kontext/record-info",
    required=("prompt",),
    states=_STATES,
    results=(ResultRow("image", "response.resultImageUrl", Medium.IMAGE),),  # originImageUrl is the same for 10 minutes
    unknown_codes=_UNKNOWN,
    timing=Timing(first_read=10, typical=30),
)
