"""``recordInfo`` and the callback of the unified form (KIE's pages, and the recorded body of a sounds task)."""

from __future__ import annotations

import json
from collections.abc import Callable

from kie_simulator.readings import CallbackBody, Family, Reading, Stages
from kie_simulator.tasks import Json, given
from kie_simulator.unified.results import suno_model

Result = Callable[[Reading], Json]

_FLAGS = {"success": 1, "fail": 3}
_PENDING, _SUCCESS = "PENDING", "SUCCESS"


def compact(value: object) -> str:
    """Return JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _param(reading: Reading) -> str:
    # Encoded twice: the input is a JSON string inside a JSON string.
    request = reading.task.request
    return compact({"input": compact(given(reading.task)), "model": request.get("model")})


def _status(reading: Reading, dedicated: Family | None) -> str:
    """Return the word of the old record: seen for a success, presumed for the others."""
    running: list[str] = [word for word in dedicated.words() if isinstance(word, str)] if dedicated else []
    failed = dedicated.failed if dedicated and running else "CREATE_TASK_FAILED"
    if reading.ended and reading.task.ending.state is not None:
        return str(reading.task.ending.state)
    if reading.ended:
        return _SUCCESS if reading.succeeded else str(failed)
    return running[min(reading.stage, len(running) - 2)] if running else _PENDING


def record(reading: Reading, result: Result) -> Json:
    """Return ``data`` of ``recordInfo`` that every task has.

    :param result: what a finished task has made.
    """
    code, message = reading.error()
    completed = reading.completed_ms()
    made = result(reading) if reading.has_results else None
    return {
        "taskId": reading.task.id,
        "model": reading.task.request.get("model"),
        "state": reading.state,
        "successFlag": _FLAGS.get(str(reading.state), 0),
        "param": _param(reading),
        "paramJson": _param(reading),
        "resultJson": compact(made) if made is not None else "",
        "response": made,
        "failCode": str(code) if code is not None else None,
        "failMsg": message,
        "creditsConsumed": reading.task.credits if reading.succeeded else 0,
        # Documented in milliseconds, observed in seconds.
        "costTime": round((completed - reading.created_ms()) / 1000) if completed else None,
        "completeTime": completed,
        "createTime": reading.created_ms(),
    }


def callback(reading: Reading, result: Result) -> CallbackBody:
    """Return the callback of the market (KIE page *Wan 3.0 Video Prime*, which shows the whole body)."""
    data = record(reading, result)
    names = ["taskId", "model", "state", "param", "costTime", "createTime", "completeTime", "creditsConsumed"]
    names += ["resultJson"] if reading.succeeded else ["failCode", "failMsg"]
    # It may repeat the time of creation.
    told = {name: data[name] for name in names} | {"updateTime": data["createTime"]}
    if reading.succeeded:
        return CallbackBody("complete", 200, "Playground task completed successfully.", told)
    return CallbackBody("error", 501, "Playground task failed.", told)


def stages(seconds: Stages) -> Stages:
    """Return the market's state words for the times of another form's states."""
    last = len(seconds) - 1
    words = ["waiting", *["generating"] * (last - 1), "success"]
    return tuple((word, times) for word, (_, times) in zip(words, seconds, strict=True))


def market_family(seconds: Stages, result: Result, files: tuple[str, ...]) -> Family:
    """Return the family of a market model's tasks.

    :param seconds: the states of a task, of which only the times are taken.
    """
    return Family(
        stages(seconds),
        "fail",
        lambda reading: record(reading, result),
        lambda reading: callback(reading, result),
        state_field="state",
        error_fields=("failCode", "failMsg"),
        files=files,
        unknown=(422, "recordInfo is null"),
    )


def suno_family(seconds: Stages, result: Result, files: tuple[str, ...], dedicated: Family | None) -> Family:
    """Return the family of a Suno operation's tasks, whose record has the members of the old one too.

    :param dedicated: the family of the same operation in the dedicated form, if it has one.
    """

    def details(reading: Reading) -> Json:
        asked = given(reading.task)
        return record(reading, result) | {
            "status": _status(reading, dedicated),
            "operationType": reading.task.request.get("model"),
            "type": suno_model(reading),
            "parentMusicId": str(asked.get("audio_id") or ""),
        }

    market = market_family(seconds, result, files)
    return Family(
        market.stages,
        market.failed,
        details,
        market.callback,
        market.state_field,
        market.error_fields,
        files,
        unknown=market.unknown,
    )
