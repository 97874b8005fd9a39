"""What KIE refuses: the checks before a task is made, what it is made from, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kie_simulator.accounts import Account
from kie_simulator.answers import OUT_OF_CREDITS, TOO_FREQUENT, Answer, refusal
from kie_simulator.catalogue import callable_model
from kie_simulator.operations import Operation
from kie_simulator.settings import Duplicate
from kie_simulator.simulation import Simulation
from kie_simulator.song_rules import refused_song
from kie_simulator.tasks import Form, Task, asked
from kie_simulator.unified.rules import refused_request

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
    task = source_of(sim, operation, account, body)
    if operation.source is None or (operation.market and sim.settings_of(account).missing_source == "failed_task"):
        return None
    if task is None:
        return None if made_from_a_file(operation, body) else refusal(*operation.source.missing)
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


def source_of(sim: Simulation, operation: Operation, account: Account, body: Mapping[str, Any]) -> Task | None:
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


def made_from_a_file(operation: Operation, body: Mapping[str, Any]) -> bool:
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
