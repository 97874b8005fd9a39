"""Market models: one endpoint for every model, which the request names (docs.kie.ai market)."""

from __future__ import annotations

from airflow_kie.client.operations.operation import (
    CallOperation,
    Form,
    Medium,
    ResultRow,
    State,
    TaskOperation,
    Timing,
)

JOBS = TaskOperation(
    name="market",
    title="Market: Create Task",
    page="market/quickstart",
    create="/api/v1/jobs/createTask",
    details="/api/v1/jobs/recordInfo",
    form=Form.UNIFIED,
    default=Form.UNIFIED,
    required=("model", "input"),
    state_path="state",
    states={
        **dict.fromkeys(("waiting", "queuing", "generating"), State.RUNNING),
        "success": State.SUCCEEDED,
        "fail": State.FAILED,
    },
    results=(
        ResultRow("result", "to_array(from_json(resultJson).resultUrls)[]", Medium.ANY, required=False),
        ResultRow("first_frame", "to_array(from_json(resultJson).firstFrameUrl)[]", Medium.IMAGE, required=False),
        ResultRow("last_frame", "to_array(from_json(resultJson).lastFrameUrl)[]", Medium.IMAGE, required=False),
        ResultRow("object", "[from_json(resultJson).resultObject]", Medium.JSON, inline=True, required=False),
    ),
    error_code_path="failCode",
    error_message_path="failMsg",
    unknown_codes=frozenset({422}),  # "recordInfo is null", also directly after the create
    timing=Timing(first_read=5),
)
MODELS = CallOperation("models", "List Models", "market/models", "/api/v1/models", method="GET", pace=1.1)
"""KIE's text for agents: one call a second for an account, more are refused and not queued."""
