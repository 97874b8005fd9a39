"""KIE in memory: what it makes, charges and says, in both forms, and in which words it misleads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.operations.market import JOBS
from airflow_kie.client.operations.registry import task_kind
from airflow_kie.client.requests import Request
from kie_answers import answer, raw

CREDITS = 12.0
"""Of a song; a cover is free."""
_REFUSALS: dict[str, tuple[int, str]] = {
    "too fast": (429, "too many requests"),
    "no credits": (402, "no credits"),
    "no access": (401, "unauthorized"),
    "error": (500, "an error of the server"),
    "no such record": (422, "The music record does not exist"),
    "refused 404": (404, "not found"),
    "refused 422": (422, "not valid"),
}


@dataclass
class Task:
    """A task that KIE has made, and charged unless it is free.

    :param asked: what it was asked for: the song, or the prompt.
    :param attempt: which attempt at which request its callback URL names.
    :param ends: how: ``done``, ``failed``, ``undelivered``.
    :param shown_at: seconds from which on KIE shows it.
    :param ends_at: seconds at which it ends.
    :param said_failed: when KIE has said of it that it has failed.
    :param said_empty: when KIE has said of it that it has ended without files.
    """

    task_id: str
    operation: str
    form: str
    asked: str
    attempt: str
    ends: str
    made_at: float
    shown_at: float
    ends_at: float
    said_failed: list[float] = field(default_factory=list)
    said_empty: list[float] = field(default_factory=list)


@dataclass
class Kie:
    """The service.

    :param now: returns epoch seconds.
    :param random: what is not drawn elsewhere.
    :param endings: how tasks end, in the order of their making, over and over.
    :param once: it makes a cover once for a song.
    :param made: called with each new task.
    :param tasks: what it has made.
    :param seconds: how long its tasks take.
    """

    now: Callable[[], float]
    random: Random
    endings: tuple[str, ...]
    once: bool
    made: Callable[[Task], None]
    tasks: list[Task] = field(default_factory=list)
    seconds: tuple[int, ...] = (3, 30, 90)

    def __call__(self, request: Request, how: str) -> Response:
        """Answer a request.

        :param how: what goes wrong, if it is something that KIE does.
        """
        if how in _REFUSALS:
            return answer(None, *_REFUSALS[how])
        if how == "no JSON":
            return raw(b"<html>")
        if how == "bad gateway":
            return answer(None, 502, "bad gateway", http=502)
        return self._create(request, how) if request.method == "POST" else self._details(request, how)

    def _create(self, request: Request, how: str) -> Response:
        body = dict(request.json or {})
        unified = request.path == JOBS.create
        given = body["input"] if unified else body
        operation = "suno.cover" if "cover" in str(body.get("model", request.path)) else "suno.music"
        asked = str(given.get("task_id" if unified else "taskId") or given["prompt"])
        there = [task for task in self.tasks if task.asked == asked and task.operation == operation]
        if operation == "suno.cover" and self.once and not unified and there:
            return answer({"taskId": there[-1].task_id}, 400, "exists")
        now, ending = self.now(), self.endings[len(self.tasks) % len(self.endings)]
        shown_at = now + (self.random.choice((0, 40)) if ending != "hidden" else 150)
        ends_at = now + self.random.choice(self.seconds) if ending != "never" else float("inf")
        task = Task(
            f"task-{len(self.tasks)}",
            operation,
            "unified" if unified else "dedicated",
            asked,
            str(body["callBackUrl"]).rpartition("token=")[2],
            ending if ending in ("failed", "undelivered") else "done",
            now,
            shown_at,
            ends_at,
        )
        self.tasks.append(task)
        self.made(task)
        if how == "bad gateway, made":
            return answer(None, 502, "bad gateway", http=502)
        if how == "error, made" and operation == "suno.music":  # what is free may be asked for again
            return answer(None, *_REFUSALS["error"])
        return answer({} if how == "no id" else {"taskId": task.task_id})

    def _details(self, request: Request, how: str) -> Response:
        unified = request.path == JOBS.details
        task = next((task for task in self.tasks if task.task_id == request.params["taskId"]), None)
        shown = task is not None and self.now() >= task.shown_at and unified == (task.form == "unified")
        if task is None or not shown or how == "not shown":
            return answer(None, 422, "recordInfo is null") if unified else answer(None)
        ended = self.now() >= task.ends_at
        state = task.ends if ended else "running"
        if how in ("unknown word", "no files", "undelivered"):
            state = how
        code = 500 if how == "a code beside it" and state == "running" else None
        if state == "failed" or (code and task_kind(task.operation, task.form).running_errors):
            task.said_failed.append(self.now())
        if state == "no files":
            task.said_empty.append(self.now())
        asked = "another-song" if how == "another song" else task.asked
        named = "another-task" if how == "another task" else task.task_id
        files = ["https://h.example/1"] if ended and task.ends != "failed" and state not in ("no files",) else []
        shape = _unified if unified else _cover if task.operation == "suno.cover" else _music
        return answer({"taskId": named, "createTime": task.made_at * 1000, **shape(task, state, code, asked, files)})


def _unified(task: Task, state: str, code: int | None, asked: str, files: list[str]) -> dict[str, Any]:
    """Return a task as the unified form shows it; it has no state for a callback that was not delivered."""
    cover = task.operation == "suno.cover"
    words = {"running": "generating", "failed": "fail", "unknown word": "unheard-of", "no files": "success"}
    made = {"images": files} if cover else {"data": [{"id": "a", "audio_url": url} for url in files]}
    running = state == "undelivered" and not files
    return {
        "model": f"ai-music-api/{'cover-generate' if cover else 'generate'}",
        "state": "generating" if running else words.get(state, "success"),
        "failCode": str(code or (500 if state == "failed" else "")),
        "param": json.dumps({"input": json.dumps({"task_id": asked} if cover else {"prompt": asked})}),
        "resultJson": json.dumps(made) if files else "",
        "creditsConsumed": 0.0 if cover or state == "failed" else CREDITS,
    }


def _cover(task: Task, state: str, code: int | None, asked: str, files: list[str]) -> dict[str, Any]:
    flag = {"running": 0, "done": 1, "no files": 1, "failed": 3, "undelivered": "CALLBACK_EXCEPTION"}.get(state, 9)
    return {"successFlag": flag, "errorCode": code, "parentTaskId": asked, "response": {"images": files}}


def _music(task: Task, state: str, code: int | None, asked: str, files: list[str]) -> dict[str, Any]:
    words = {
        "running": "PENDING",
        "done": "SUCCESS",
        "no files": "SUCCESS",
        "failed": "GENERATE_AUDIO_FAILED",
        "undelivered": "CALLBACK_EXCEPTION",
    }
    tracks = {"sunoData": [{"audioUrl": url} for url in files]}
    return {"status": words.get(state, "UNHEARD_OF"), "errorCode": code, "response": tracks}
