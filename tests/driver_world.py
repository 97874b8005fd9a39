"""A request that the driver carries along: a clock, a ledger, and a KIE that answers as it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_kie.archive.s3.errors import S3AccessDenied
from airflow_kie.client.answers.decode import CreateAnswer, DetailsAnswer, Ended, decode_details
from airflow_kie.client.errors import KieError
from airflow_kie.client.operations.operation import TaskOperation
from airflow_kie.lifecycle.claims import Intent, RequestId
from airflow_kie.lifecycle.driver import TaskDriver
from airflow_kie.lifecycle.ledger import Ledger, PaidRequest
from airflow_kie.lifecycle.record import TaskRecord
from airflow_kie.lifecycle.rules import Rules
from kie_answers import answer
from ledgers import MemoryLedgerStore

REQUEST = RequestId("kie", "suno.music", "0" * 32)
RUNNING: dict[str, Any] = {"status": "PENDING"}
FAILED: dict[str, Any] = {"status": "GENERATE_AUDIO_FAILED"}
REJECTED: dict[str, Any] = {"status": "SENSITIVE_WORD_ERROR"}
DONE: dict[str, Any] = {"status": "SUCCESS", "response": {"sunoData": [{"audioUrl": "https://h.example/1"}]}}


@dataclass
class World:
    """A clock that pauses move, a ledger, and a KIE that answers as it is told.

    :param creates: how it answers creates; an error is raised before anything is sent.
    :param reads: what it says of a task, in this order; the last one again and again. A number is a code of KIE's,
        None: it does not show the task.
    :param form: in which KIE is asked.
    :param meanwhile: what happens in each pause.
    """

    creates: list[CreateAnswer | KieError] = field(default_factory=list)
    reads: list[dict[str, Any] | int | None] = field(default_factory=lambda: [DONE])
    request: RequestId = REQUEST
    form: str = ""
    now: float = 1_776_862_600.0
    store: MemoryLedgerStore = field(default_factory=MemoryLedgerStore)
    saved: list[TaskRecord] = field(default_factory=list)
    settled: list[tuple[str | None, float | None]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    permit: Callable[[], None] = lambda: None
    given_back: int = 0
    adopted: list[str] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.store, lambda: self.now)

    @property
    def paid(self) -> PaidRequest:
        """The request as its sender works with it."""
        used = lambda made: self.adopted.append(made.task_id)  # noqa: E731
        return PaidRequest(lambda: self.ledger, self.request, self.new_intent, used, lambda: 7.0)

    @property
    def names(self) -> list[str]:
        return sorted(key.removeprefix(self.request.folder) for key in self.store.objects if not key.startswith("_"))

    @property
    def new(self) -> TaskRecord:
        return TaskRecord(self.request.operation, digest=self.request.digest)

    def details(self, kind: TaskOperation, task_id: str) -> DetailsAnswer:
        said = self.reads.pop(0) if len(self.reads) > 1 else self.reads[0]
        code = said if isinstance(said, int) else 200
        return decode_details(
            kind, task_id, answer({"taskId": task_id, **said} if isinstance(said, dict) else None, code)
        )

    def new_intent(self, now: float, form: str = "") -> Intent:
        return Intent.made_at(now, form or self.form)

    def give_back(self) -> None:
        self.given_back += 1

    def create(self, record: TaskRecord, nonce: str) -> CreateAnswer:
        answered = self.creates.pop(0)
        if isinstance(answered, KieError):
            raise answered
        return answered

    def pause(self, record: TaskRecord, until: float) -> None:
        self.pauses.append(until)
        self.now = max(self.now, until)
        self.meanwhile()

    def go(
        self,
        record: TaskRecord | None = None,
        ended: Ended | None = None,
        *,
        deadline: float | None = None,
        pays: bool = True,
        **upto: bool,
    ) -> TaskRecord:
        """Follow a record to its end, or as far as is asked for."""
        driver = TaskDriver(
            save=self.saved.append,
            paid=self.paid if pays else None,
            create=self.create,
            permit=self.permit,
            give_back=self.give_back,
            settle=lambda record, used: self.settled.append((record.task_id, used)),
            deadline=deadline,
            rules=Rules(interval=20.0),
            clock=lambda: self.now,
        )
        return driver.follow(record or self.new, self, self.pause, ended, **upto).record


def refuse(world: World, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store take no object with such a part in its name."""
    create: Callable[[str, bytes], bool] = world.store.create

    def some(key: str, body: bytes) -> bool:
        if part in key:
            raise S3AccessDenied(f"PutObject {key}")
        return create(key, body)

    monkeypatch.setattr(world.store, "create", some)
