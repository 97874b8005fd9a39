"""Details and callbacks of the market and of KIE's dedicated image and video APIs (KIE pages *Get Task Details*)."""

from __future__ import annotations

from kie_simulator.readings import CallbackBody, Family, Reading
from kie_simulator.tasks import Json
from kie_simulator.unified.record import compact, market_family
from kie_simulator.unified.results import urls

_NO_RECORD = (422, "The record does not exist")


def _urls(reading: Reading) -> list[str]:
    return [reading.link(file) for file in reading.task.files]


def _record(reading: Reading, response: Json | None) -> Json:
    """Return what the dedicated APIs' details have in common; ``successFlag`` is a number."""
    code, message = reading.error()
    return {
        "taskId": reading.task.id,
        "paramJson": compact(dict(reading.task.request)),
        "completeTime": reading.completed_ms(),
        "response": response if reading.has_results else None,
        "successFlag": reading.state,
        "errorCode": code,
        "errorMessage": message,
        "createTime": reading.created_ms(),
    }


_GPT4O_WORDS = {0: "GENERATING", 1: "SUCCESS", 2: "CREATE_TASK_FAILED", 3: "GENERATE_FAILED"}


def _gpt4o_details(reading: Reading) -> Json:
    progress = {"status": _GPT4O_WORDS.get(int(reading.state), ""), "progress": "1.00" if reading.ended else "0.30"}
    return _record(reading, {"resultUrls": _urls(reading)}) | progress


def _gpt4o_callback(reading: Reading) -> CallbackBody:
    if reading.succeeded:
        data: Json = {"taskId": reading.task.id, "info": {"result_urls": _urls(reading)}}
        return CallbackBody("complete", 200, "success", data)
    return CallbackBody("error", 500, "Image generation failed", {"taskId": reading.task.id, "info": None})


def _flux_info(reading: Reading, *, empty: bool = False) -> Json:
    url = "" if empty else _urls(reading)[0]
    return {"originImageUrl": url, "resultImageUrl": url}


def _flux_details(reading: Reading) -> Json:
    times = {"completeTime": reading.time(reading.completed_ms()), "createTime": reading.time(reading.created_ms())}
    return _record(reading, _flux_info(reading)) | times


def _flux_callback(reading: Reading) -> CallbackBody:
    data: Json = {"taskId": reading.task.id, "info": _flux_info(reading, empty=not reading.succeeded)}
    if reading.succeeded:
        return CallbackBody("complete", 200, "BFL image generated successfully.", data)
    return CallbackBody("error", 501, "Image generation failed", data)


def _veo_details(reading: Reading) -> Json:
    resolution = "4k" if reading.task.kind == "veo_4k" else "1080p"
    response = {"taskId": reading.task.id, "resultUrls": _urls(reading), "originUrls": None, "resolution": resolution}
    return _record(reading, response) | {"fallbackFlag": False}


def _veo_callback(reading: Reading) -> CallbackBody:
    data: Json = {"taskId": reading.task.id, "fallbackFlag": False}
    if not reading.succeeded:
        return CallbackBody("error", 501, "Video generation failed", data)
    info = {"resultUrls": _urls(reading), "originUrls": [], "resolution": "1080p"}
    done = {"promptJson": compact(dict(reading.task.request)), "info": info}
    return CallbackBody("complete", 200, "Veo3.1 video generated successfully.", data | done)


def _veo_4k_callback(reading: Reading) -> CallbackBody:
    data: Json = {"taskId": reading.task.id}
    if not reading.succeeded:
        return CallbackBody("error", 500, "4K video generation failed", data)
    info = {"resultUrls": _urls(reading), "imageUrls": []}
    return CallbackBody("complete", 200, "4K Video generated successfully.", data | {"info": info})


def _runway_details(reading: Reading) -> Json:
    code, message = reading.error()
    video = {"videoId": reading.task.id, "taskId": reading.task.id, "videoUrl": _urls(reading)[0], "imageUrl": ""}
    return {
        "taskId": reading.task.id,
        "parentTaskId": reading.task.source_id,
        "generateParam": dict(reading.task.request),
        "state": reading.state,
        "generateTime": reading.plain_time(reading.completed_ms()),
        "videoInfo": video if reading.has_results else None,
        "failCode": code,
        "failMsg": message,
        "expireFlag": int(reading.now >= reading.task.files[0].expires),
    }


def _runway_callback(reading: Reading) -> CallbackBody:
    data: Json = {"task_id": reading.task.id, "video_id": "", "video_url": "", "image_url": ""}
    if not reading.succeeded:
        return CallbackBody("error", 500, "Video generation failed", data)
    done = {"video_id": reading.task.id, "video_url": _urls(reading)[0]}
    return CallbackBody("complete", 200, "All generated successfully.", data | done)


def _aleph_details(reading: Reading) -> Json:
    return _record(reading, {"taskId": reading.task.id, "resultVideoUrl": _urls(reading)[0], "resultImageUrl": ""})


def _aleph_callback(reading: Reading) -> CallbackBody:
    # The id is at the top level, and the data of an error is null.
    top: Json = {"taskId": reading.task.id}
    if not reading.succeeded:
        return CallbackBody("error", 400, "Video generation failed", None, top)
    data: Json = {"result_video_url": _urls(reading)[0], "result_image_url": ""}
    return CallbackBody("complete", 200, "success", data, top)


def _invented_details(reading: Reading) -> Json:
    code, message = reading.error()
    clip, *posters = _urls(reading)
    made = {"clip": clip, "posters": posters, "caption": reading.task.title, "scenes": [{"from": 0, "to": 8}]}
    return {
        "id": reading.task.id,
        "progress": {"phase": reading.state, "code": code, "text": message},
        "made": made if reading.has_results else None,
        "createTime": reading.created_ms(),
        "completeTime": reading.completed_ms(),
    }


def _invented_callback(reading: Reading) -> CallbackBody:
    return CallbackBody("complete", 200, "success", _invented_details(reading))


# KIE has no such operation: clients show with it that a new one takes them one row.
INVENTED = Family(
    (("sketching", (0, 0)), ("shown", (5, 10))),
    "torn",
    _invented_details,
    _invented_callback,
    files=("video", "image"),
)
JOBS = market_family((("", (0, 0)), ("", (2, 6)), ("", (12, 117))), urls, ("image",))
GPT4O = Family(((0, (0, 0)), (1, (30, 90))), 3, _gpt4o_details, _gpt4o_callback, files=("image",), unknown=_NO_RECORD)
FLUX = Family(((0, (0, 0)), (1, (15, 40))), 3, _flux_details, _flux_callback, files=("image",), unknown=_NO_RECORD)
VEO = Family(
    ((0, (0, 0)), (1, (60, 180))),
    3,
    _veo_details,
    _veo_callback,
    files=("video",),
    unknown=_NO_RECORD,
    id_style="veo",
)
VEO_4K = Family(((0, (0, 0)), (1, (300, 600))), 3, _veo_details, _veo_4k_callback, files=("video",), unknown=_NO_RECORD)
RUNWAY = Family(
    (("wait", (0, 0)), ("queueing", (1, 3)), ("generating", (4, 8)), ("success", (60, 180))),
    "fail",
    _runway_details,
    _runway_callback,
    state_field="state",
    error_fields=("failCode", "failMsg"),
    files=("video",),
    unknown=_NO_RECORD,
    id_style="uuid",
)
ALEPH = Family(((0, (0, 0)), (1, (60, 180))), 3, _aleph_details, _aleph_callback, files=("video",), id_style="uuid")
