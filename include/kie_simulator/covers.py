"""Details and callbacks of cover tasks (KIE pages *Get Music Cover Details* and *Music Cover Callbacks*)."""

from __future__ import annotations

from kie_simulator.readings import CallbackBody, Family, Reading
from kie_simulator.tasks import Json


def details(reading: Reading) -> Json:
    """Return ``data`` of ``/suno/cover/record-info``: lower-case ``callbackUrl``, error code 200 on success."""
    task = reading.task
    code, message = (200, "") if reading.succeeded else reading.error()
    return {
        "taskId": task.id,
        "parentTaskId": task.source_id,
        "callbackUrl": task.callback_url,
        "completeTime": reading.time(reading.completed_ms()),
        "response": {"images": reading.links("image")} if reading.has_results else None,
        "successFlag": reading.state,
        "createTime": reading.time(reading.created_ms()),
        "errorCode": code,
        "errorMessage": message,
    }


def callback(reading: Reading) -> CallbackBody:
    """Return the one callback of a cover task; its id is in ``data.taskId``, unlike a music task's."""
    task = reading.task
    if reading.succeeded:
        data: Json = {"taskId": task.id, "images": reading.links("image")}
        return CallbackBody("complete", 200, "success", data)
    data = {"taskId": task.id, "images": None}
    return CallbackBody("error", task.ending.callback_code, "Cover generation failed", data)


COVER = Family(
    # 0 pending, 2 generating, 1 success, 3 failed: the order in time is not that of the numbers.
    stages=((0, (0, 0)), (2, (2, 5)), (1, (30, 60))),
    failed=3,
    details=details,
    callback=callback,
    files=("image",),
)
