"""An operation that KIE does not have: the simulator answers for it, and the package knows it by this one row."""

from __future__ import annotations

from airflow_kie.client.operations.operation import Medium, ResultRow, State, TaskOperation, Timing

INVENTED = TaskOperation(
    name="invented.draw",
    title="Draw A Story",
    page="nowhere",
    create="/api/v1/invented/draw",
    details="/api/v1/invented/drawn",
    required=("subject",),
    id_path="taskId || id",
    state_path="progress.phase",
    states={"sketching": State.RUNNING, "shown": State.SUCCEEDED, "torn": State.FAILED},
    error_code_path="progress.code",
    error_message_path="progress.text",
    results=(
        ResultRow("clip", "made.clip", Medium.VIDEO),
        ResultRow("poster", "made.posters", Medium.IMAGE),
        ResultRow("caption", "made.caption", Medium.TEXT, inline=True),
        ResultRow("scenes", "[made.scenes]", Medium.JSON, inline=True),
        ResultRow("sound", "made.sound", Medium.AUDIO, required=False),
    ),
    timing=Timing(first_read=1),
)
