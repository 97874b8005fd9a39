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


def made(*names: str) -> str:
    """Return the path of the first of these that a finished task has: in ``resultJson``, else in ``response``.

    :param names: paths within what was made, the likeliest first.
    """
    places = ("from_json(resultJson)", "from_json(response)")
    return " || ".join(f"{place}.{name}" for place in places for name in names)


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
        ResultRow("result", f"to_array({made('resultUrls')})[]", Medium.ANY, required=False),
        ResultRow("first_frame", f"to_array({made('firstFrameUrl')})[]", Medium.IMAGE, required=False),
        ResultRow("last_frame", f"to_array({made('lastFrameUrl')})[]", Medium.IMAGE, required=False),
        ResultRow("object", f"[{made('resultObject')}]", Medium.JSON, inline=True, required=False),
    ),
    error_code_path="failCode",
    error_message_path="failMsg",
    unknown_codes=frozenset({422}),  # "recordInfo is null", also directly after the create
    timing=Timing(first_read=5),
)
MODELS = CallOperation("models", "List Models", "market/models", "/api/v1/models", method="GET", pace=1.1)
"""KIE's text for agents: one call a second for an account, more are refused and not queued."""
