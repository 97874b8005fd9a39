"""Making tasks: the checks that KIE does before, the charge, and what a task will make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from kie_simulator.accounts import Account
from kie_simulator.answers import OUT_OF_CREDITS, TOO_FREQUENT, Answer, refusal
from kie_simulator.audio import SECONDS
from kie_simulator.catalogue import callable_model
from kie_simulator.faults import Moment
from kie_simulator.operations import Operation
from kie_simulator.settings import Duplicate
from kie_simulator.simulation import Simulation
from kie_simulator.song_rules import refused_song
from kie_simulator.songs import invent_lyrics, invent_tags, title_from_prompt
from kie_simulator.tasks import Ending, Form, StoredFile, Task, Track, asked, given
from kie_simulator.unified.rules import refused_request
from kie_simulator.unified.songs import asked_seconds

_TRY_AGAIN = "The service is busy. Please try again later."
_STEMS = {"split_stem": 12}
_LIKE_MUSIC = ("music", "upload_cover")


def refused(sim: Simulation, operation: Operation, account: Account, body: Mapping[str, Any]) -> Answer | None:
    """Return why KIE refuses a create, or None if it accepts it."""
    for check in (_missing_field, _missing_callback, _wrong_content, _missing_source, _duplicate, _no_credits):
        answer = check(sim, operation, account, body)
        if answer is not None:
            return answer
    return None


def too_frequent(sim: Simulation, account: Account) -> Answer | None:
    """Count a create and return KIE's refusal if the account makes too many."""
    if account.may_create(sim.settings.rate_limit, sim.settings.rate_window):
        return None
    sim.counts.rate_limited += 1
    return refusal(429, TOO_FREQUENT)


def _missing_field(sim: Simulation, operation: Operation, account: Account, body: Mapping[str, Any]) -> Answer | None:
    for name in operation.required:
        if body.get(name) in (None, "", []):
            return refusal(422, f"{name} cannot be blank")
    return None


def _missing_callback(
    sim: Simulation, operation: Operation, account: Account, body: Mapping[str, Any]
) -> Answer | None:
    if operation.callback_refusal and not body.get(operation.callback_field):
        return refusal(422, operation.callback_refusal)
    return None


def _wrong_content(sim: Simulation, operation: Operation, account: Account, body: Mapping[str, Any]) -> Answer | None:
    if operation.market:
        return refused_request(sim.settings, body)
    if operation.kind in _LIKE_MUSIC:
        return refused_song(body, sim.settings.dedicated_refused_versions)
    return None


def _missing_source(sim: Simulation, operation: Operation, account: Account, body: Mapping[str, Any]) -> Answer | None:
    task = _source(sim, operation, account, body)
    if operation.source is None or (operation.market and sim.settings.missing_source == "failed_task"):
        return None
    if task is None:
        return None if _made_from_a_file(operation, body) else refusal(*operation.source.missing)
    wants_finished = operation.kind == "cover" and sim.settings.unfinished_music == "refuse"
    if wants_finished and not sim.reading(task, "").has_results:
        return refusal(422, "The music task is not finished")
    return None


def form_of(operation: Operation) -> Form:
    """Return the form of an operation's requests."""
    return "unified" if operation.market else "dedicated"


def price(operation: Operation, body: Mapping[str, Any]) -> float:
    """Return what a task costs in credits: at ``createTask`` the model and its input decide."""
    model = callable_model(body.get("model")) if operation.market else None
    return model.price(asked(body)) if model else operation.tiers.get(str(body.get("type")), operation.credits)


def _source(sim: Simulation, operation: Operation, account: Account, body: Mapping[str, Any]) -> Task | None:
    """Return the task that a request is about, or None if there is none."""
    source, fields = operation.source, asked(body)
    if source is None:
        return None
    task = sim.source_task(account, str(fields.get(source.field)), source.kinds, form_of(operation))
    if task is not None and source.audio_field and _wants_audio(operation, fields):
        audio_ids = [track.audio_id for track in task.tracks]
        return task if fields.get(source.audio_field) in audio_ids else None
    return task


def _wants_audio(operation: Operation, fields: Mapping[str, Any]) -> bool:
    return bool(operation.source and (not operation.market or fields.get(operation.source.audio_field)))


def _made_from_a_file(operation: Operation, body: Mapping[str, Any]) -> bool:
    """Return whether a request of the unified form names a file instead of a task."""
    return operation.source is not None and operation.market and not asked(body).get(operation.source.field)


def source_id(operation: Operation, body: Mapping[str, Any]) -> str:
    """Return what a task is made from: a task id, with the audio id where one is asked for."""
    if operation.source is None:
        return ""
    fields = asked(body)
    parts = [fields.get(operation.source.field), fields.get(operation.source.audio_field or "")]
    return "/".join(str(part) for part in parts if part)


def _duplicate(sim: Simulation, operation: Operation, account: Account, body: Mapping[str, Any]) -> Answer | None:
    setting = sim.settings.unified_duplicate if operation.market else sim.settings.duplicate
    if operation.once is None or setting in ("none", "new_task"):
        return None
    for task in reversed(sim.made_from(account, operation.kind, source_id(operation, body))):
        if task.form != form_of(operation):
            continue
        reading = sim.reading(task, "")
        if reading.ended and not reading.succeeded and not sim.settings.failed_cover_blocks:
            continue
        return _already_made(sim, operation, task)
    return None


def _already_made(sim: Simulation, operation: Operation, task: Task) -> Answer:
    code, message = operation.once or (409, "")
    if operation.market:
        return Answer(code, message, {"taskId": task.id, "recordId": task.id})
    if operation.kind != "cover":
        return refusal(code, message)
    habit = sim.settings.duplicate if isinstance(sim.settings.duplicate, Duplicate) else Duplicate()
    data: dict[str, Any] = {"object": {"taskId": task.id}, "string": task.id, "null": None}
    return Answer(habit.code, message, data[habit.data], http=habit.http)


def _no_credits(sim: Simulation, operation: Operation, account: Account, body: Mapping[str, Any]) -> Answer | None:
    if account.credits < price(operation, body):
        sim.settle()
    free = operation.market and price(operation, body) == 0
    if account.credits < price(operation, body) or (account.credits <= 0 and not free):
        return refusal(sim.settings.out_of_credits_code, OUT_OF_CREDITS)
    return None


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


def _file(sim: Simulation, task: Task, role: str, name: str) -> StoredFile:
    return sim.files.make(
        role,
        seed=f"{task.id}/{name}",
        title=task.title,
        task_id=task.id,
        created=task.created,
        expires=sim.expiry(task.created),
    )


def _files(sim: Simulation, operation: Operation, task: Task) -> list[StoredFile]:
    roles: tuple[str, ...] = operation.family.files
    if operation.kind == "cover":
        roles = ("image",) * sim.settings.cover_images
    if operation.kind == "vocal_removal" and operation.market:
        roles = ("audio",) * _STEMS.get(str(given(task).get("type")), 2)
    if operation.market and not operation.model:
        model = callable_model(task.model)
        roles = model.files if model else ()
    return [_file(sim, task, role, f"{role}-{number}") for number, role in enumerate(roles, start=1)]


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
    if operation.market and operation.source and not _made_from_a_file(operation, task.request):
        code, message = operation.source.missing
        if _source(sim, operation, account, task.request) is None:
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
