"""A KIE for property tests: it lies in every known way, and says what it was paid for."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from airflow_kie.client.account import KieAccount
from airflow_kie.client.answers.decode import Read, decode_details
from airflow_kie.client.answers.envelope import Response
from airflow_kie.client.errors import KieError, KieFailedForGood, KieNotSent, KieUnreachable
from airflow_kie.client.operations.suno import COVER
from airflow_kie.client.requests import Request
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Done, Fail, next_action
from airflow_kie.settings import rules
from airflow_kie.triggers.event import Outcome, event_of
from airflow_task import WorkerCrash
from kie_answers import answer, cover_data, raw

CREATES = st.sampled_from(
    [*["honest"] * 8, "not sent", "failed one again", "reset before", "reset after", "page before", "page after",
     "no JSON after", "429", "500", "out of credits", "refused", "no id after", "crash before", "crash after",
     "duplicate without id"]
)  # fmt: skip
READS = st.sampled_from(
    [*["honest"] * 8, "null", "reset", "page", "429", "455", "unknown state", "no files",
     "pending with an error", "another song", "callback exception", "refused 404", "refused 422", "refused 401"]
)  # fmt: skip
PAGE = b"<html><body>502 Bad gateway</body></html>"
SPOILT_READS: dict[str, Callable[[], Response]] = {
    "page": lambda: raw(PAGE, 502, content_type="text/html"),
    "429": lambda: answer(code=429, msg="Too frequent"),
    "455": lambda: answer(code=455, msg="Maintenance"),
    "null": lambda: answer(None),
    "refused 404": lambda: answer(code=404, msg="Not found"),
    "refused 422": lambda: answer(code=422, msg="Not like this"),
    "refused 401": lambda: answer(code=401, msg="No access"),
}
SPOILT_CREATES: dict[str, Callable[[], Response]] = {
    "page": lambda: raw(PAGE, 502, content_type="text/html"),
    "no JSON": lambda: raw(b'{"code":200,"msg":"succ'),
    "no id": lambda: answer({}),
    "429": lambda: answer(code=429, msg="Too frequent"),
    "500": lambda: answer(code=500, msg="Server exception"),
    "out of credits": lambda: answer(code=402, msg="Credits insufficient"),
    "refused": lambda: answer(code=422, msg="Not like this"),
}


@dataclass
class Cover:
    """A cover task that the fake KIE made, and charged."""

    task_id: str
    song: str
    flag: int = 0


@dataclass
class FakeKie:
    """A KIE that answers as it is told to.

    :param once: it makes one cover per song and answers a second create with the first one's id.
    """

    once: bool = True
    account: KieAccount = field(default_factory=lambda: KieAccount("key"))
    closed: bool = False
    covers: dict[str, Cover] = field(default_factory=dict)
    create: str = "honest"
    read: str = "honest"
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    record: Callable[[], dict[str, Any]] = dict
    named: str | None = None
    owed: list[type[KieError]] = field(default_factory=list)
    asked_too_early: list[str] = field(default_factory=list)

    def begin(self, create: str, read: str, record: Callable[[], dict[str, Any]]) -> None:
        """Begin an attempt.

        :param create: how its first create is answered.
        :param read: how its first read is answered.
        :param record: returns what the attempt's store holds of the task.
        """
        self.create, self.read, self.record = create, read, record
        self.named = None
        self.owed.clear()

    def send(self, request: Request) -> Response:
        """Answer a request of the operator, and note where it ought to have stored an id before."""
        if self.named and self.named != self.record().get("task_id"):
            self.asked_too_early.append(self.named)
        if request.json is not None:
            how, self.create = self.create, "honest"
            return self._create(str(request.json["taskId"]), *how.rpartition(" ")[::2])
        how, self.read = self.read, "honest"
        return self._details(request.params["taskId"], how)

    def _create(self, song: str, what: str, when: str) -> Response:
        how = what if when in ("before", "after") else f"{what} {when}".strip()
        if how in ("429", "500", "out of credits", "refused") or when == "before":
            return self._spoilt(how)
        if how == "not sent":
            raise KieNotSent("refused")
        failed = [cover.task_id for cover in self.covers.values() if cover.song == song and cover.flag == 3]
        if how == "failed one again" and failed:
            self.named = failed[-1]
            if self.named in self.record().get("failed_ids", []):
                self.owed.append(KieFailedForGood)
            return answer({"taskId": failed[-1]}, code=400, msg="already generated")
        made = self._made(song, named=how != "duplicate without id")
        if when != "after":
            return made
        self.named = None
        return self._spoilt(how)

    def _spoilt(self, how: str) -> Response:
        if how == "crash":
            raise WorkerCrash
        if how == "reset":
            raise KieUnreachable("reset")
        return SPOILT_CREATES[how]()

    def _made(self, song: str, *, named: bool) -> Response:
        for cover in self.covers.values():
            if self.once and cover.song == song and cover.flag != 3:
                self.named = cover.task_id if named else None
                return answer({"taskId": cover.task_id} if named else None, code=400, msg="already generated")
        cover = Cover(f"cover-{next(self.numbers)}-of-{song}", song)
        self.covers[cover.task_id] = cover
        self.named = cover.task_id
        return answer({"taskId": cover.task_id})

    def _details(self, task_id: str, how: str) -> Response:
        if how == "reset":
            raise KieUnreachable("reset")
        if how in SPOILT_READS:
            return SPOILT_READS[how]()
        cover = self.covers[task_id]
        told: dict[str, Any] = {"taskId": task_id, "parentTaskId": cover.song, "createTime": None}
        images = [f"https://tempfile.aiquickdraw.com/{task_id}.png"] if cover.flag == 1 else None
        lies: dict[str, tuple[Any, Any, dict[str, Any]]] = {
            "unknown state": (7, None, {}),
            "no files": (1, [], {}),
            "pending with an error": (0, None, {"errorCode": 413, "errorMessage": "Matches existing work"}),
            "another song": (cover.flag, images, {"parentTaskId": "a-stranger"}),
            "callback exception": ("CALLBACK_EXCEPTION", images, {}),
        }
        flag, shown, more = lies.get(how, (cover.flag, images, {}))
        failed = {"errorCode": 501, "errorMessage": "Generation failed"} if flag == 3 else {}
        return answer(cover_data(flag, shown, **{**told, **failed, **more}))

    def watched(self, record: TaskRecord) -> dict[str, Any]:
        """Return the event of a trigger that reads honest answers of a task that has ended."""
        read = decode_details(COVER, str(record.task_id), self._details(str(record.task_id), "honest"))
        assert isinstance(read, Read)
        for seconds in (0, 60):
            action = next_action(record, time.time() + seconds, read, rules())
            match action:
                case Done(ended):
                    return event_of(Outcome.DONE, ended)
                case Fail(ended, error):
                    return event_of(Outcome.FAILED, ended, error)
            record = action.record
        raise AssertionError(f"{record.task_id} has not ended")
