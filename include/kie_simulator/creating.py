"""Making tasks: what a task will make, how it ends and how long it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from kie_simulator.accounts import Account
from kie_simulator.audio import SECONDS
from kie_simulator.catalogue import callable_model
from kie_simulator.faults import Moment
from kie_simulator.operations import Operation
from kie_simulator.refusing import made_from_a_file, source_id, source_of
from kie_simulator.simulation import Simulation
from kie_simulator.songs import invent_lyrics, invent_tags, title_from_prompt
from kie_simulator.tasks import Ending, StoredFile, Task, Track, given
from kie_simulator.unified.songs import asked_seconds

_TRY_AGAIN = "The service is busy. Please try again later."
_STEMS = {"split_stem": 12}
_UPSCALES = "topaz/image-upscale"


def make_task(
    sim: Simulation,
    operation: Operation,
    account: Account,
    body: Mapping[str, Any],
    base_url: str,
    *,
    created: float | None = None,
    tracks: int | None = None,
) -> Task:
    """Make a task without charging it.

    :param created: simulated unix time in seconds; now if None.
    :param tracks: number of tracks of a music task; the setting if None.
    """
    task_id = sim.new_id(operation.family.id_style)
    task = Task(
        id=task_id,
        kind=operation.kind,
        account=account.name,
        created=sim.clock.now() if created is None else created,
        offsets=sim.offsets(operation, task_id),
        request=body,
        base_url=base_url,
        source_id=source_id(operation, body),
        callback_url=str(body.get(operation.callback_field) or ""),
        model=str(body.get("model")) if operation.market else "",
    )
    task.title = _title(sim, task)
    if operation.songs:
        count = sim.settings.tracks if tracks is None else tracks
        task.tracks = tuple(_track(sim, task, number) for number in range(count))
    task.files = tuple(_files(sim, operation, task))
    task.ending = _later_failure(sim, operation, task) or task.ending
    sim.keep(task)
    strike_task(sim, operation, task)
    return task


def _title(sim: Simulation, task: Task) -> str:
    fields = given(task)
    if fields.get("title"):
        return str(fields["title"])
    source = sim.tasks.get(task.source_id.partition("/")[0])
    if source is not None:
        return source.title
    return title_from_prompt(str(fields.get("prompt") or fields.get("content") or ""), task.id)


def _file(sim: Simulation, task: Task, role: str, name: str, **more: Any) -> StoredFile:
    return sim.files.make(
        role,
        seed=f"{task.id}/{name}",
        title=task.title,
        task_id=task.id,
        created=task.created,
        expires=sim.expiry(task.created),
        **more,
    )


def _upscaled(sim: Simulation, task: Task) -> list[StoredFile]:
    """Return the larger picture of one that was uploaded here before; nothing where it was not."""
    asked = given(task)
    sent = sim.files.find(urlsplit(str(asked.get("image_url") or "")).path.removeprefix("/files/"))
    if sent is None or sent.content is None:
        return []
    factor = int(asked.get("upscale_factor") or 1)
    return [_file(sim, task, "upscaled", "upscaled-1", made_from=sent.content, factor=factor)]


def _files(sim: Simulation, operation: Operation, task: Task) -> list[StoredFile]:
    roles: tuple[str, ...] = operation.family.files
    if operation.kind == "cover":
        roles = ("image",) * sim.settings.cover_images
    if operation.kind == "vocal_removal" and operation.market:
        roles = ("audio",) * _STEMS.get(str(given(task).get("type")), 2)
    if operation.market and not operation.model:
        if task.model == _UPSCALES and (larger := _upscaled(sim, task)):
            return larger
        model = callable_model(task.model)
        roles = model.files if model else ()
    seconds = _video_seconds(sim, task) if "video" in roles else 8.0
    return [_file(sim, task, role, f"{role}-{number}", seconds=seconds) for number, role in enumerate(roles, start=1)]


def _video_seconds(sim: Simulation, task: Task) -> float:
    """Return how long a task's video is: as asked for, or the simulator's own 8 s."""
    asked = re.match(r"\d+", str(given(task).get("duration")))
    return float(asked[0]) * (1.0 if sim.settings.durations_honoured else 0.5) if asked and int(asked[0]) else 8.0


def _reachable(url: str) -> bool:
    """Return whether a file may be at a URL: none is at a host that does not exist, nor where there is no URL."""
    try:
        return not (urlsplit(url).hostname or "").endswith(".invalid")
    except ValueError:
        return False


def _later_failure(sim: Simulation, operation: Operation, task: Task) -> Ending | None:
    """Return how a task fails that KIE accepted although what it is made from cannot be had (observed)."""
    body = given(task)
    account = sim.accounts.named(task.account)
    if operation.market and operation.source and not made_from_a_file(operation, task.request):
        code, message = operation.source.missing
        if source_of(sim, operation, account, task.request) is None:
            return Ending(False, None, code, message, has_results=False, refused=True)
    upload = str(body.get("uploadUrl") or body.get("upload_url") or "")
    if upload and not _reachable(upload):
        message = "The uploaded audio could not be fetched."
        return Ending(False, "CREATE_TASK_FAILED", 451, message, callback_code=451, has_results=False)
    audio_id = body.get("audio_id") if operation.market else body.get("audioId")
    if (
        operation.kind == "extend"
        and audio_id
        and not any(audio_id == track.audio_id for task in sim.tasks.values() for track in task.tracks)
    ):
        return Ending(False, "CREATE_TASK_FAILED", 500, "The audio does not exist.", has_results=False)
    return None


def _track(sim: Simulation, task: Task, number: int) -> Track:
    body = given(task)
    custom = body.get("customMode") or body.get("custom_mode")
    lyrics = str(body.get("lyrics") or (body.get("prompt") if custom else "") or invent_lyrics(task.id))
    return Track(
        audio_id=sim.new_id("uuid"),
        title=task.title,
        tags=str(body.get("style") or body.get("tags") or invent_tags(task.id)),
        prompt="[Instrumental]" if body.get("instrumental") else lyrics,
        model=str(body.get("model") or "V5"),
        duration=asked_seconds(sim.settings, task, number) or round(SECONDS + 0.01 * number, 2),
        audio=_file(sim, task, "audio", f"track-{number}"),
        stream=_file(sim, task, "stream", f"track-{number}"),
        image=_file(sim, task, "image", f"track-image-{number}"),
    )


def strike_task(sim: Simulation, operation: Operation, task: Task) -> None:
    """Apply the faults that decide how a task ends."""
    moment = Moment(
        "task",
        kind=task.kind,
        path=operation.path,
        task_id=task.id,
        source_id=task.source_id,
        title=task.title,
        account=task.account,
        form=task.form,
        model=task.model,
    )
    for fault in sim.faults.strike(moment):
        if fault.action == "takes":
            task.finish_within(fault.seconds)
        elif fault.action == "fail":
            task.ending = Ending(
                succeeded=False,
                state=fault.state,
                code=fault.error_code if fault.error_code is not None else 500,
                message=fault.error_message or "internal error, please try again later.",
                callback_code=fault.callback_code,
                has_results=False,
            )
        elif fault.action == "try_again":
            task.ending = Ending(False, None, 400, _TRY_AGAIN, has_results=False)
        else:
            task.ending = Ending(
                # The unified form has no such state: only the callback is lost.
                succeeded=task.form == "unified" and fault.finished,
                state="CALLBACK_EXCEPTION",
                message=fault.error_message,
                has_results=fault.finished,
            )
